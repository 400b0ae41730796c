"""Training on the ExecuTorch runtime equals ours, and what it lacks is said."""

from __future__ import annotations

import json

import pytest
import torch
from exporting import PREPROCESSING, SHAPE, trained
from torch.nn import functional as F

from goodness import InputError
from goodness.export.answering import Answering
from goodness.methods import METHODS
from helpers import TINY, learner_of, random_batch, tiny_network

executorch = pytest.importorskip("executorch")

from goodness.export.device import DeviceLearner  # noqa: E402
from goodness.export.executorch import to_bytes  # noqa: E402
from goodness.export.pooling import plain_pooling  # noqa: E402
from goodness.export.training import backprop_plan, training_plans, write  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of what executorch imports and announces
PLAIN = {**TINY, "norm": "none"}
SGD = {"optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-3}, "lr": 0.02}
STEPS = 20
LEARN = {
    *("asge-fast", "backprop", "bwbpf", "cwc", "deep-supervision", "deeperforward", "dtg"),
    *("hcl-ff", "lookahead", "mono-forward", "predsim-fast", "sff", "auglocal", "cafo-ce"),
}
"""Methods whose every block can learn on the runtime; each of the others is refused."""
FAST = ("asge-fast",)


def network(method, **values):
    options = {"model": PLAIN, "lr_schedule": "constant", **SGD, **values}
    return tiny_network(method, SHAPE, **options)


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=[] if m in FAST else pytest.mark.slow) for m in sorted(LEARN)]
)
def test_losses_on_the_runtime_are_those_of_a_learner_with_sgd(method, tmp_path):
    own = network(method)
    if method in ("cafo-ce", "cwc"):
        own = network(method, plan="together")  # the reference loop's
    write(own, PREPROCESSING, tmp_path, batch=4)
    options = {key: SGD["optimizer"][key] for key in ("momentum", "weight_decay")}
    device, learner = DeviceLearner(tmp_path, lr=SGD["lr"], **options), learner_of(own)

    for step in range(STEPS):
        x, y = random_batch(4, SHAPE, seed=step)
        expected = learner.step(x, y)
        found = device.step(x, y)
        losses = [float(loss) for loss in expected.losses if loss is not None]
        assert sum(loss for loss in found.losses if loss is not None) == pytest.approx(
            sum(losses), rel=1e-5, abs=1e-5
        )

    state = own.state_dict()
    for name, value in device.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-4, atol=1e-5)
    assert any(name.startswith("blocks.1.") for name in device.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in METHODS.names() if m not in LEARN])
def test_what_the_runtime_lacks_is_named(method):
    with pytest.raises(InputError, match=r"needs aten|learns from|plan|update") as error:
        training_plans(network(method), 4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        (
            "sff",
            {"model": TINY | {"norm": "batch"}},
            r"'conv1' needs aten.*batch_norm.*norm=",
        ),
        ("asge", {}, r"block 'conv1' needs aten\.rand"),
        ("ff", {}, r"block 'conv1' needs aten\.randint_like"),
        ("distance-forward-r", {}, "block 'conv1' learns from the later blocks' scores"),
        ("infopro", {}, "block 'conv1' learns from the image"),
        ("hpff", {}, "plan 'overlapping'"),
        ("trifecta", {}, "plan 'pairs'"),
        ("cafo", {}, "block 'conv1' learns from sums over many steps"),
        ("mono-forward", {"update": "forward-gradient"}, "update 'forward-gradient'"),
    ],
)
def test_a_step_that_is_no_fixed_program_is_refused(method, values, message):
    with pytest.raises(InputError, match=message):
        training_plans(network(method, **values), 4)


def test_the_plan_says_what_every_block_and_backprop_need(tmp_path):
    own = network("sff")
    write(own, PREPROCESSING, tmp_path, batch=2)
    plan = json.loads((tmp_path / "plan.json").read_text())

    first, second = plan["blocks"]
    assert (first["blocks"], second["blocks"]) == (["conv1"], ["conv2"])
    assert first["input"] == [2, *SHAPE]
    assert first["output"] == second["input"] == [2, *own[1].spec.input]
    assert first["weights"] == {
        name: list(value.shape)
        for name, value in own.named_parameters()
        if name.startswith("blocks.0.")
    }
    kept = sum(p.numel() for p in own[0].parameters()) * 4
    assert first["weight_bytes"] >= kept
    # Input, features and gradients are there, at least.
    features = 4 * 2 * 8 * 8 * 8
    assert first["planned_bytes"] > 2 * features
    assert plan["largest_planned_bytes"] == max(first["planned_bytes"], second["planned_bytes"])
    assert "aten::convolution_backward.out" in first["operators"]
    assert plan["backprop"]["planned_bytes"] == backprop_plan(own, 2).lowered.planned_bytes
    assert plan["backprop"]["blocks"] == ["conv1", "conv2"]
    with pytest.raises(InputError, match="a step takes 2 images"):
        DeviceLearner(tmp_path, lr=0.1).step(*random_batch(3, SHAPE))


def test_no_plan_is_said(tmp_path):
    with pytest.raises(InputError, match=r"holds no plan\.json"):
        DeviceLearner(tmp_path, lr=0.1)


@pytest.mark.parametrize(
    ("pool", "changed"),
    [
        (lambda x: F.avg_pool2d(x, 2), True),
        (lambda x: F.avg_pool2d(x, (2, 3)), True),
        (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), True),
        (lambda x: F.adaptive_avg_pool2d(x, (4, 5)), True),
        (lambda x: F.avg_pool2d(x, 3, 2, 1), False),
        (lambda x: F.avg_pool2d(x, 4), True),
        (lambda x: F.max_pool2d(x, 2), True),
        (lambda x: F.max_pool2d(x, 4), True),
        (lambda x: F.max_pool2d(x, 3, 2), False),
    ],
)
def test_pooling_as_reshape_and_mean(pool, changed):
    class Pool(torch.nn.Module):
        def forward(self, x):
            return pool(x)

    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(Pool(), (x,)).run_decompositions(plain_pooling())
    torch.testing.assert_close(program.module()(x), pool(x))
    assert ("pool2d" not in str(program.graph)) is changed


def test_a_program_that_answers(tmp_path):
    from executorch.extension.pybindings.portable_lib import _load_for_executorch

    own = trained("sff")
    answering = Answering(own, PREPROCESSING, exits=True, with_preprocessing=True)
    (tmp_path / "model.pte").write_bytes(to_bytes(answering, 3))
    pixels = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)

    scores, exits = _load_for_executorch(str(tmp_path / "model.pte")).forward((pixels,))

    x = PREPROCESSING(pixels)
    torch.testing.assert_close(scores, own.scores(x), rtol=1e-4, atol=1e-4)
    own.eval()
    torch.testing.assert_close(exits, own.exits(x).transpose(0, 1), rtol=1e-4, atol=1e-4)
