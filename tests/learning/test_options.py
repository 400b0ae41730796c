"""Options of training: each one's effect against torch's or timm's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodness import InputError, RunError, build
from goodness.clock import Clock
from goodness.objective import Context
from helpers import copied, learner_of, step_at

IMAGE = (1, 8, 8)
CLASSES = 4
LENGTH = (10, 2)
SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}


def make(method="mono-forward", **values):
    model = {"name": "cnn", "widths": [4, 6, 8], "pools": [1], "norm": "none"}
    plain = {"lr_schedule": "constant", "optimizer": SGD, "boundary": "identity", "epochs": 2}
    return build(method, image_shape=IMAGE, num_classes=CLASSES, model=model, **{**plain, **values})


def weights(network):
    return copied(dict(network.named_parameters()))


def moved(network, x, y, steps=1, class_weights=None):
    """How far each parameter goes."""
    before = weights(network)
    learner = learner_of(network, LENGTH, class_weights=class_weights)
    for step in range(steps):
        step_at(learner, step, x, y)
    return {name: value - before[name] for name, value in weights(network).items()}


def same(one, other, **tolerance):
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], **tolerance) for name in one
    )


def test_accumulated_steps_are_one_step_of_the_whole_batch(batch):
    x, y = batch(16, IMAGE, CLASSES)
    whole = moved(make(), x, y)

    network = make(accumulate_steps=4)
    before = weights(network)
    learner = learner_of(network, LENGTH)
    for step, part in enumerate(torch.arange(16).split(4)):
        assert same(weights(network), before)
        step_at(learner, step, x[part], y[part])

    parts = {name: value - before[name] for name, value in weights(network).items()}
    assert same(parts, whole, atol=1e-6)
    assert any(value.abs().max() > 1e-3 for value in whole.values())


@pytest.mark.parametrize("method", ["mono-forward", "trifecta", "forward-gradient"])
@pytest.mark.parametrize(
    "options", [{"accumulate_steps": 3}, {"ema": 0.9}, {"lr_factors": [1, 0.5, 2]}]
)
def test_going_on_from_saved_state_equals_never_having_stopped(method, options, batch):
    batches = [batch(8, IMAGE, CLASSES, seed=step) for step in range(7)]
    network = make(method, **options)
    learner = learner_of(network, LENGTH)
    for step in range(4):
        step_at(learner, step, *batches[step])
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    state = learner.state_dict()
    state = {**state, "tensors": copied(state["tensors"])}

    again = make(method, **options)
    again.load_state_dict(kept)
    resumed = learner_of(again, LENGTH)
    resumed.load_state_dict(state)
    for step in range(4, 7):
        step_at(learner, step, *batches[step])
        step_at(resumed, step, *batches[step])

    for one, other in (
        (learner.network, resumed.network),
        (learner.final_network, resumed.final_network),
    ):
        pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_each_block_s_gradient_is_clipped_on_its_own(batch):
    x, y = batch(8, IMAGE, CLASSES)
    free, clipped = moved(make(), x, y), moved(make(clip_grad_norm=1e-3), x, y)
    for index in range(3):
        names = [name for name in free if name.startswith(f"blocks.{index}.")]
        long, short = (
            torch.cat([moves[name].flatten() for name in names]) for moves in (free, clipped)
        )
        assert short.norm() == pytest.approx(0.1 * 1e-3, rel=1e-3)
        assert F.cosine_similarity(long, short, 0) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("method", ["mono-forward", "backprop"])
def test_a_learning_rate_per_block(method, batch):
    x, y = batch(8, IMAGE, CLASSES)
    even, uneven = moved(make(method), x, y), moved(make(method, lr_factors=[1, 0.5, 3]), x, y)

    for index, factor in enumerate([1, 0.5, 3]):
        for name in even:
            if name.startswith(f"blocks.{index}."):
                assert torch.allclose(uneven[name], factor * even[name], atol=1e-7)


def test_the_moving_average_answers(batch):
    x, y = batch(8, IMAGE, CLASSES)
    network = make(ema=0.6)
    slow = weights(network)
    learner = learner_of(network, LENGTH)
    for step in range(6):
        step_at(learner, step, x, y)
        # timm's warm-up, which copies the weights at its first two steps.
        decay = min(0.6, 1 - step ** (-2 / 3)) if step > 1 else 0.0
        slow = {
            name: decay * slow[name] + (1 - decay) * value
            for name, value in weights(network).items()
        }

    assert same(weights(learner.final_network), slow, atol=1e-6)
    assert not same(weights(network), slow, atol=1e-4)
    assert learner.final_network is not network


SMOOTHED = ["auxiliary", "class-maps", "classifier", "direct-feedback", "information"]
SMOOTHED += ["similarity", "spatial-goodness", "transport"]


@pytest.mark.parametrize("name", SMOOTHED)
def test_label_smoothing(name):
    given = {"name": name}
    if name == "information":
        given |= {"task": "ce", "first": [1.0, 0.7], "last": [1.0, 0.7]}
    plain = make(objective=given)[0].objective.eval()
    smooth = make(objective=given, label_smoothing=0.3)[0].objective.eval()
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.3)
    smooth.load_state_dict(plain.state_dict())
    h, y = torch.rand(8, 4, 8, 8), torch.arange(8) % CLASSES
    scores = plain.scores(h)
    # The target moves by 0.3 from the true class to all alike.
    lead = getattr(plain, "margin", 0) * (1 - F.one_hot(y, CLASSES))
    log_p = (scores + lead).log_softmax(1)
    expected = 0.3 * (log_p.gather(1, y[:, None]).squeeze(1) - log_p.mean(1))
    expected *= getattr(plain, "classify", 1.0) * (1 - getattr(plain, "beta", 0.0))
    if name == "direct-feedback":  # judges again what is cut off, and feeds an error back
        h.requires_grad_()
        moved = 0.3 * (F.one_hot(y, CLASSES) - 1 / CLASSES)
        expected = expected + (h.flatten(1) * (moved @ plain.back)).sum(1)

    context = Context(torch.zeros(8, *IMAGE), torch.rand(8, *IMAGE), [scores.detach()])
    before, after = (objective.loss(h, scores, y, context) for objective in (plain, smooth))

    assert plain.supports_label_smoothing
    assert torch.allclose(after - before, expected, atol=1e-5)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("method", ["ff", "scff", "cwc", "cafo", "distance-forward", "ff-cnn"])
def test_no_label_smoothing_where_no_cross_entropy_is(method):
    with pytest.raises(InputError, match="is no cross-entropy over the classes"):
        build(method, image_shape=IMAGE, num_classes=CLASSES, label_smoothing=0.1, image_size=None)


@pytest.mark.parametrize(
    ("given", "blocks"), [(0.2, [0.2] * 3), ([0.3, 0.0, 0.1], [0.3, 0.0, 0.1]), ([0.3, 0.1], None)]
)
def test_label_smoothing_of_every_block(given, blocks):
    blocks = blocks or [0.3, 0.1, 0.1]  # the nearest one of two
    network = make(label_smoothing=given, readouts={"sum": {}, "fusion": {}})

    assert [block.objective.label_smoothing for block in network] == blocks
    assert network.readouts["fusion"].label_smoothing == blocks[-1]
    # A block whose loss is another has none.
    last = build("backprop", image_shape=IMAGE, num_classes=CLASSES, label_smoothing=given)
    assert last[len(last) - 1].objective.label_smoothing == blocks[-1]


@pytest.mark.parametrize("given", [[], [0.1, 1.0], "0.1"])
def test_bad_label_smoothing_is_refused(given):
    with pytest.raises(InputError, match="label_smoothing"):
        make(label_smoothing=given if isinstance(given, list) else [given, "much"])


def test_no_class_weights_where_nothing_is_trained_by_its_loss():
    with pytest.raises(InputError, match="class_weights: objective 'least-squares' is solved"):
        build("cafo", image_shape=IMAGE, num_classes=CLASSES, class_weights=[1.0] * CLASSES)


def test_class_weights_are_torch_s(batch):
    x, y = batch(8, IMAGE, CLASSES)
    weight = torch.tensor([1.0, 0.2, 3.0, 0.5])
    ours = moved(make("backprop"), x, y, class_weights=weight)

    network = make("backprop")
    before = weights(network)
    h = x
    for block in network:
        h = block.tail(block.body(h))
    F.cross_entropy(network[2].objective.scores(h), y, weight=weight).backward()
    theirs = {name: value - 0.1 * value.grad for name, value in network.blocks.named_parameters()}
    for name, value in theirs.items():
        step = value.detach() - before[f"blocks.{name}"]
        assert torch.allclose(ours[f"blocks.{name}"], step, atol=1e-6)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_is_near_float32_and_judges_in_it(amp, batch):
    x, y = batch(8, IMAGE, CLASSES)
    whole, half = moved(make(), x, y), moved(make(amp=amp), x, y)
    seen = []
    network = make(amp=amp)
    network[0].body.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    step_at(learner_of(network, LENGTH), 0, x, y)

    assert seen == [torch.bfloat16 if amp == "bf16" else torch.float16]
    assert not same(half, whole, rtol=0, atol=0)
    assert same(half, whole, atol=5e-3)


def test_fp16_scales_the_losses_and_leaves_out_what_overflows(batch):
    x, y = batch(8, IMAGE, CLASSES)
    network = make(amp="fp16")
    learner = learner_of(network, LENGTH)
    before = weights(network)
    assert learner.state_dict()["plain"]["held/scaler/scale"] == 2**16
    with pytest.raises(RunError, match=r"the loss of block .* is not finite at step 0"):
        step_at(learner, 0, x * 5e4, y)

    assert learner.state_dict()["plain"]["held/scaler/scale"] == 2**15
    assert all(torch.isfinite(value).all() for value in weights(network).values())
    step_at(learner, 1, x, y)
    assert not same(weights(network), before)


def test_sgd_has_no_momentum_after_gradients_that_overflow_in_fp16(batch):
    # torch's fused kernel would leave it as memory that was never written to.
    x, y = batch(8, IMAGE, CLASSES)
    network = make(amp="fp16", optimizer={"name": "sgd", "lr": 0.1})
    learner = learner_of(network, LENGTH)
    with pytest.raises(RunError, match=r"the loss of block .* is not finite at step 0"):
        step_at(learner, 0, x * 5e4, y)
    buffers = [
        state["momentum_buffer"]
        for optimizer in learner.optimizers.values()
        for state in optimizer.state.values()
    ]

    assert learner.state_dict()["plain"]["held/scaler/scale"] == 2**15
    assert buffers == []


@pytest.mark.parametrize("channels_last", [True, False])
def test_how_maps_are_laid_out(channels_last, batch):
    x, y = batch(8, IMAGE, CLASSES)
    network = make(channels_last=channels_last)
    seen = []
    network[1].body.register_forward_hook(lambda module, given, out: seen.append(out))
    step_at(learner_of(network, LENGTH), 0, x, y)

    assert seen[0].is_contiguous(memory_format=torch.channels_last) is channels_last
    assert network[1].body[0].weight.is_contiguous() is not channels_last


def test_a_block_is_compiled_without_a_break(batch, monkeypatch):
    """Its last ReLU, too, which is not torch's own."""
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    compile = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda s, mode: compile(s, backend=count, fullgraph=True)
    )
    model = {"name": "cnn", "widths": [2], "pools": [], "norm": "batch"}
    network = build("sff", image_shape=IMAGE, num_classes=CLASSES, model=model, compile=True)
    x, y = batch(4, IMAGE, CLASSES)
    network.scores(x)
    step_at(learner_of(network, LENGTH), 0, x, y)

    assert len(graphs) == 2


