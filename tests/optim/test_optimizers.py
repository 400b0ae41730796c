"""Optimizers by name: Muon against an independent reference, and timm's through whole runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import goodness
from goodness.errors import InputError
from goodness.functional import orthogonalised
from goodness.optim.optimizers import OPTIMIZERS, timm_optimizers

SMALL = {"model": {"name": "cnn", "widths": [8, 8], "pools": [1]}, "image_shape": (1, 8, 8)}


def network_of(method="mono-forward", **values):
    return goodness.build(method, num_classes=4, epochs=1, steps_per_epoch=8, **SMALL, **values)


def batches(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield (
            torch.randn(16, 1, 8, 8, generator=generator),
            torch.randint(4, (16,), generator=generator),
        )


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (5, 5)])
def test_newton_schulz_brings_singular_values_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)

    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix, 5)

    # The same singular vectors, and the polynomial of each singular value.
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(found, left @ torch.diag(values) @ right, atol=1e-4, rtol=1e-4)
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def polar_muon(kernel, gradients, lr, momentum, iterations):
    """Muon on one kernel, by singular values and in numpy's double precision."""
    w, v = kernel.double().numpy().copy(), np.zeros(kernel.shape)
    for gradient in gradients:
        g = gradient.double().numpy()
        v = momentum * v + g
        u, s, vt = np.linalg.svd((g + momentum * v).reshape(len(g), -1), full_matrices=False)
        s = s / np.sqrt((s**2).sum())
        for _ in range(iterations):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        w = w * np.sqrt(len(w)) / np.sqrt((w**2).sum())
        w = w - lr * ((u * s) @ vt).reshape(w.shape)
    return torch.tensor(w).float()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_of_a_kernel_is_the_formula_s(layout):
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(6, 4, 3, 3).to(memory_format=layout))
    gradients = [torch.randn(6, 4, 3, 3) for _ in range(4)]
    expected = polar_muon(kernel.detach(), gradients, 0.2, 0.7, 3)

    part = OPTIMIZERS.resolve({"name": "muon", "lr": 0.2, "momentum": 0.7})
    optimizer = OPTIMIZERS.make(part, [{"params": [kernel]}])
    for gradient in gradients:
        kernel.grad = gradient.clone()
        optimizer.step()

    torch.testing.assert_close(kernel.detach(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rest", ["adamw", "sgd"])
def test_muon_leaves_vectors_matrices_and_depthwise_kernels_to_the_rest(rest):
    torch.manual_seed(0)
    shapes = [(6, 4, 3, 3), (6,), (10, 6), (6, 1, 3, 3)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    own = [nn.Parameter(p.detach().clone()) for p in ours[1:]]
    part = OPTIMIZERS.resolve({"name": "muon", "lr": 0.1, "rest": rest})
    optimizer = OPTIMIZERS.make(part, [{"params": ours, "factor": 2.0}])
    # The learner multiplies every group's factor by the rate of this moment.
    for group in optimizer.param_groups:
        group["lr"] = 0.1 * group["factor"]
    lr = 0.1 * 0.05 * 2
    if rest == "adamw":
        reference = torch.optim.AdamW(own, lr=lr, weight_decay=0.01)
    else:
        reference = torch.optim.SGD(own, lr=lr, weight_decay=0.01, momentum=0.9, nesterov=True)

    for _ in range(3):
        for parameter in ours:
            parameter.grad = torch.randn(parameter.shape)
        for parameter, other in zip(ours[1:], own, strict=True):
            other.grad = parameter.grad.clone()
        optimizer.step()
        reference.step()

    for parameter, other in zip(ours[1:], own, strict=True):
        torch.testing.assert_close(parameter, other)


def test_without_its_norm_kept_a_kernel_decays():
    kernel = nn.Parameter(torch.ones(4, 4, 3, 3))
    part = {"name": "muon", "renormalise": False, "weight_decay": 0.5, "lr": 0.1}
    optimizer = OPTIMIZERS.make(OPTIMIZERS.resolve(part), [{"params": [kernel]}])
    kernel.grad = torch.zeros_like(kernel)

    optimizer.step()

    torch.testing.assert_close(kernel.detach(), torch.full((4, 4, 3, 3), 0.95))


@pytest.mark.parametrize("method", ["mono-forward", "backprop", "asge", "deep-supervision"])
@pytest.mark.parametrize("optimizer", ["muon", {"name": "muon", "rest": "sgd"}, "timm/muon"])
def test_any_method_learns_by_muon(method, optimizer):
    network = network_of(method, optimizer=optimizer, lr=0.02)
    learner = goodness.Learner(network)
    images, y = next(batches(1))

    losses = [float(learner.step(images, y).loss) for _ in range(8)]

    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["muon", *(f"timm/{name}" for name in timm_optimizers())])
def test_a_run_goes_on_bit_for_bit_with(name):
    given = {"optimizer": name, "lr": 1e-3, "clip_grad_norm": 1.0}
    whole = goodness.Learner(network_of(**given))
    for x, y in batches(6):
        whole.step(x, y)

    first = goodness.Learner(network_of(**given))
    for x, y in [*batches(6)][:3]:
        first.step(x, y)
    network = network_of(**given)
    network.load_state_dict(first.network.state_dict())
    second = goodness.Learner(network)
    second.load_state_dict(first.state_dict())
    for x, y in [*batches(6)][3:]:
        second.step(x, y)

    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("timm/muno", "timm/muon"),
        ("timm/adahessian", "second derivatives"),
        ("muom", "muon"),
        ({"name": "muon", "momentum": 2}, "optimizer.momentum"),
        ({"name": "timm/sgd", "momentum": 0.9}, "optimizer.args"),
    ],
)
def test_a_name_or_an_option_that_is_none_is_refused(part, words):
    with pytest.raises(InputError, match=words):
        goodness.resolve({"optimizer": part})


def test_an_argument_that_the_constructor_refuses_is_said():
    network = network_of(optimizer={"name": "timm/adamw", "args": {"beta": 1}})

    with pytest.raises(InputError, match=r"timm/adamw.*beta"):
        goodness.Learner(network)
