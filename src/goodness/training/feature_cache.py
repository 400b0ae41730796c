"""What finished blocks send on, kept on disk, so that the blocks behind them learn without them."""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from goodness.checks import check_feature_cache
from goodness.checksums import PieceChecksums, piece_checksums, read_sealed, write_sealed
from goodness.clock import Clock
from goodness.config import RESUMABLE
from goodness.data import Dataset
from goodness.errors import InputError
from goodness.memory import in_units
from goodness.modes import evaluating
from goodness.network.network import Network
from goodness.notes import note
from goodness.plan import Plan

SCHEMA = 2


class Stage(NamedTuple):
    """Steps of a run, ``start <= step < stop``, that all learn from the same rows."""

    depth: int
    """The first block that the rows enter: 0 for images, else the number of finished blocks."""
    start: int
    stop: int


def stages(plan: Plan, run: Clock) -> list[Stage]:
    """The stages of a run, in order; its last one is of images again where all blocks finish.

    Args:
        plan: says which blocks have finished at a step.
        run: its length; the step does not matter.
    """

    def finished(step: int) -> int:
        return plan.finished(run._replace(step=step))

    steps = range(run.steps)
    starts = [bisect.bisect_left(steps, n, key=finished) for n in range(plan.count + 1)]
    spans = zip(starts, [*starts[1:], run.steps], strict=True)
    return [
        Stage(depth % plan.count, start, stop)
        for depth, (start, stop) in enumerate(spans)
        if start < stop
    ]