def test_torch_keeps_as_many_versions_as_there_are_blocks_of_all_networks(monkeypatch):
    """It takes them for one function, and gives up after eight versions."""
    from torch._dynamo import config

    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: None)
    model = {"name": "cnn", "widths": [2] * 9, "pools": [], "norm": "none"}
    with config.patch(recompile_limit=8):
        for _ in range(2):
            build("sff", image_shape=IMAGE, num_classes=CLASSES, model=model, compile=True)

        assert config.recompile_limit >= 2 * (2 * 9)


def test_every_block_is_compiled(batch, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: compiled.append((self, mode)))
    for value, mode in ((True, None), ("reduce-overhead", "reduce-overhead")):
        compiled.clear()
        network = make(compile=value)
        assert compiled == [(block.body, mode) for block in network]
    compiled.clear()
    make()
    assert not compiled


FREEZABLE = ["mono-forward", "backprop", "trifecta", "cwc", "cafo-dfa", "sff", "ff"]


@pytest.mark.parametrize("method", FREEZABLE)
@pytest.mark.parametrize("first", [1, 2])
def test_frozen_blocks_stay_as_they_are(method, first, batch):
    x, y = batch(8, IMAGE, CLASSES)
    values = {"lr_schedule": "constant", "freeze_until": str(first)}
    model = {"name": "cnn", "widths": [8, 8, 8], "pools": [1], "norm": "batch"}
    network = build(method, image_shape=IMAGE, num_classes=CLASSES, model=model, **values)
    kept = [{k: v.clone() for k, v in block.state_dict().items()} for block in network]
    learner = learner_of(network, LENGTH)
    for step in range(20):
        step_at(learner, step, x, y)

    changed = [
        any(not torch.equal(block.state_dict()[k], v) for k, v in state.items())
        for block, state in zip(network, kept, strict=True)
    ]
    assert changed == [index >= first for index in range(3)]
    assert all(block.objective is None for block in list(network)[:first])
    totals = network.evaluate(x).readouts
    assert all(total[-1].shape == (8, CLASSES) for total in totals.values())


