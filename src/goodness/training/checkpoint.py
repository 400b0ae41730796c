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

from goodness.errors import InputError, RunError
from goodness.training.migration import SCHEMA, current_checkpoint

if TYPE_CHECKING:
    from goodness.network.network import Network

META_KEYS = ("step", "steps_per_epoch", "seconds", "best", "preprocessing", "blocks")
"""What the JSON of every network's checkpoint holds."""
_META = "state.json"


def save(folder: Path, meta: Mapping[str, Any], groups: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write a checkpoint so that ``folder`` is at every moment either the old one or the new one.

    Args:
        folder: where it goes; an older checkpoint there is replaced.
        meta: JSON; ``schema`` is added.
        groups: tensors by file, e.g. ``{"network": network.state_dict()}``.
    """
    fresh, old = _beside(folder, "new"), _beside(folder, "old")
    for leftover in (fresh, old):
        if leftover.exists() and (leftover == fresh or folder.exists()):
            shutil.rmtree(leftover)
    fresh.mkdir(parents=True)
    try:
        for name, tensors in groups.items():
            dense = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            save_file(dense, fresh / f"{name}.safetensors")
        (fresh / _META).write_text(json.dumps({"schema": SCHEMA, **meta}, indent=1))
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
    folder: Path, *groups: str, needs: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read a checkpoint.

    Args:
        folder: as given to `save`.
        groups: the tensor files wanted.
        needs: keys that the JSON must have.

    Returns:
        Its JSON and the tensors of each group, on the CPU.

    Raises:
        InputError: there is none, it is truncated, or a newer goodness wrote it.
    """
    found = find(folder)
    if found is None:
        raise InputError(f"no checkpoint in '{folder}'")
    try:
        meta = json.loads((found / _META).read_text())
    except ValueError:
        meta = None
    schema = meta.get("schema") if isinstance(meta, dict) else None
    if isinstance(schema, int):
        meta = current_checkpoint(meta, f"checkpoint '{found}'")
    if not isinstance(schema, int) or not set(meta) >= set(needs):
        raise InputError(f"checkpoint '{found}' is damaged: {_META} cannot be read")
    tensors = {}
    for name in groups:
        path = found / f"{name}.safetensors"
        try:
            tensors[name] = _detached(load_file(path))
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"checkpoint file '{path}' is missing or truncated ({error})"
            ) from None
    return meta, tensors


def load_network(folder: Path, network: Network) -> dict[str, Any]:
    """Put a checkpoint's weights into a network built from the same configuration.

    Args:
        folder: as given to `save`; its JSON holds the network's facts as ``blocks``.
        network: gets the weights, on its own device.

    Returns:
        The checkpoint's JSON.

    Raises:
        InputError: damaged, of a newer schema, or of another model; the first difference is named.
    """
    meta, groups = load(folder, "network", needs=["blocks"])
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
