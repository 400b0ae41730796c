from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from goodness.parallel.group import Group, begun

ALIGNMENT = 64
"""Bytes; as torch aligns what it allocates, so that kernels take the same way through it."""
BUFFERS = 2
"""One message is on its way while another one is computed with."""


class Part(NamedTuple):
    """Where a tensor lies in a message."""

    name: str
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.dtype.itemsize

    def within(self, buffer: Tensor) -> Tensor:
        """The tensor, as a view."""
        flat = buffer[self.offset : self.offset + self.bytes].view(self.dtype)
        return flat.as_strided(self.shape, self.stride)


Layout = tuple[Part, ...]


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """One tensor behind the other, each laid out in memory as it is."""
    parts: list[Part] = []
    end = 0
    for name, tensor in tensors.items():
        # Of what does not lie densely the strides of a copy.
        stride = torch.empty_like(tensor, device="meta").stride()
        part = Part(name, end, tensor.dtype, tuple(tensor.shape), stride)
        parts.append(part)
        end += -(-part.bytes // ALIGNMENT) * ALIGNMENT
    return tuple(parts)


def size_of(layout: Layout) -> int:
    """Bytes of a message."""
    return 0 if not layout else layout[-1].offset + -(-layout[-1].bytes // ALIGNMENT) * ALIGNMENT


class _End:
    """What both ends of a channel keep: buffers in turn, and the layout of the last message."""

    def __init__(self, group: Group, other: int) -> None:
        self.group = group
        self.other = other
        self.layout: Layout = ()
        self._buffers = [torch.empty(0, dtype=torch.uint8, device=group.device)] * BUFFERS
        self._turn = 0

    def next_buffer(self) -> Tensor:
        """Where the next message of the current layout goes."""
        self._turn = (self._turn + 1) % BUFFERS
        if len(self._buffers[self._turn]) != size_of(self.layout):
            self._buffers[self._turn] = torch.empty(
                size_of(self.layout), dtype=torch.uint8, device=self.group.device
            )
        return self._buffers[self._turn]


class Sender(_End):
    """Sends named tensors to another rank, step by step, while this one computes on.

    A message is a header (a decision, and the bytes of a new layout, if it changes) and one buffer.
    The receiver waits for the next message before it knows its header. Where the layout changes, it
    is first given a buffer of the old size, whose content does not count.
    """

    def __init__(self, group: Group, other: int) -> None:
        super().__init__(group, other)
        self._sent: list[list[tuple[dist.Work, Tensor]]] = [[] for _ in range(BUFFERS)]

    def send(self, decision: int, tensors: Mapping[str, Tensor]) -> None:
        """Begin to send; waits until no more than one message before this one is on its way."""
        layout = layout_of(tensors)
        changed = pickle.dumps(layout) if layout != self.layout else b""
        self._begin(torch.tensor([decision, len(changed)]))
        if changed:
            self._begin(self.next_buffer())
            self._begin(torch.frombuffer(bytearray(changed), dtype=torch.uint8))
            for turn in range(BUFFERS):
                self._wait(turn)
            self.layout = layout
        self._wait((self._turn + 1) % BUFFERS)
        buffer = self.next_buffer()
        for part in layout:
            part.within(buffer).copy_(tensors[part.name])
        self._begin(buffer)

    def _begin(self, message: Tensor) -> None:
        if len(message):
            with self.group.contact(self.other):
                work = begun(dist.isend(message, self.other))
            # Kept until it has arrived.
            self._sent[self._turn].append((work, message))

    def _wait(self, turn: int) -> None:
        with self.group.contact(self.other):
            for work, _ in self._sent[turn]:
                work.wait()
        self._sent[turn] = []


class Receiver(_End):
    """Receives what a `Sender` sends; the next message comes in while this one is computed with."""

    def __init__(self, group: Group, other: int) -> None:
        super().__init__(group, other)
        self._coming: tuple[Tensor, Tensor, list[dist.Work]] | None = None

    def receive(self, more: bool) -> tuple[int, dict[str, Tensor]]:
        """The next decision and tensors, which hold until the next call.

        Args:
            more: another message follows, which may come in meanwhile.
        """
        header, buffer, works = self._coming or self._expect()
        self._coming = None
        with self.group.contact(self.other):
            for work in works:
                work.wait()
        decision, changed = header.tolist()
        if changed:
            text = torch.empty(changed, dtype=torch.uint8)
            self._await(text)
            self.layout = pickle.loads(text.numpy().tobytes())
            buffer = self.next_buffer()
            self._await(buffer)
        if more and decision <= 0:
            self._coming = self._expect()
        return decision, {part.name: part.within(buffer) for part in self.layout}

    def _expect(self) -> tuple[Tensor, Tensor, list[dist.Work]]:
        header = torch.zeros(2, dtype=torch.int64)
        buffer = self.next_buffer()
        messages = [header, *([buffer] if len(buffer) else [])]
        with self.group.contact(self.other):
            works = [begun(dist.irecv(message, self.other)) for message in messages]
        return header, buffer, works

    def _await(self, message: Tensor) -> None:
        with self.group.contact(self.other):
            dist.recv(message, self.other)