def test_the_first_block_that_learns_goes_by_name_too():
    network = make(freeze_until="conv2")
    assert [block.objective is None for block in network] == [True, False, False]
    with pytest.raises(InputError, match="unknown block 'conv9'; did you mean 'conv"):
        make(freeze_until="conv9")


def test_nothing_left_to_train():
    with pytest.raises(InputError, match=r"nothing is left to train behind 'head' .*output"):
        make(freeze_until="head")
    learner_of(make(freeze_until="head", readouts={"output": {}}), LENGTH)


@pytest.mark.parametrize("readout", ["last", "sum"])
def test_frozen_blocks_alone_have_no_scores_to_answer_by(readout):
    with pytest.raises(InputError, match=f"'{readout}': no block .* one of: auto, fusion\\)"):
        make("asge-fast", freeze_until="head", readout=readout)
    assert list(make("asge-fast", freeze_until="head").readouts) == ["fusion"]


def test_a_closed_form_is_left_to_solve_behind_frozen_blocks(batch):
    x, y = batch(8, IMAGE, CLASSES)
    network = make("cafo", freeze_until="2")
    learner = learner_of(network, LENGTH)
    for step in range(20):
        step_at(learner, step, x, y)
    learner.end_epoch()

    assert network.evaluate(x).final("last").abs().max() > 0


