"""A first layer that whitens patches: its filters, its place, and who lets it see images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from goodness import InputError, Learner, audit
from goodness.methods import METHODS
from goodness.models.whitening import EPS, Whitening
from helpers import SMALL, copied, learner_of, random_batch, same, tiny_network

SHAPE = (3, 8, 8)
FRAME = {"whiten": 2, "order": "conv-pool-norm-act", "activation": "gelu", "init": "dirac"}
MODEL = {**SMALL, "norm": "batch", "whiten": 2}


def correlated(count=40, shape=SHAPE, seed=0):
    """Images whose pixels and channels resemble their neighbours."""
    rough = random_batch(count, shape, seed=seed)[0]
    smooth = rough + rough.roll(1, 3) + 0.5 * rough.roll(1, 2)
    return smooth + 0.5 * smooth.roll(1, 1)


def moment(images, side):
    """The second moment of all patches, in numpy; (P, P)."""
    windows = np.lib.stride_tricks.sliding_window_view(
        images.double().numpy(), (side, side), (2, 3)
    )
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * side**2)
    return patches.T @ patches / len(patches)


def whitening(network):
    (found,) = (module for module in network.modules() if isinstance(module, Whitening))
    return found


def whitens(weight, images):
    """Whether the filters are those of these images: W'W is the inverse of their covariance."""
    filters = weight[: len(weight) // 2].flatten(1).double().numpy()
    covariance = moment(images, weight.shape[-1])
    expected = np.linalg.inv(covariance + EPS * np.eye(len(filters)))
    return np.allclose(filters.T @ filters, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shape", "side"), [((3, 8, 8), 2), ((1, 9, 7), 3), ((3, 8, 8), 1)])
def test_whitened_patches_have_the_identity_as_covariance(shape, side):
    images, layer = correlated(shape=shape), Whitening(shape, side)
    layer.initialize(images.split(16))

    out = layer(images)

    count = shape[0] * side**2
    assert out.shape[1:] == layer.output_shape
    assert layer.output_shape == (2 * count, shape[1] - side + 1, shape[2] - side + 1)
    assert torch.equal(out[:, count:], -out[:, :count])
    found = out[:, :count].transpose(0, 1).flatten(1).double().numpy()
    # Eigenvalues as small as the constant are kept small.
    size = np.linalg.eigvalsh(moment(images, side))[::-1]
    expected = np.diag(size / (size + EPS))
    assert np.allclose(found @ found.T / found.shape[1], expected, atol=1e-4)
    assert np.allclose(expected, np.eye(count), atol=0.05)
    assert whitens(layer.weight, images)


def test_the_filters_do_not_depend_on_batches_or_signs():
    images, one, other = correlated(), Whitening(SHAPE, 2), Whitening(SHAPE, 2)
    one.initialize([images])
    other.initialize((-images).flip(0).split(7))

    torch.testing.assert_close(one.weight, other.weight)
    largest = one.weight[:12].flatten(1)
    assert (largest.gather(1, largest.abs().argmax(1, keepdim=True)) > 0).all()


def test_until_it_has_seen_images_patches_are_handed_on():
    layer, x = Whitening(SHAPE, 2), correlated(2)

    assert layer.is_fresh
    patches = nn.functional.unfold(x, 2).view(2, 12, 7, 7)
    assert torch.equal(layer(x), torch.cat([patches, -patches], 1))
    assert list(layer.parameters()) == []
    layer.initialize([x])
    assert not layer.is_fresh


def test_a_patch_larger_than_the_image_is_refused():
    with pytest.raises(InputError, match=r"model\.whiten: no patch of 9x9 .* 8x8 \(use 2, or null"):
        tiny_network(model={**SMALL, "whiten": 9})


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("partition", ["layer", "block", "stage", 1, 2, 3])
def test_it_belongs_to_the_first_block(partition, shortcut):
    def blocks(whiten):
        model = {"name": "cnn", "widths": [24] * 4, "pools": [1, 3], "whiten": whiten}
        model |= {"shortcut": shortcut}
        return tiny_network("sff", (3, 12, 12), model=model, partition=partition)

    network, plain = blocks(2), blocks(None)

    assert len(network) == len(plain)
    for index, block in enumerate(network):
        kinds = [type(module) for module in block.body.modules()]
        assert nn.Conv2d in kinds
        assert (Whitening in kinds) == (index == 0)


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_learns_behind_it(method):
    network = tiny_network(method, SHAPE, model={**SMALL, **FRAME}, flip_test=True)
    first = network.neutral_rows(random_batch(8, SHAPE)[0]).detach()
    learner = learner_of(network, (2, 2))
    for step in range(4):
        x, y = random_batch(8, SHAPE, seed=step)
        assert torch.isfinite(learner.step(x, y).loss)

    assert whitens(whitening(network).weight, first)
    assert network.predict(x).shape == (8,)


@pytest.mark.parametrize(("method", "locality"), [("cafo", "readout-only"), ("sff", "layer")])
def test_an_audit_does_not_take_it_for_learning(method, locality):
    network = tiny_network(method, SHAPE, model=MODEL)
    report = audit(network)

    assert report.locality.value == locality
    assert not any("whiten" in name for block in report.blocks for name in block.updates)
    assert whitening(network).is_fresh


def test_a_loop_of_one_s_own_begins_with_its_first_batch_and_averages_from_there():
    network = tiny_network("sff", SHAPE, model=MODEL, ema=0.9, lr_schedule="constant")
    learner = Learner(network)
    for step in range(3):
        learner.step(correlated(8, seed=step), torch.arange(8) % 4)
        assert whitens(whitening(network).weight, correlated(8))
        assert torch.equal(whitening(network).weight, whitening(learner.final_network).weight)

    assert not same(network.state_dict(), learner.final_network.state_dict())


def test_filters_that_it_has_are_kept(tmp_path):
    network = tiny_network("sff", SHAPE, model=MODEL, lr_schedule="constant")
    Learner(network).step(*random_batch(8, SHAPE))
    kept = {name: value.contiguous() for name, value in network.backbone_state().items()}
    save_file(kept, tmp_path / "weights.safetensors")

    again = tiny_network(
        "sff",
        SHAPE,
        model=MODEL,
        init_from=str(tmp_path / "weights.safetensors"),
        lr_schedule="constant",
    )
    Learner(again).step(correlated(8), torch.arange(8) % 4)

    assert torch.equal(whitening(again).weight, whitening(network).weight)


def test_a_pipeline_s_later_ranks_need_none():
    class Later(Learner):
        def receive(self, images, y, clock, first):
            raise AssertionError("not reached")

    network = tiny_network("sff", SHAPE, model=MODEL, lr_schedule="constant")
    learner = Later(network, blocks=range(1, 3))
    with pytest.raises(AssertionError, match="not reached"):
        learner.step(torch.empty(8, *SHAPE, device="meta"), torch.arange(8) % 4)

    assert whitening(network).is_fresh


def test_what_is_computed_again_is_the_same():
    states = []
    for recompute in (False, True):
        values = {"model": {**SMALL, **FRAME}, "lr_schedule": "constant", "recompute": recompute}
        network = tiny_network("backprop", SHAPE, **values)
        learner = Learner(network)
        for step in range(2):
            learner.step(*random_batch(8, SHAPE, seed=step))
        states.append(copied(network.state_dict()))

    assert same(*states)
