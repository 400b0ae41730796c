"""An ONNX model with 8-bit weights and activations, and what that costs in accuracy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from goodness.data import Split
from goodness.export.answering import INPUT, Answering
from goodness.extras import needs
from goodness.results import ExportAccuracy

CALIBRATION = 512
"""Training images that the ranges of activations are taken from."""
BATCH = 64
OPERATORS = ["Conv", "Gemm", "MatMul"]
"""What becomes 8-bit: all that has weights. Squares and norms are cheap and stay in float32."""


def quantised(model: bytes, answering: Answering, train: Split, seed: int = 0) -> bytes:
    """The model with 8-bit operators, static, with a range per channel of each weight.

    Args:
        model: what `goodness.export.onnx.to_bytes` gave.
        answering: what it was made of.
        train: training images; those that calibrate are drawn from them.
        seed: of that draw.

    Raises:
        InputError: onnxruntime is not installed.
    """
    onnx, quantization, shapes = needs(
        "onnx", "onnx", "onnxruntime.quantization", "onnxruntime.quantization.shape_inference"
    )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train), generator=generator)[:CALIBRATION]
    batches = train.batches(BATCH, "cpu", order=order)
    feeds = ({INPUT: _taken(answering, pixels)} for pixels, _ in batches)

    class Calibration(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        given, source, made = (Path(folder, f"{name}.onnx") for name in ("given", "float", "int8"))
        given.write_bytes(model)
        # Norms are folded into convolutions before their ranges are taken.
        shapes.quant_pre_process(given, source, skip_symbolic_shape=True)
        quantization.quantize_static(
            source, made, Calibration(), per_channel=True, op_types_to_quantize=OPERATORS
        )
        result = onnx.load(made)
    onnx.helper.set_model_props(result, {**answering.metadata(), "precision": '"int8"'})
    onnx.checker.check_model(result)
    content: bytes = result.SerializeToString()
    return content


def accuracy(model: bytes, answering: Answering, split: Split) -> ExportAccuracy:
    """Of an ONNX model under onnxruntime, and of every exit if it has them.

    Args:
        model: its bytes.
        answering: what it was made of.
        split: images with labels.

    Raises:
        InputError: onnxruntime is not installed.
    """
    right = np.zeros(1)
    seen = np.ones(1, bool)
    for scores, y in _answers(model, answering, split):
        # (N, 1 + B, K): the answer, then the exits.
        known = ~np.isnan(scores).any((0, 2))
        guesses = np.where(np.isnan(scores), -np.inf, scores).argmax(2)
        right = right + (guesses == y[:, None]).sum(0)
        seen = seen & known
    shares = [float(share) for share in right / len(split)]
    exits = [share if there else None for share, there in zip(shares[1:], seen[1:], strict=True)]
    return ExportAccuracy(shares[0], exits if answering.exits else None)


def _answers(
    model: bytes, answering: Answering, split: Split
) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    (runtime,) = needs("onnx", "onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # what it folds or not is no news
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for pixels, y in split.batches(BATCH, "cpu"):
        scores, *exits = session.run(None, {INPUT: _taken(answering, pixels)})
        yield np.concatenate([scores[:, None], *exits], 1), y.numpy()


def _taken(answering: Answering, pixels: Tensor) -> np.ndarray[Any, Any]:
    """Images uint8 (N, C, H, W) as the model takes them."""
    own = answering.standardise is not None
    array: np.ndarray[Any, Any] = (pixels if own else answering.preprocessing.apply(pixels)).numpy()
    return array
