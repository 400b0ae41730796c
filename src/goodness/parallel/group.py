from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist

from goodness.errors import EndedElsewhere, GoodnessError, RunError
from goodness.parallel.launch import Launch
from goodness.training.run_folder import RunFolder

TIMEOUT = timedelta(minutes=30)
"""The others wait while one rank validates. A process that ends is noticed at once; this is for
machines that cannot be reached any more."""
ROLL_CALL = 5.0
"""Seconds in which the ranks that are left report after a joint operation has failed."""
CAUSE = "cause"
NUMBERS = itertools.count()
"""A process may train several times: what the ranks of one group write down is not for the next."""


class Group:
    """The process group, and what its members say when one of them ends.

    A context: the first rank that an error leaves it on writes down the cause, the others raise
    `EndedElsewhere`.

    Args:
        launch: this process's place.
        device: its own; tensors there go by NCCL if it is CUDA, everything else by gloo.
    """

    def __init__(self, launch: Launch, device: torch.device) -> None:
        self.rank, _, self.count = launch
        self.device = device
        self.run: RunFolder | None = None
        """Where a lost run can be taken up again."""
        with self._meeting():
            # Kept beside the group, which is of no use once a member is lost.
            store, _, _ = next(dist.rendezvous("env://", self.rank, self.count, timeout=TIMEOUT))
            self._store = dist.PrefixStore(f"goodness{next(NUMBERS)}", store)
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(
                backend,
                store=dist.PrefixStore("group", self._store),
                rank=self.rank,
                world_size=self.count,
                timeout=TIMEOUT,
            )

    @property
    def command(self) -> str:
        """How a run with so many ranks is started."""
        return f"torchrun --nproc-per-node {self.count} -m goodness train"

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cause = None if error is None else self._first_cause(error)
        world = dist.group.WORLD
        if error is not None and world is not None and self.device.type == "cuda":
            # What waits on the device for a lost rank would be waited for.
            with suppress(RuntimeError):
                world.abort()
        # This closes the connections, which ends all who wait for this rank.
        with suppress(RuntimeError):
            dist.destroy_process_group()
        if error is not None and cause is not None:
            raise EndedElsewhere(cause) from error
        if isinstance(error, GoodnessError):
            error.rank = self.rank

    def _first_cause(self, error: BaseException) -> str | None:
        """What another rank has written down already; if none has, this error is."""
        own = f"rank {self.rank}: {error}"
        try:
            first = self._store.compare_set(CAUSE, "", own).decode()
        except RuntimeError:  # the store's process is gone too
            return None
        return None if first == own else first

    def send(self, value: Any, to: int) -> None:
        """Give a rank any value; it calls `receive`."""
        with self.contact(to):
            dist.send_object_list([value], dst=to, device=torch.device("cpu"))

    def receive(self, source: int) -> Any:
        """What a rank gives by `send`."""
        values = [None]
        with self.contact(source):
            dist.recv_object_list(values, src=source, device=torch.device("cpu"))
        return values[0]

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, at every rank."""
        if self.rank != 0:
            return self.receive(0)
        for other in range(1, self.count):
            self.send(value, other)
        return value

    def gather(self, value: Any) -> list[Any]:
        """At rank 0 the values of all ranks in order, elsewhere nothing."""
        if self.rank != 0:
            self.send(value, 0)
            return []
        return [value, *(self.receive(other) for other in range(1, self.count))]

    @contextmanager
    def contact(self, rank: int) -> Iterator[None]:
        """Inside it operations concern one other rank, which is lost if they fail."""
        try:
            yield
        except RuntimeError as error:
            raise self._lost(f"rank {rank}") from error

    @contextmanager
    def joint(self) -> Iterator[None]:
        """Inside it operations concern all ranks; those that are lost are found if they fail."""
        try:
            yield
        except RuntimeError as error:
            raise self._lost(self._missing()) from error

    @contextmanager
    def _meeting(self) -> Iterator[None]:
        """Inside it the ranks find each other."""
        try:
            yield
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise RunError(f"the {self.count} ranks cannot reach each other: {reason}") from error

    def _missing(self) -> str:
        """The ranks that do not report."""
        try:
            self._store.set(f"left/{self.rank}", "")
            until = time.monotonic() + ROLL_CALL
            while True:
                missing = [r for r in range(self.count) if not self._store.check([f"left/{r}"])]
                if len(missing) <= 1 or time.monotonic() > until:
                    break
                time.sleep(0.05)
        except RuntimeError:
            missing = [0]  # whose process held the store
        return "rank " + ", ".join(map(str, missing)) if missing else "a connection"

    def _lost(self, what: str) -> RunError:
        way = "there is no checkpoint yet"
        if self.run is not None and self.run.has_checkpoint():
            way = (
                f"go on from the last checkpoint in '{self.run.last}' with:"
                f" {self.command} --resume {self.run.path}"
            )
        return RunError(f"lost {what}, whose process has ended or cannot be reached; {way}")


def begun(work: dist.Work | None) -> dist.Work:
    """An operation that this process takes part in; outside its group torch gives none."""
    assert work is not None
    return work
