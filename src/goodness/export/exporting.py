"""From a run to a file: which format writes what, and which options each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from goodness.errors import InputError, unknown
from goodness.files import check_file, write_whole
from goodness.results import ExportAccuracy, Exported

if TYPE_CHECKING:
    from goodness.api import Run
    from goodness.data import Split

Format = Literal["safetensors", "torch", "onnx"]
SUFFIXES: dict[Format, str] = {"safetensors": ".safetensors", "torch": ".pt2", "onnx": ".onnx"}
PROGRAMS = ("torch", "onnx")
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
    split: Callable[[str], Split],
) -> Exported:
    """Write what `Run.export` documents.

    Args:
        run: a trained network.
        format: one of the formats.
        out: the file.
        readout: which readout answers.
        exits: whether a program gives every block's scores too.
        with_preprocessing: whether a program takes uint8 pixels.
        int8: whether the ONNX model is quantised.
        split: the images of ``"train"`` and ``"test"``, for ``int8``.

    Raises:
        InputError: as `Run.export` does.
    """
    if format not in SUFFIXES:
        raise unknown("format", format, SUFFIXES)
    answers = {"readout": readout, "exits": exits, "with_preprocessing": with_preprocessing}
    _only(format, PROGRAMS, answers)
    _only(format, ("onnx",), {"int8": int8})
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
    content: bytes = writer.to_bytes(answering)
    accuracies: dict[str, ExportAccuracy] = {}
    if int8:
        content, accuracies = _int8(content, answering, split)
    write_whole(path, content)
    return Exported(str(path), format, len(content), answering.readout, **accuracies)


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
