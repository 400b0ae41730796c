"""What every method keeps to, whatever its learning rule: tested over the registry."""

from __future__ import annotations

import copy

import pytest
import torch

from goodness import InputError, audit, max_classes, resolve
from goodness.api import fit
from goodness.clock import Clock
from goodness.methods import METHODS, Locality
from goodness.network.build import build
from goodness.training import checkpoint
from helpers import SMALL, all_finite, copied, learner_of, same, step_at, tiny_network

LENGTH = (50, 2)
SHAPES = [
    (1, 8, 8),
    (3, 13, 11),
    *(pytest.param(s, marks=pytest.mark.slow) for s in [(1, 28, 28), (3, 32, 32), (2, 5, 40)]),
]
LOCAL = [m for m in METHODS if METHODS[m].locality in (Locality.LAYER, Locality.BLOCK)]

methods = pytest.mark.parametrize("method", METHODS.names())
local_methods = pytest.mark.parametrize("method", LOCAL)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))


def small(method, shape=(1, 8, 8), num_classes=4, **values):
    return tiny_network(method, shape, num_classes, **{"model": SMALL, **values})


def moments(network):
    """A step for every different plan of a run of two epochs."""
    seen = {}
    for step in range(LENGTH[0] * LENGTH[1]):
        plan = network.plan.at(Clock(step, *LENGTH))
        seen.setdefault(tuple(s._replace(clock=None) for s in plan), step)
    return list(seen.values())


def trained(network, images, y):
    """A network after a step for every different plan, and what the steps gave."""
    learner = learner_of(network, LENGTH)
    results = [step_at(learner, step, images, y) for step in moments(network)]
    learner.end_epoch()
    return results


@methods
@pytest.mark.parametrize("data", ["digits", "mnist", "svhn"])
def test_digits_are_not_mirrored(method, data):
    assert not resolve({"method": method, "data": data}).augment.flip


@methods
def test_describes_itself(method):
    entry = METHODS[method]

    assert entry.name == method
    assert entry.title.strip()
    assert entry.paper.strip()
    assert isinstance(entry.locality, Locality)
    for data in ("digits", "mnist", "cifar10"):
        assert resolve({"method": method, "data": data}).method == method


@methods
@shapes
def test_declared_locality_is_what_the_audit_finds(method, shape):
    network = small(method, shape)

    report = audit(network)

    assert report.locality == METHODS[method].locality
    assert not report.left
    assert not report.readouts
    assert not any(block.foreign for block in report.blocks)


@methods
@shapes
def test_losses_scores_and_answers_are_all_finite(method, shape, batch):
    network = small(method, shape)
    images, y = batch(8, shape, 4)

    results = trained(network, images, y)
    answer = network.evaluate(images)

    assert any(loss is not None for result in results for loss in result.losses)
    for result in results:
        assert len(result.losses) == len(result.scores) == len(network)
        assert all_finite([*result.losses, *result.scores])
    assert all_finite(answer.blocks)
    for name in answer.readouts:
        assert answer.final(name).shape == (8, 4)
        assert all_finite([answer.final(name)])


@methods
def test_learns_a_separable_task(method):
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn((4, 1, 8, 8), generator=generator)

    def draw(count):
        y = torch.randint(4, (count,), generator=generator)
        return patterns[y] + 0.3 * torch.randn((count, 1, 8, 8), generator=generator), y

    # Small weights would move so fast at this rate that a batch norm's statistics lag behind.
    model = {**SMALL, "init": "kaiming"}
    optimizer = {"name": "adamw", "lr": 1e-2}
    network = small(method, model=model, optimizer=optimizer, lr_schedule="constant")
    learner = learner_of(network, (25, 4))
    losses = [[] for _ in network]
    for _ in range(100):
        for block, loss in zip(losses, learner.step(*draw(32)).losses, strict=True):
            if loss is not None:
                block.append(loss.item())
    images, y = draw(200)
    answer = network.evaluate(images)
    accuracy = max((answer.final(n).argmax(1) == y).float().mean() for n in answer.readouts)

    learnt = [block for block in losses if block]
    assert learnt
    assert sum(sum(b[-5:]) for b in learnt) < 0.9 * sum(sum(b[:5]) for b in learnt)
    assert accuracy > 0.7  # by chance: 0.25


