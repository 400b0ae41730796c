"""``Run.export`` and ``goodness export``: files, formats, and what each format refuses."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exporting import PREPROCESSING, SHAPE, methods, trained

import goodness
from goodness import InputError
from goodness.cli import main
from goodness.data import open_data
from goodness.export.answering import Answering
from goodness.export.torch import to_bytes
from helpers import TINY, random_batch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return goodness.fit(
        method="sff",
        model=TINY,
        out=tmp_path_factory.mktemp("export") / "run",
        epochs=3,
        final_test=False,
    )


@methods
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
    ],
)
def test_what_a_format_does_not_take_is_refused(run, options, message):
    before = sorted(run.folder.iterdir())
    with pytest.raises(InputError, match=message):
        run.export(**options)
    assert sorted(run.folder.iterdir()) == before


@pytest.mark.parametrize(("missing", "options"), [("onnx", {}), ("onnxruntime", {"int8": True})])
def test_a_missing_package_is_named_with_its_extra(run, monkeypatch, missing, options):
    for name in list(sys.modules):
        if name.partition(".")[0] == missing:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"{missing} is not installed: .*goodness\[onnx\]"):
        run.export("onnx", **options)


def test_int8_says_what_it_costs_at_every_exit(run, tmp_path, capsys):
    out = tmp_path / "small.onnx"
    with pytest.raises(SystemExit) as ended:
        main(
            ["export", str(run.folder), "--format", "onnx", "--int8", "--exits", "--out", str(out)]
        )
    printed, said = capsys.readouterr()

    assert not ended.value.code
    assert printed == f"{out}\n"
    assert said.count("exit conv") == 2
    assert "int8" in said
    model = onnx.load(out)
    weights = {own.name for own in model.graph.initializer if own.data_type == 3}
    assert len(weights) >= 2  # of two convolutions
    assert {own.key for own in model.metadata_props} >= {"classes", "mean", "std", "readout"}

    # The numbers are those of the file: the accuracies, counted here once more.
    written = run.export("onnx", out, int8=True, exits=True)
    test = open_data("digits").test
    pixels, y = next(test.batches(len(test), "cpu"))
    session = onnxruntime.InferenceSession(out.read_bytes())
    scores, exits = session.run(None, {"images": run.preprocessing.apply(pixels).numpy()})
    share = float((scores.argmax(1) == y.numpy()).mean())
    assert written.after.accuracy == pytest.approx(share)
    per_exit = (exits.argmax(2) == y.numpy()[:, None]).mean(0)
    np.testing.assert_allclose(written.after.exits, per_exit)
    assert written.before.accuracy == pytest.approx(run.evaluate().accuracy)
    assert written.after.accuracy > written.before.accuracy - 0.1


def test_json_is_all_that_is_printed(run, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(run.folder), "--format", "torch", "--with-preprocessing", "--json"])
    written = json.loads(capsys.readouterr().out)

    assert written["path"] == str(run.folder / "model.pt2")
    assert (written["format"], written["readout"]) == ("torch", run.network.readout)
    program = torch.export.load(written["path"]).module()
    pixels, _ = next(open_data("digits").test.batches(4, "cpu"))
    assert torch.equal(program(pixels), run.network.scores(run.preprocessing(pixels)))