class Features:
    """What one block sends on for every training image, memory-mapped; served like a `Split`.

    Args:
        stored: (N, ...), every row as it lies in memory.
        axes: where each dimension of a row is stored.
        labels: (N,).
    """

    def __init__(self, stored: Tensor, axes: list[int], labels: Tensor) -> None:
        self._stored = stored
        self._axes = axes
        self._labels = labels

    def batches(
        self,
        batch_size: int,
        device: torch.device,
        *,
        order: Tensor,
        start: int = 0,
        num_workers: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Consecutive batches; see `goodness.data.Split.batches`. Nothing has to be decoded."""
        for rows in order[start * batch_size :].split(batch_size):
            given = self._stored.index_select(0, rows).permute(0, *self._axes)
            yield given.to(device), self._labels[rows].to(device)


class FeatureCache:
    """Keeps, on disk, what the last finished block sends on for every training image.

    There is one file at a time, and while the next one is made from it two; it is written beside
    and renamed, and beside it a JSON file says of which weights, data and configuration it is.
    Others are never read: runs whose configurations differ can share a folder. Every piece of the
    file has a checksum, which is compared before its rows are used: a damaged file is made again.

    Args:
        folder: where the files go.
        network: whose frozen blocks run once, on its device.
        dataset: the training images, without augmentation.
        run: the length of the run.

    Raises:
        InputError: see `goodness.checks.check_feature_cache`.
    """

    def __init__(self, folder: str | Path, network: Network, dataset: Dataset, run: Clock) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"feature_cache: '{folder}' is a file; --feature-cache needs a folder")
        self.stages = stages(network.plan, run)
        self._network = network
        self._dataset = dataset
        zeros = torch.zeros(1, *network.image_shape, device=network.device)
        with torch.no_grad(), evaluating(network):
            self._outputs = network.features(zeros)
        check_feature_cache(network, self.stages, self._outputs, run)
        self._source = self._source_digest()
        self._checked: dict[int, tuple[int, int]] = {}
        """By depth the file, its size and time, that was found to be whole."""

    def stage(self, step: int) -> Stage:
        """The stage that a step belongs to."""
        return next(stage for stage in self.stages if step < stage.stop)

    def example(self, depth: int, count: int) -> Tensor:
        """Rows that look as if so many finished blocks had sent them."""
        return torch.cat([self._outputs[depth - 1]] * count)

    def bytes(self, depth: int) -> int:
        """The size of the features behind so many finished blocks."""
        row = self._outputs[depth - 1]
        return len(self._dataset.train) * row.nbytes if depth else 0

    def peak_bytes(self, step: int = 0) -> int:
        """The largest size on disk from a step on."""
        peak = kept = 0
        for stage in self.stages:
            size = self.bytes(stage.depth)
            if stage.stop > step:
                # The file before it is needed to make one.
                peak = max(peak, size + (kept if size and stage.start >= step else 0))
            kept = size
        return peak

    def check_space(self, step: int = 0) -> None:
        """Whether the disk has room for the rest of the run.

        Raises:
            InputError: it has not.
        """
        needed = self.peak_bytes(step)
        disk = next(
            path for path in (self.folder, *self.folder.absolute().parents) if path.exists()
        )
        free = shutil.disk_usage(disk).free
        free += sum(path.stat().st_size for path in self._files())
        if needed > free:
            raise InputError(
                f"feature_cache: the features take up to {in_units(needed)}, and"
                f" '{self.folder}' has room for {in_units(free)} (use another --feature-cache, a"
                " smaller --per-class, or --amp bf16)"
            )

    def open(self, depth: int, between: Callable[[], None]) -> Features:
        """The features behind so many finished blocks, computed unless they are there.

        They are computed from the deepest features before them that are there, else from images.

        Args:
            depth: the number of blocks, which are frozen.
            between: called between batches; may raise.
        """
        found = self._found(depth)
        if found is None:
            self._write(depth, between)
            found = self._found(depth)
            assert found is not None
        return found

    def drop(self, but: int = 0) -> None:
        """Delete all features but those behind so many blocks."""
        kept = {self._path(but, suffix) for suffix in ("bin", "json")}
        for path in [*self._files(), *self.folder.glob(f".{self._source[:16]}-*.new")]:
            if path not in kept:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self.folder.glob(f"{self._source[:16]}-*"))

    def _path(self, depth: int, suffix: str) -> Path:
        return self.folder / f"{self._source[:16]}-{depth}.{suffix}"

    def _found(self, depth: int) -> Features | None:
        """Features that are complete and of these very weights."""
        path, beside = self._path(depth, "bin"), self._path(depth, "json")
        if not beside.exists() or not path.exists():
            return None
        try:
            facts = read_sealed(beside, self._source)
        except InputError as error:
            note(f"feature_cache: {error}; it is made again")
            return None
        if facts != {**facts, **self._identity(depth)}:
            return None
        if not self._is_whole(depth, facts["checksums"]):
            return None
        dtype, shape = getattr(torch, facts["dtype"]), facts["shape"]
        stored = torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=dtype)
        return Features(stored.view(shape), facts["axes"], self._dataset.train.labels)

    def _is_whole(self, depth: int, checksums: list[str]) -> bool:
        """Whether every piece is as it was written; looked at once, until the file changes."""
        path = self._path(depth, "bin")
        stat = path.stat()
        if self._checked.get(depth) == (stat.st_size, stat.st_mtime_ns):
            return True
        found = piece_checksums(path) if stat.st_size == self.bytes(depth) else []
        if found != checksums:
            both = zip(found, checksums, strict=False)
            damaged = [number for number, (one, other) in enumerate(both, 1) if one != other]
            which = f"piece {damaged[0]} of {len(checksums)}" if damaged else "its size"
            note(f"feature_cache: '{path}' is damaged ({which}); it is made again")
            return False
        self._checked[depth] = stat.st_size, stat.st_mtime_ns
        return True

    def _write(self, depth: int, between: Callable[[], None]) -> None:
        network, count = self._network, len(self._dataset.train)
        config = network.config
        first, batches = 0, self._images
        for before in range(depth - 1, 0, -1):
            if (features := self._found(before)) is not None:
                first, batches = before, features.batches
                break
        # Batches of one size, the last two of which may overlap: kernels differ between sizes, and
        # features shall be those that the blocks would send in training.
        size = min(config.micro_batch or config.batch_size, config.batch_size)
        order = torch.arange(count)
        if rest := count % size:
            order = torch.cat([order[: count - rest], order[-size:]])
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path(depth, "json").unlink(missing_ok=True)
        fresh = self.folder / f".{self._source[:16]}-{depth}.{os.getpid()}.new"
        checksums = PieceChecksums()
        shape: tuple[int, ...] = ()
        axes: list[int] = []
        dtype = torch.float32
        try:
            with fresh.open("wb") as file:
                done = 0
                for x, _ in batches(
                    size, network.device, order=order, num_workers=config.num_workers
                ):
                    with torch.no_grad(), evaluating(network):
                        *_, (_, _, output) = network.walk(x, range(first, depth), training=True)
                    # As it lies in memory, so that what is read lies there likewise.
                    strides = output.stride()
                    stored_as = sorted(range(1, output.dim()), key=lambda d: -strides[d])
                    stored = output.permute(0, *stored_as).contiguous()
                    axes = [1 + stored_as.index(d) for d in range(1, output.dim())]
                    shape, dtype = stored.shape[1:], stored.dtype
                    new = min(size, count - done)
                    rows = _bytes(stored[-new:])
                    checksums.add(rows)
                    file.write(rows)
                    done += new
                    between()
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path(depth, "bin"))
        finally:
            fresh.unlink(missing_ok=True)
        facts = {"shape": [count, *shape], "axes": axes, "dtype": str(dtype).split(".")[1]}
        facts["checksums"] = checksums.ended()
        write_sealed(self._path(depth, "json"), {**self._identity(depth), **facts}, self._source)

    def _images(
        self, batch_size: int, device: torch.device, *, order: Tensor, num_workers: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The rows that enter block 0."""
        dataset, network = self._dataset, self._network
        for images, y in dataset.train.batches(
            batch_size, device, order=order, num_workers=num_workers
        ):
            x = dataset.preprocessing.apply(images)
            yield network.query_rows(x), y

    def _identity(self, depth: int) -> dict[str, Any]:
        """What features are of; with another they are stale."""
        network = self._network
        found = hashlib.blake2b(digest_size=16)
        parts: list[nn.Module] = [network.presentation]
        parts += [part for block in list(network)[:depth] for part in block.path]
        for part in parts:
            for name, value in part.state_dict().items():
                found.update(name.encode())
                found.update(_bytes(value))
        return {"schema": SCHEMA, "source": self._source, "weights": found.hexdigest()}

    def _source_digest(self) -> str:
        """Changes with the data and the configuration, but for what a resumed run may change."""
        config = self._network.config.model_dump(mode="json", exclude=set(RESUMABLE))
        seen: list[Any] = [config, self._dataset.preprocessing.model_dump(mode="json")]
        prints = self._dataset.fingerprint
        # Images that memory does not hold go by their names in the digest.
        seen += [self._dataset.train.digest(), prints and prints.to_json()]
        text = json.dumps(seen, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