@pytest.mark.slow
@methods
@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_learns_the_digits(method, amp, tmp_path):
    """On real images, through the whole loop, well above chance."""
    rate = METHODS[method].equal.get("lr")
    run = fit(
        "digits",
        method=method,
        out=tmp_path,
        model={"name": "small-cnn", "widths": [20, 40, 80], "norm": "batch"},
        optimizer={"name": "adamw", "lr": rate or 3e-3},
        lr_schedule={"name": "cosine"},
        epochs=12,
        batch_size=64,
        amp=amp,
    )

    assert run.result.test.accuracy > 0.6


@local_methods
def test_a_block_s_loss_has_a_gradient_for_that_block_alone(method, batch):
    network = small(method)
    images, y = batch(8, (1, 8, 8), 4)
    images.requires_grad_()
    learner = learner_of(network, LENGTH)
    for step in moments(network):
        learner.steps = step
        for turn in learner.turns(images, y):
            (index,) = turn.segment.blocks
            turn.backward()
            reached = {n for n, p in network.named_parameters() if p.grad is not None}
            network.zero_grad(set_to_none=True)

            assert any(".body." in name for name in reached)
            assert all(name.startswith(f"blocks.{index}.") for name in reached), reached
    assert images.grad is None


def train_recording(network, batches):
    """Some steps; the gradients as the optimizers saw them, and the state after each step."""
    learner = learner_of(network, LENGTH)
    names = {parameter: name for name, parameter in network.named_parameters()}
    record = {}
    now = 0

    def keep(optimizer, *_):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    record[f"{names[p]} gradient {now}"] = p.grad.clone()

    for optimizer in learner.optimizers.values():
        optimizer.register_step_pre_hook(keep)
    for now, (images, y) in zip(moments(network), batches, strict=False):
        step_at(learner, now, images, y)
        for name, value in network.state_dict().items():
            record[f"{name} after {now}"] = value.clone()
    return record


@local_methods
@shapes
def test_perturbing_later_blocks_changes_nothing_before_them(method, shape, batch):
    network = small(method, shape)
    batches = [batch(8, shape, 4, seed=step) for step in range(4)]
    reference = train_recording(copy.deepcopy(network), batches)
    for source in range(1, len(network)):
        other = copy.deepcopy(network)
        with torch.no_grad():
            for block in other.blocks[source:]:
                for tensor in (*block.parameters(), *block.buffers()):
                    if tensor.is_floating_point():
                        tensor.add_(torch.rand_like(tensor) * 0.1)
        changed = train_recording(other, batches)

        def before(record, source=source):
            starts = tuple(f"blocks.{i}." for i in range(source))
            return {name: value for name, value in record.items() if name.startswith(starts)}

        assert any("gradient" in name for name in before(reference))
        assert same(before(reference), before(changed))
        assert not same(reference, changed)


@methods
def test_weights_survive_a_round_trip_through_files(method, batch, tmp_path):
    network = small(method)
    images, y = batch(8, (1, 8, 8), 4)
    learner_of(network).step(images, y)
    groups = {"network": network.state_dict()}
    checkpoint.save(tmp_path / "kept", {"blocks": network.facts()}, groups)

    other = small(method, seed=1)
    assert not same(network.state_dict(), other.state_dict())
    checkpoint.load_network(tmp_path / "kept", other)

    mine, theirs = network.evaluate(images), other.evaluate(images)
    for name in mine.readouts:
        assert torch.equal(mine.final(name), theirs.final(name))


