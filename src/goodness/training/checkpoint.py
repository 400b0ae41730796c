"""Checkpoints: a folder of safetensors and JSON, written beside and renamed whole; no pickle."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from goodness.checksums import checksum as checksum_of
from goodness.checksums import file_checksum, opened
from goodness.errors import InputError, RunError, reason
from goodness.results import Best
from goodness.training.migration import SCHEMA, current_checkpoint

if TYPE_CHECKING:
    from goodness.network.network import Network

META_KINDS: dict[str, tuple[type, ...]] = {
    **{"step": (int,), "steps_per_epoch": (int,), "seconds": (int, float), "best": (dict,)},
    **{"preprocessing": (dict,), "blocks": (list,)},
}
"""What the JSON of every network's checkpoint holds."""
BEST = {"epoch": 0, "readout": ""}
"""What every version has kept of the best epoch."""
META_KEYS = tuple(META_KINDS)
_META = "state.json"


def save(
    folder: Path,
    meta: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Tensor]],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint so that ``folder`` is at every moment either the old one or the new one.

    Args:
        folder: where it goes; an older checkpoint there is replaced.
        meta: JSON; ``schema`` and checksums are added.
        groups: tensors by file, e.g. ``{"network": network.state_dict()}``.
        texts: further files by name.
    """
    fresh, old = _beside(folder, "new"), _beside(folder, "old")
    for leftover in (fresh, old):
        if leftover.exists() and (leftover == fresh or folder.exists()):
            shutil.rmtree(leftover)
    fresh.mkdir(parents=True)
    try:
        for name, tensors in groups.items():
            dense = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            file = fresh / f"{name}.safetensors"
            save_file(dense, file)
            file.chmod(fresh.stat().st_mode & 0o666)  # it comes for the owner alone, whatever umask
        for name, text in (texts or {}).items():
            (fresh / name).write_text(text)
        files = {path.name: file_checksum(path) for path in sorted(fresh.iterdir())}
        content = {"schema": SCHEMA, **meta, "files": files}
        sealed = {"checksum": checksum_of(content), **content}
        (fresh / _META).write_text(json.dumps(sealed, indent=1))
        for path in fresh.iterdir():
            _flush(path)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(error, SafetensorError):  # what a full disk becomes in there
            raise RunError(f"cannot write the checkpoint '{folder}': {error}") from error
        raise
    # A folder cannot be replaced in one step: until the second rename, `find` takes the old one.
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def find(folder: Path) -> Path | None:
    """The checkpoint at ``folder``, or the one that an interrupted `save` left in its place."""
    for candidate in (folder, _beside(folder, "old")):
        if (candidate / _META).is_file():
            return candidate
    return None


def load(
    folder: Path, *groups: str, needs: Iterable[str] = (), run: str = ""
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read a checkpoint.

    Args:
        folder: as given to `save`.
        groups: the tensor files wanted.
        needs: keys that the JSON must have.
        run: the run that it has to be of; empty: any, as earlier versions did not say.

    Returns:
        Its JSON and the tensors of each group, on the CPU.

    Raises:
        InputError: there is none, it is damaged or another run's, or a newer goodness wrote it.
    """
    found = find(folder)
    if found is None:
        raise InputError(f"no checkpoint in '{folder}'")
    meta = _read_meta(found, needs)
    if run and meta.get("run") != run:
        raise InputError(f"checkpoint '{found}' is of another run than config.json, by its {_META}")
    tensors = {}
    for name in groups:
        path = _checked(found / f"{name}.safetensors", meta)
        try:
            tensors[name] = _detached(load_file(path))
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"checkpoint file '{path}' is missing or truncated ({error})"
            ) from None
    return meta, tensors


def verify(folder: Path, name: str, run: str = "") -> None:
    """See that a file of a checkpoint is what was written.

    Raises:
        InputError: as `load`.
    """
    meta, _ = load(folder, run=run)
    _checked((find(folder) or folder) / name, meta)


