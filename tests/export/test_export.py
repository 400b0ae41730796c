"""``Run.export`` and ``goodness export``: files, formats, and what each format refuses."""

from __future__ import annotations

import io
import json

import pytest
import torch
from exporting import PREPROCESSING, SHAPE, trained, without
from safetensors.torch import load_file

import goodness
from goodness import InputError
from goodness.cli import main
from goodness.data import open_data
from goodness.export.answering import Answering
from goodness.export.torch import to_bytes
from helpers import random_batch


@pytest.mark.parametrize("method", ["sff", "ff"])
def test_a_torch_program_has_the_network_s_own_scores(method):
    network = trained(method).eval()
    answering = Answering(network, PREPROCESSING, exits=True, keep_layout=True)
    file, found = io.BytesIO(to_bytes(answering)), {"classes": ""}

    program = torch.export.load(file, extra_files=found).module()

    assert json.loads(found["classes"]) == PREPROCESSING.classes
    for count in (1, 2, 5):
        x, _ = random_batch(count, SHAPE, seed=count)
        scores, exits = program(x)
        assert torch.equal(scores, network.scores(x))
        with torch.no_grad():
            expected = network.exits(x).transpose(0, 1)
        torch.testing.assert_close(exits, expected, rtol=0, atol=0, equal_nan=True)


def test_the_network_itself_stays_as_it_is():
    network = trained("sff", amp="bf16").train()
    Answering(network, PREPROCESSING)
    assert network.config.amp == "bf16"
    assert all(part.training for part in network.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "unknown format 'tflite'"),
        ({"exits": True}, "exits: format 'safetensors' cannot take it"),
        ({"readout": "sum"}, r"readout: .* \(these can: torch, onnx"),
        ({"with_preprocessing": True}, "with_preprocessing: format 'safetensors'"),
        (
            {"format": "torch", "int8": True},
            r"int8: format 'torch' cannot take it \(these can: onn",
        ),
        ({"format": "onnx", "readout": "smu"}, "unknown readout 'smu'; did you mean 'sum'"),
        ({"format": "torch", "out": "nodir/a.pt2"}, "there is no folder 'nodir'"),
        ({"format": "onnx", "train": True}, r"train: .* \(these can: executorch\)"),
        ({"format": "onnx", "batch": 2}, r"batch: format 'onnx' cannot take it"),
        ({"format": "executorch", "batch": 0}, "batch: at least 1 image"),
        (
            {"format": "executorch", "train": True, "exits": True},
            "exits: programs that learn take preprocessed images",
        ),
        (
            {"format": "executorch", "train": True, "out": "."},
            r"'\.' is not empty and holds no plan\.json",
        ),
    ],
)
def test_what_a_format_does_not_take_is_refused(run, monkeypatch, options, message):
    monkeypatch.chdir(run.folder)
    before = sorted(run.folder.iterdir())
    with pytest.raises(InputError, match=message):
        run.export(**options)
    assert sorted(run.folder.iterdir()) == before


def test_json_is_all_that_is_printed(run, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(run.folder), "--format", "torch", "--with-preprocessing", "--json"])
    written = json.loads(capsys.readouterr().out)

    assert written["path"] == str(run.folder / "model.pt2")
    assert (written["format"], written["readout"]) == ("torch", run.network.readout)
    program = torch.export.load(written["path"]).module()
    pixels, _ = next(open_data("digits").test.batches(4, "cpu"))
    assert torch.equal(program(pixels), run.network.scores(run.preprocessing(pixels)))


def test_nothing_is_replaced_unasked(run, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_text("mine")
    with pytest.raises(InputError, match=r"is there already; --overwrite replaces it"):
        run.export(out=file)
    assert file.read_text() == "mine"

    assert run.export(out=file, overwrite=True).bytes == file.stat().st_size
    assert load_file(file).keys() == run.network.backbone_state().keys()

    device = tmp_path / "device"
    device.mkdir()
    (device / "plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds programs already; --overwrite replaces them"):
        run.export("executorch", device, train=True)
    assert [path.name for path in device.iterdir()] == ["plan.json"]


def test_a_shared_network_stays_as_it_is(tmp_path):
    shared = goodness.load("pretrained/digits", device="cpu")
    with pytest.raises(InputError, match=r"digits', a shared network's or .*: give out a path"):
        shared.export(overwrite=True)
    assert shared.export(out=tmp_path / "a.safetensors").bytes > 1000


@pytest.mark.parametrize(
    ("missing", "options", "extra"),
    [
        ("onnx", {"format": "onnx"}, "onnx"),
        ("onnxscript", {"format": "onnx"}, "onnx"),
        ("executorch", {"format": "executorch"}, "executorch"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    run, tmp_path, monkeypatch, missing, options, extra
):
    without(monkeypatch, missing)
    message = rf"{missing} is not installed: pip install 'goodness\[{extra}\]'"
    with pytest.raises(InputError, match=message):
        run.export(**options, out=tmp_path / "made")
    assert not list(tmp_path.iterdir())
