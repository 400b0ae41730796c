"""ONNX models answer as the network does, under onnxruntime and for every method."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from exporting import PREPROCESSING, SHAPE, methods, trained, without

from goodness import InputError
from goodness.cli import main
from goodness.data import open_data
from goodness.export.answering import Answering
from helpers import random_batch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from goodness.export.onnx import to_bytes  # noqa: E402


def session(content):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def close(found, expected):
    """Within 1e-4, of the largest score where that is more than 1: goodness is a sum of squares."""
    expected = expected.detach().numpy()
    scale = max(1.0, float(np.nanmax(np.abs(expected))))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)


@methods
def test_every_method_answers_alike_at_any_batch_size(method, capfd):
    network = trained(method).eval()
    answering = Answering(network, PREPROCESSING, exits=True)

    content = to_bytes(answering)

    assert capfd.readouterr().out == ""
    onnx.checker.check_model(content, full_check=True)
    model = session(content)
    assert [own.name for own in model.get_inputs()] == ["images"]
    assert [own.name for own in model.get_outputs()] == ["scores", "exits"]
    assert model.get_inputs()[0].shape == ["batch", *SHAPE]
    for count in (1, 2, 5):
        x, _ = random_batch(count, SHAPE, seed=count)
        scores, exits = model.run(None, {"images": x.numpy()})
        close(scores, network.scores(x))
        with torch.no_grad():
            close(exits, network.exits(x).transpose(0, 1))


def test_the_metadata_say_what_a_program_needs_and_the_named_readout_answers():
    network = trained("sff")
    network.readout = "last"
    content = to_bytes(Answering(network, PREPROCESSING, readout="sum"))
    model = onnx.load_from_string(content)
    x, _ = random_batch(3, SHAPE)
    (scores,) = session(content).run(None, {"images": x.numpy()})
    close(scores, network.scores(x, "sum"))
    assert not torch.allclose(torch.tensor(scores), network.scores(x, "last"))

    known = {own.key: json.loads(own.value) for own in model.metadata_props}
    assert known["classes"] == ["ä", "b", "c"]
    assert (known["mean"], known["std"]) == ([0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    assert (known["readout"], known["takes"], known["method"]) == ("sum", "float32", "sff")
    assert b"site-packages" not in content
    assert b".py" not in content


def test_without_standardising_mean_and_deviation_are_those_that_are_applied():
    plain = PREPROCESSING.model_copy(update={"normalize": False})
    answering = Answering(trained("sff"), plain, with_preprocessing=True)
    known = answering.metadata()
    assert (json.loads(known["mean"]), json.loads(known["std"])) == ([0.0] * 3, [1.0] * 3)
    pixels = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    assert answering.standardise is not None
    assert torch.equal(answering.standardise(pixels), plain.apply(pixels))


def test_with_preprocessing_it_takes_pixels():
    network = trained("sff")
    answering = Answering(network, PREPROCESSING, with_preprocessing=True)
    model = session(to_bytes(answering))
    pixels = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)

    (scores,) = model.run(None, {"images": pixels.numpy()})

    assert model.get_inputs()[0].type == "tensor(uint8)"
    close(scores, network.scores(PREPROCESSING(pixels)))


def test_mixed_precision_compilation_and_flips_do_not_keep_it_from_answering_in_float32():
    network = trained("sff", amp="bf16", flip_test=True)
    for block in network:
        block.body.compile()
    x, _ = random_batch(3, SHAPE)

    (scores,) = session(to_bytes(Answering(network, PREPROCESSING))).run(
        None, {"images": x.numpy()}
    )

    plain = trained("sff", flip_test=True)
    plain.load_state_dict(network.state_dict())
    close(scores, plain.scores(x))


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
    written = run.export("onnx", out, int8=True, exits=True, overwrite=True)
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


def test_without_its_runtime_nothing_is_quantised(run, tmp_path, monkeypatch):
    without(monkeypatch, "onnxruntime")
    with pytest.raises(InputError, match=r"onnxruntime is not installed: .*goodness\[onnx\]"):
        run.export("onnx", tmp_path / "a.onnx", int8=True)
    assert not list(tmp_path.iterdir())