def is_whole(folder: Path, run: str = "") -> bool:
    """Whether there is a checkpoint, and none of its files is damaged."""
    try:
        meta, _ = load(folder, "network", needs=META_KEYS, run=run)
        for name in meta.get("files", ()):
            _checked((find(folder) or folder) / name, meta)
    except InputError:
        return False
    return True


def _read_meta(found: Path, needs: Iterable[str]) -> dict[str, Any]:
    where = f"checkpoint '{found}' is damaged: {_META}"
    try:
        meta = opened(json.loads((found / _META).read_bytes()))
    except OSError as error:
        raise InputError(f"{where} cannot be read ({reason(error)})") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        meta = None
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    schema = meta.get("schema") if isinstance(meta, dict) else None
    if type(schema) is not int or schema < 1:
        raise InputError(f"{where} cannot be read")
    try:
        current = current_checkpoint(meta, f"checkpoint '{found}'")
    except (AttributeError, TypeError):  # of an earlier version, without a checksum
        raise InputError(f"{where} cannot be read") from None
    if not current.keys() >= set(needs) or not _fits(current):
        raise InputError(f"{where} cannot be read")
    return current


def _fits(meta: Mapping[str, Any]) -> bool:
    """Whether values are of their kinds: checksums also fit what somebody has made up."""
    if any(not isinstance(meta.get(key, kinds[0]()), kinds) for key, kinds in META_KINDS.items()):
        return False
    try:
        Best.from_json(meta.get("best", {}))
    except ValueError:
        return False
    if not meta.get("best", BEST).keys() >= BEST.keys():
        return False
    parts = [meta.get("files", {}), *meta.get("blocks", ())]
    return all(isinstance(part, dict) for part in parts)


def _checked(path: Path, meta: Mapping[str, Any]) -> Path:
    """A file of a checkpoint, if it is what was written.

    Raises:
        InputError: it is missing or damaged.
    """
    kept = meta.get("files", {}).get(path.name)
    try:
        fits = kept is None or file_checksum(path) == kept
    except OSError as error:
        raise InputError(
            f"checkpoint file '{path}' is missing or truncated ({reason(error)})"
        ) from None
    if not fits:
        raise InputError(f"checkpoint file '{path}' is damaged: its checksum does not fit {_META}")
    return path


def load_network(folder: Path, network: Network, run: str = "") -> dict[str, Any]:
    """Put a checkpoint's weights into a network built from the same configuration.

    Args:
        folder: as given to `save`; its JSON holds the network's facts as ``blocks``.
        network: gets the weights, on its own device.
        run: as in `load`.

    Returns:
        The checkpoint's JSON.

    Raises:
        InputError: damaged, of a newer schema, or of another model; the first difference is named.
    """
    meta, groups = load(folder, "network", needs=["blocks"], run=run)
    nothing: dict[str, Any] = {}
    for there, here in zip_longest(meta["blocks"], network.facts(), fillvalue=nothing):
        # Facts that this checkpoint did not keep yet are not compared.
        if not there or there != {key: here.get(key) for key in there}:
            raise InputError(f"checkpoint '{folder}' is of another model: {there} is not {here}")
    put(groups["network"], network, f"checkpoint '{folder}'")
    return meta


def put(state: Mapping[str, Tensor], network: Network, source: str) -> None:
    """Put weights into a network, all or none.

    Args:
        state: tensors by name.
        network: gets them, on its own device.
        source: where they come from, for errors.

    Raises:
        InputError: they are another network's; the first difference is named.
    """
    own = network.state_dict()
    for name in [*own, *state]:
        shapes = [tuple(one[name].shape) if name in one else None for one in (state, own)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{source} is of another model:"
                f" '{name}' is {shapes[0] or 'missing'} there, {shapes[1] or 'missing'} here"
            )
    network.load_state_dict(state)


def _detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, no longer views of the file where that would keep it from being replaced."""
    if sys.platform != "win32":
        return tensors
    return {key: value.clone() for key, value in tensors.items()}


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on the disk.

    Windows opens no folder, and flushes only what is open for writing.
    """
    folder = path.is_dir()
    if folder and sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
