"""From a run to a file: which format writes what, and which options each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from goodness.errors import InputError, unknown
from goodness.files import check_file, check_folder, write_whole
from goodness.results import ExportAccuracy, Exported

if TYPE_CHECKING:
    from goodness.api import Run
    from goodness.data import Split

Format = Literal["safetensors", "torch", "onnx", "executorch"]
SUFFIXES: dict[Format, str] = {
    "safetensors": ".safetensors",
    "torch": ".pt2",
    "onnx": ".onnx",
    "executorch": ".pte",
}
PROGRAMS = ("torch", "onnx", "executorch")
"""Formats that compute answers; the first one is weights alone."""


def export(
    run: Run,
    format: Format = "safetensors",
    out: str | Path | None = None,
    *,
    readout: str | None = None,
    exits: bool = False,
    with_preprocessing: bool = False,
    int8: bool = False,
    train: bool = False,
    batch: int | None = None,
    split: Callable[[str], Split],
) -> Exported:
    """Write what `Run.export` documents.

    Args:
        run: a trained network.
        format: one of the formats.
        out: the file, or the folder with ``train``.
        readout: which readout answers.
        exits: whether a program gives every block's scores too.
        with_preprocessing: whether a program takes uint8 pixels.
        int8: whether the ONNX model is quantised.
        train: whether programs that learn are written, one per block.
        batch: images that an ExecuTorch program takes; None: 1.
        split: the images of ``"train"`` and ``"test"``, for ``int8``.

    Raises:
        InputError: as `Run.export` does.
    """
    if format not in SUFFIXES:
        raise unknown("format", format, SUFFIXES)
    answers = {"readout": readout, "exits": exits, "with_preprocessing": with_preprocessing}
    _only(format, PROGRAMS, answers)
    _only(format, ("onnx",), {"int8": int8})
    _only(format, ("executorch",), {"train": train, "batch": batch})
    if batch is not None and batch < 1:
        raise InputError(f"batch: at least 1 image is needed (got {batch})")
    if train:
        return _training(run, out, answers, batch or 1)
    name = f"model-int8{SUFFIXES[format]}" if int8 else f"model{SUFFIXES[format]}"
    path = run.folder / name if out is None else Path(out)
    check_file(path)
    # Late, so that no format needs the packages of another.
    writer: Any = import_module(f"goodness.export.{format}")
    if format == "safetensors":
        write_whole(path, writer.to_bytes(run.network))
        return Exported(str(path), format, path.stat().st_size)

    from goodness.export.answering import Answering

    layout = {"keep_layout": format == "torch"}
    answering = Answering(run.network, run.preprocessing, **answers, **layout)  # type: ignore[arg-type]
    fixed = {"batch": batch or 1} if format == "executorch" else {}
    content: bytes = writer.to_bytes(answering, **fixed)
    accuracies: dict[str, ExportAccuracy] = {}
    if int8:
        content, accuracies = _int8(content, answering, split)
    write_whole(path, content)
    return Exported(str(path), format, len(content), answering.readout, **accuracies)


def _training(run: Run, out: str | Path | None, answers: dict[str, Any], batch: int) -> Exported:
    """Programs that learn, in a folder."""
    for key, value in answers.items():
        if value:
            raise InputError(f"{key}: programs that learn give losses and every block's scores")
    folder = run.folder / "device" if out is None else Path(out)
    check_folder(folder)
    from goodness.export.training import write

    size = write(run.network, run.preprocessing, folder, batch)
    return Exported(str(folder), "executorch", size)


def _only(format: str, takers: Iterable[str], options: dict[str, Any]) -> None:
    """Refuse options that mean nothing for a format."""
    for key, value in options.items():
        if value and format not in takers:
            raise InputError(
                f"{key}: format '{format}' cannot take it (these can: {', '.join(takers)})"
            )


def _int8(
    content: bytes, answering: Any, split: Callable[[str], Split]
) -> tuple[bytes, dict[str, ExportAccuracy]]:
    """A quantised ONNX model, and the test accuracy before and after."""
    from goodness.export.int8 import accuracy, quantised

    made = quantised(content, answering, split("train"))
    test = split("test")
    before, after = (accuracy(model, answering, test) for model in (content, made))
    return made, {"before": before, "after": after}