def test_the_classifier_alone(batch):
    x, y = batch(8, (3, 32, 32), CLASSES)
    model = {"name": "timm/resnet10t", "args": {"channels": [4, 4, 8, 8], "stem_width": 4}}
    for method in ("sff", "backprop"):
        network = build(
            method, image_shape=(3, 32, 32), num_classes=CLASSES, model=model, freeze_until="head"
        )
        changes = moved(network, x, y, steps=2)
        learnt = {name for name, change in changes.items() if change.abs().max() > 0}
        assert any("head.head" in name for name in learnt)
        assert not any(name.startswith("blocks.") for name in learnt)


def test_math_of_the_one_cycle_s_ends():
    from goodness.optim.lr_schedules import one_cycle

    factors = [one_cycle(Clock(step, 10, 10)) for step in range(100)]
    assert max(factors) == pytest.approx(1, abs=1e-3)
    assert factors[0] == pytest.approx(0.04)
    assert factors[-1] == pytest.approx(4e-6)
    assert math.isclose(factors.index(max(factors)), 29, abs_tol=1)


@pytest.mark.parametrize("method", ["backprop", "deep-supervision", "trifecta"])
def test_checkpointing_changes_memory_alone(method, batch):
    """Batch norms count every batch once, though they see it twice."""
    x, y = batch(8, IMAGE, CLASSES)
    model = {"name": "cnn", "widths": [4, 6, 8], "pools": [1], "norm": "batch"}
    states = []
    for checkpointing in (False, True):
        network = build(
            method,
            image_shape=IMAGE,
            num_classes=CLASSES,
            model=model,
            boundary={"dropout": 0.3},
            recompute=checkpointing,
        )
        learner = learner_of(network, LENGTH)
        for step in range(3):
            step_at(learner, step, x, y)
        states.append(network.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(name.endswith("num_batches_tracked") for name in states[0])