@methods
def test_half_precision_keeps_losses_finite_and_scores_in_float32(method, batch):
    network = small(method, amp="bf16")
    images, y = batch(8, (1, 8, 8), 4)
    seen = []
    network[0].body[0].register_forward_hook(lambda m, i, out: seen.append(out.dtype))

    report = learner_of(network).step(images, y)
    answer = network.evaluate(images)

    assert set(seen) == {torch.bfloat16}
    assert all_finite(report.losses)
    scores = [s for s in [*report.scores, *answer.blocks] if s is not None]
    scores += [answer.final(name) for name in answer.readouts]
    assert {s.dtype for s in scores} == {torch.float32}
    assert all(p.dtype == torch.float32 for p in network.parameters())


@methods
def test_memory_layout_of_the_images_does_not_matter(method, batch):
    images, y = batch(8, (3, 13, 11), 4)
    reports = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network = small(method, (3, 13, 11))
        reports.append(learner_of(network).step(images.to(memory_format=layout), y))

    for one, other in zip(reports[0].losses, reports[1].losses, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other)


@methods
def test_as_many_classes_as_it_declares_and_no_more(method, batch):
    most = max_classes(method, image_shape=(1, 8, 8), model=SMALL)
    classes = 100 if most is None else most
    network = small(method, num_classes=classes)
    images, y = batch(classes, (1, 8, 8), classes)

    results = trained(network, images, y)
    answer = network.evaluate(images)

    assert all(all_finite(result.losses) for result in results)
    assert all(answer.final(name).shape == (classes, classes) for name in answer.readouts)
    if most is not None:
        with pytest.raises(InputError, match=f"at most {most} classes"):
            small(method, num_classes=most + 1)


@methods
@pytest.mark.parametrize("data", ["digits", "mnist", "cifar10", "cifar100"])
def test_its_own_values_build_a_network(method, data):
    shapes = {"digits": (1, 8, 8), "mnist": (1, 28, 28)}
    config = resolve({"method": method, "data": data})
    shape = shapes.get(data, (3, 32, 32))
    if config.image_size is not None:
        shape = (shape[0], config.image_size, config.image_size)
    network = build(config, image_shape=shape, num_classes=100 if data == "cifar100" else 10)

    assert len(network) > 1


@methods
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(method, batch):
    network = small(method)
    images, y = batch(8, (1, 8, 8), 4)
    learner_of(network).step(images, y)
    together = network.evaluate(images)
    for row in (0, 7):
        alone = network.evaluate(images[row : row + 1])
        for name in together.readouts:
            expected = together.final(name)[row : row + 1]
            torch.testing.assert_close(alone.final(name), expected, rtol=1e-4, atol=1e-4)


@methods
@shapes
def test_learns_from_a_batch_of_one(method, shape, batch):
    network = small(method, shape)
    learner = learner_of(network, LENGTH)
    image, y = batch(1, shape, 4)

    for step in moments(network):
        pairs = network.config.presentation["name"] == "image-pairs"
        if pairs or any(isinstance(m, torch.nn.BatchNorm1d) for m in network.modules()):
            with pytest.raises(InputError, match="batch of one"):
                step_at(learner, step, image, y)
        else:
            assert all_finite(step_at(learner, step, image, y).losses)


@methods
def test_a_copy_is_independent(method, batch):
    network = small(method)
    images, y = batch(8, (1, 8, 8), 4)
    before = copied(network.state_dict())
    twin = copy.deepcopy(network)

    trained(twin, images, y)
    assert same(network.state_dict(), before)
    assert not same(twin.state_dict(), before)
    trained(network, images, y)
    assert same(network.state_dict(), twin.state_dict())


@methods
def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(method):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one, again, other = small(method), small(method), small(method, seed=1)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(one.state_dict(), again.state_dict())
    assert not same(one.state_dict(), other.state_dict())
