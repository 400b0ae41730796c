"""From a run to a file: which format writes what, and which options each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from goodness.errors import InputError, unknown
from goodness.files import check_file, is_taken, write_whole
from goodness.results import ExportAccuracy, Exported

if TYPE_CHECKING:
    from goodness.data import Split
    from goodness.run import Run

Format = Literal["safetensors", "torch", "onnx", "executorch", "nir"]
SUFFIXES: dict[Format, str] = {
    "safetensors": ".safetensors",
    "torch": ".pt2",
    "onnx": ".onnx",
    "executorch": ".pte",
    "nir": ".nir",
}
PROGRAMS = ("torch", "onnx", "executorch")
"""Programs that compute answers; what else there is describes the network."""
PLAN = "plan.json"
"""What a folder of programs that learn is known by."""


def default_name(format: Format, *, int8: bool = False, train: bool = False) -> str:
    """The file's or folder's name where nobody gives one.

    Raises:
        InputError: no such format.
    """
    if format not in SUFFIXES:
        raise unknown("format", format, SUFFIXES)
    if train:
        return "device"
    return f"model-int8{SUFFIXES[format]}" if int8 else f"model{SUFFIXES[format]}"


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
    overwrite: bool = False,
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
        overwrite: whether an earlier export may be replaced.
        split: the images of ``"train"`` and ``"test"``, for ``int8``.

    Raises:
        InputError: as `Run.export` does.
    """
    name = default_name(format, int8=int8, train=train)
    answers = {"readout": readout, "exits": exits, "with_preprocessing": with_preprocessing}
    _only(format, PROGRAMS, answers)
    _only(format, ("onnx",), {"int8": int8})
    _only(format, ("executorch",), {"train": train, "batch": batch})
    if batch is not None and batch < 1:
        raise InputError(f"batch: at least 1 image is needed (got {batch})")
    path = _own(run, name) if out is None else Path(out)
    if train:
        return _training(run, path, answers, batch or 1, overwrite)
    check_file(path, overwrite)
    # Late, so that no format needs the packages of another.
    writer: Any = import_module(f"goodness.export.{format}")
    if format not in PROGRAMS:
        write_whole(path, writer.to_bytes(run.network))
        return Exported(str(path), format, path.stat().st_size)

    from goodness.export.answering import Answering

    answering = Answering(
        run.network,
        run.preprocessing,
        readout=readout,
        exits=exits,
        with_preprocessing=with_preprocessing,
        calibration=run.calibration,
        keep_layout=format == "torch",
    )
    fixed = {"batch": batch or 1} if format == "executorch" else {}
    content: bytes = writer.to_bytes(answering, **fixed)
    accuracies: dict[str, ExportAccuracy] = {}
    if int8:
        content, accuracies = _int8(content, answering, split)
    write_whole(path, content)
    return Exported(str(path), format, len(content), answering.readout, **accuracies)


def _own(run: Run, name: str) -> Path:
    """A place in the run folder."""
    if run.own_folder is None:
        raise InputError(
            f"nothing is written into '{run.folder}', a shared network's or one that is being"
            " replaced: give out a path"
        )
    return run.own_folder / name


def _training(
    run: Run, folder: Path, answers: dict[str, Any], batch: int, overwrite: bool
) -> Exported:
    """Programs that learn, in a folder."""
    for key, value in answers.items():
        if value:
            raise InputError(
                f"{key}: programs that learn take preprocessed images and give losses, outputs and"
                " every block's scores"
            )
    _check_target(folder, overwrite)
    from goodness.export.training import write

    size = write(run.network, run.preprocessing, folder, batch)
    return Exported(str(folder), "executorch", size)


def _check_target(folder: Path, overwrite: bool) -> None:
    """Refuse a folder with anything but programs that learn, and these too where not asked."""
    if is_taken(folder, PLAN, lambda found: (found / PLAN).is_file()) and not overwrite:
        raise InputError(f"'{folder}' holds programs already; --overwrite replaces them")


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
