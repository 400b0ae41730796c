"""Training on the ExecuTorch runtime equals ours, and what it lacks is said."""

from __future__ import annotations

import json
import math
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from exporting import PREPROCESSING, SHAPE, trained
from torch.nn import functional as F

from goodness import InputError
from goodness.export import PLAN, training
from goodness.export.answering import Answering
from goodness.methods import METHODS
from helpers import TINY, learner_of, random_batch, tiny_network

executorch = pytest.importorskip("executorch")

from goodness.export.device import DeviceLearner  # noqa: E402
from goodness.export.executorch import to_bytes  # noqa: E402
from goodness.export.pooling import plain_pooling  # noqa: E402
from goodness.export.training import training_plans, write  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of what executorch imports and announces
DOCS = Path(__file__).parents[2] / "docs"
PLAIN = {**TINY, "norm": "none"}
SGD = {"optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-3}, "lr": 0.02}
STEPS = 20
LEARN = {
    *("asge-fast", "auglocal", "backprop", "bwbpf", "cafo-ce", "cwc", "deep-supervision", "dtg"),
    *("lookahead", "mono-forward", "predsim-fast", "sff"),
}
"""Methods whose every block can learn on the runtime; each of the others is refused."""
CHANGED = {
    # The reference loop trains all blocks at every step.
    **{key: {"plan": "together"} for key in ("cafo-ce", "cwc")},
    **{key: {"boundary": {"dropout": 0}} for key in ("asge", "deeperforward", "predsim")},
    "spectral-local": {"objective": {"widths": []}},
}
"""What methods are trained with here; but for the first two they are refused without."""


def network(method, **values):
    options = {"model": PLAIN, "lr_schedule": "constant", **SGD, **values}
    return tiny_network(method, SHAPE, **options)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A network and its exported folder."""
    own, folder = network("asge-fast"), tmp_path_factory.mktemp("device")
    write(own, PREPROCESSING, folder, batch=4)
    return own, folder


def test_losses_on_the_runtime_are_those_of_a_learner_with_sgd(written):
    assert_learns_alike(*written)


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted((LEARN | CHANGED.keys()) - {"asge-fast"}))
def test_so_they_are_for_every_method_that_can_be_exported(method, tmp_path):
    own = network(method, **CHANGED.get(method, {}))
    own.initialize([random_batch(8, SHAPE)[0]])  # a run has whitened
    write(own, PREPROCESSING, tmp_path, batch=4)
    assert_learns_alike(own, tmp_path)


def test_a_folder_that_a_killed_process_has_left_is_known(written, tmp_path, monkeypatch):
    own, _ = written

    def killed(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        write(own, PREPROCESSING, tmp_path / "device", batch=4)
    assert (tmp_path / "device" / PLAN).is_file()
    with pytest.raises(InputError, match=r"0\.pte' is missing: its export was interrupted"):
        DeviceLearner(tmp_path / "device", lr=0.1)


def assert_learns_alike(own, folder):
    options = {key: SGD["optimizer"][key] for key in ("momentum", "weight_decay")}
    device, learner = DeviceLearner(folder, lr=SGD["lr"], **options), learner_of(own)

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
    says = r"needs aten|learns from|plan|update|presentation"
    with pytest.raises(InputError, match=says) as error:
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
        ("asge", {}, r"block 'conv1' needs aten\.rand.* --set boundary\.dropout=0"),
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


def test_the_plan_says_what_every_block_and_backprop_need(written):
    own, folder = written
    plan = json.loads((folder / "plan.json").read_text())

    first, second = plan["blocks"]
    assert (first["blocks"], second["blocks"]) == (["conv1"], ["conv2"])
    assert first["input"] == [4, *SHAPE]
    assert first["output"] == second["input"] == [4, *own[1].spec.input]
    assert first["weights"] == {
        name: list(value.shape)
        for name, value in own.named_parameters()
        if name.startswith("blocks.0.")
    }
    kept = sum(p.numel() for p in own[0].parameters()) * 4
    assert first["weight_bytes"] >= kept
    # Input, features and their gradient are there, at least.
    features = [4 * 4 * math.prod(own[index].spec.features) for index in (0, 1)]
    assert first["planned_bytes"] > 2 * features[0]
    assert plan["largest_planned_bytes"] == max(first["planned_bytes"], second["planned_bytes"])
    assert "aten::convolution_backward.out" in first["operators"]
    whole = plan["backprop"]
    assert whole["blocks"] == ["conv1", "conv2"]
    assert whole["planned_bytes"] > sum(features)
    assert any(name.startswith("blocks.1.") for name in whole["weights"])
    with pytest.raises(InputError, match="a step takes 4 images"):
        DeviceLearner(folder, lr=0.1).step(*random_batch(3, SHAPE))


def test_programs_of_before_are_replaced_whole(tmp_path, monkeypatch):
    (tmp_path / "blocks").mkdir()
    for place in range(5):
        (tmp_path / "blocks" / f"{place}.pte").touch()
    program = training.Lowered(b"program", planned_bytes=1, operators=[])
    made = training.TrainingPlan(["conv1"], True, [1], [1], program, weights={}, weight_bytes=1)
    monkeypatch.setattr(training, "training_plans", lambda *_: [made])

    write(network("sff"), PREPROCESSING, tmp_path, batch=1)

    assert [path.name for path in (tmp_path / "blocks").iterdir()] == ["0.pte"]


def test_the_page_tells_of_every_method_what_it_does_on_the_device():
    _, _, section = (DOCS / "export.md").read_text().partition("| method | on the device |")
    rows = re.findall(r"^\| (`.*) \| (.*) \|$", section, flags=re.MULTILINE)
    told = {name: says for names, says in rows for name in re.findall(r"`([^`]+)`", names)}
    for method in METHODS.names():
        (says,) = (text for name, text in told.items() if fnmatch(method, name))
        assert (says == "learns") is (method in LEARN), method


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

    program = _load_for_executorch(str(tmp_path / "model.pte"))
    scores, exits = program.forward((pixels,))

    assert json.loads(program.run_method("classes", ())[0]) == PREPROCESSING.classes
    x = PREPROCESSING(pixels)
    torch.testing.assert_close(scores, own.scores(x), rtol=1e-4, atol=1e-4)
    own.eval()
    torch.testing.assert_close(exits, own.exits(x).transpose(0, 1), rtol=1e-4, atol=1e-4)
