from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from goodness.config import Config
from goodness.engine.block import Block
from goodness.errors import InputError, unknown
from goodness.presentation import Presentation
from goodness.readout import Readout
from goodness.schedule import Schedule
from goodness.update import Update

if TYPE_CHECKING:
    from goodness.engine.stepper import Stepper

Shape = tuple[int, int, int]
ASK_ROWS = 4096
"""Rows at a time when every image is asked K questions."""


class Answer(NamedTuple):
    """What a network says about N images; K classes."""

    scores: list[Tensor | None]
    """Per block: (N, K) of the block itself (from a probe where it has none), or None."""
    totals: dict[str, list[Tensor | None]]
    """Per readout: its total (N, K) after every block."""

    def final(self, readout: str) -> Tensor:
        """The readout's answer at full depth, (N, K)."""
        total = self.totals[readout][-1]
        assert total is not None
        return total


class Network(nn.Module):
    """A chain of blocks; iterating over it gives the `Block`s in order."""

    def __init__(
        self,
        presentation: Presentation,
        blocks: Sequence[Block],
        readouts: Mapping[str, Readout],
        schedule: Schedule,
        update: Update,
        image: Shape,
        config: Config,
    ) -> None:
        super().__init__()
        self.image = image
        """The shape (C, H, W) of an image."""
        self.config = config
        """What it was built from and is trained with."""
        self.noise_seed = config.seed
        """Seeds the draws inside blocks and presentations while it learns."""
        self.presentation = presentation
        self.blocks = nn.ModuleList(blocks)
        self._readouts = nn.ModuleDict(readouts)
        self.schedule = schedule
        self.update = update
        self._stepper: Stepper | None = None

    def __iter__(self) -> Iterator[Block]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Block:
        return cast(Block, self.blocks[index])

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def readouts(self) -> dict[str, Readout]:
        """The readouts by name."""
        return {name: cast(Readout, module) for name, module in self._readouts.items()}

    @property
    def names(self) -> list[str]:
        """The blocks' names."""
        return [block.name for block in self]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def memory_format(self) -> torch.memory_format:
        """How maps are laid out, as the configuration says."""
        return torch.channels_last if self.config.channels_last else torch.contiguous_format

    def autocast(self) -> torch.autocast:
        """Mixed precision for what happens inside blocks, as the configuration says."""
        dtype = torch.float16 if self.config.amp == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.config.amp != "none")

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Learn from one batch, for a training loop of your own.

        Args:
            x: preprocessed images (N, C, H, W).
            y: labels (N,), int64.

        Returns:
            The mean of the blocks' losses, a detached scalar on the device.

        Raises:
            InputError: the images or labels do not fit, or the method needs to know how long the
                run is.
        """
        self._check_images(x)
        classes = self[0].spec.classes
        if len(x) == 0:
            raise InputError("a batch of no images: leave it out")
        if y.shape != x.shape[:1] or y.dtype != torch.int64:
            raise InputError(
                f"labels {tuple(y.shape)} of {y.dtype}: for {len(x)} images {len(x)} of torch.int64"
                " are needed"
            )
        # Those on a device are left to it, as looking at them would wait for it.
        if y.device.type == "cpu" and bool(((y < 0) | (y >= classes)).any()):
            raise InputError(
                f"labels from {int(y.min())} to {int(y.max())}: those of {classes} classes go from"
                f" 0 to {classes - 1}"
            )
        return self._own_stepper().step(x.to(self.device), y.to(self.device))

    def finish(self) -> None:
        """End the training by `step`: keep averaged weights, if any, and drop the optimizers."""
        if self._stepper is not None:
            if self._stepper.answering is not self:
                self.load_state_dict(self._stepper.answering.state_dict())
            self._stepper = None

    def training_state(self) -> dict[str, Any]:
        """What beside the weights is needed to go on with `step` as if never stopped."""
        return self._own_stepper().state()

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `training_state` gave."""
        self._own_stepper().load_state(state)

    def _own_stepper(self) -> Stepper:
        if self._stepper is None:
            from goodness.engine.stepper import Stepper

            self._stepper = Stepper(self)
        return self._stepper

    @torch.no_grad()
    def predict(self, x: Tensor, readout: str | None = None) -> Tensor:
        """The classes of images, by number.

        Args:
            x: preprocessed images (N, C, H, W).
            readout: which one answers; None takes the method's first.

        Returns:
            int64 (N,).
        """
        return self.scores(x, readout).argmax(1)

    @torch.no_grad()
    def scores(self, x: Tensor, readout: str | None = None) -> Tensor:
        """A readout's class scores (N, K) of images; see `predict`."""
        readout = self.chosen_readout(readout)
        self._check_images(x)
        asked = self if self._stepper is None else self._stepper.answering
        return asked.answer(self._laid_out(x.to(self.device))).final(readout)

    def chosen_readout(self, name: str | None) -> str:
        """The name of the readout that answers where a user chose this one.

        Args:
            name: None takes the method's first.

        Raises:
            InputError: there is no such readout.
        """
        names = list(self.readouts)
        if name is not None and name not in names:
            raise unknown("readout", name, names)
        return names[0] if name is None else name

    def _check_images(self, x: Tensor) -> None:
        if x.shape[1:] != self.image:
            raise InputError(f"images of {tuple(x.shape[1:])}: the network takes {self.image}")

    def backbone_state(self) -> dict[str, Tensor]:
        """The weights of the model that was cut, by their names in it; what a method adds is left
        out."""
        head = self[len(self) - 1].spec.head
        parts = [part for block in self for part in (block.body, block.tail)]
        return {
            key: value
            for part in [*parts, *([] if head is None else [head])]
            for key, value in part.state_dict().items()
        }

    def present(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """The rows that enter block 0: to learn from with labels, to ask without."""
        rows = self.presentation.ask(image) if y is None else self.presentation.learn(image, y)
        return self._laid_out(rows)

    def _laid_out(self, rows: Tensor) -> Tensor:
        return rows.contiguous(memory_format=self.memory_format)

    def block_scores(
        self, scores: Sequence[Tensor | None], totals: Mapping[str, Sequence[Tensor | None]]
    ) -> list[Tensor | None]:
        """The blocks' own scores; a readout that speaks for blocks fills the gaps."""
        filled = list(scores)
        for name, readout in self.readouts.items():
            if readout.speaks_for_blocks and name in totals:
                pairs = zip(filled, totals[name], strict=True)
                filled = [total if own is None else own for own, total in pairs]
        return filled

    def class_scores(self, scores: Tensor | None, images: int) -> Tensor | None:
        """A block's scores as (N, K), if it has one per image and class.

        Args:
            scores: (N, K) as they are, or (N * K, 1) of images that were asked about every class.
            images: N.
        """
        if scores is None or scores.numel() != images * self[0].spec.classes:
            return None
        return scores.reshape(images, -1)

    @torch.no_grad()
    def answer(self, image: Tensor) -> Answer:
        """Ask every block and readout, in evaluation mode.

        Where a label is part of the row, all K questions about an image go in one batch, and the
        readouts that take features see the image with a neutral label.

        Args:
            image: preprocessed images (N, C, H, W).
        """
        self.eval()
        answers = self.presentation.answers
        asked: list[list[Tensor | None]] = []
        taken: dict[str, list[Tensor | None]] = {name: [] for name in self.readouts}
        for part in image.split(max(1, ASK_ROWS // answers) if answers > 1 else len(image)):
            scores: list[Tensor | None] = []
            for index, own, sent in self.walk(self.present(part)):
                scores.append(self.class_scores(own, len(part)))
                if answers == 1:
                    for name, readout in self.readouts.items():
                        taken[name].append(readout.take(index, scores[-1], sent))
            asked.append(scores)
        joined = [_joined(parts) for parts in zip(*asked, strict=True)]
        if answers > 1:
            learned = {name: r for name, r in self.readouts.items() if r.learns}
            taken = {name: list(joined) for name in self.readouts} | self.features(image, learned)
        totals = {name: readout(taken[name]) for name, readout in self.readouts.items()}
        return Answer(self.block_scores(joined, totals), totals)

    @torch.no_grad()
    def unlabelled(self, image: Tensor) -> Tensor:
        """The rows that enter block 0 when images (N, C, H, W) are shown without a label."""
        return self._laid_out(self.presentation.probe(image))

    def features(
        self, image: Tensor, readouts: Mapping[str, Readout]
    ) -> dict[str, list[Tensor | None]]:
        """What ``readouts`` take of every block when the images are shown without a label.

        Runs in evaluation mode and leaves the network in it.
        """
        return self.take(self.unlabelled(image), readouts, range(len(self)))[0]

    @torch.no_grad()
    def take(
        self, rows: Tensor, readouts: Mapping[str, Readout], blocks: range
    ) -> tuple[dict[str, list[Tensor | None]], Tensor]:
        """`features` of some blocks alone, and what the last of them sends on.

        Args:
            rows: what `unlabelled` gave, or what the block before has sent.
            readouts: by name.
            blocks: which ones.
        """
        self.eval()
        taken: dict[str, list[Tensor | None]] = {name: [] for name in readouts}
        if readouts:
            for index, _, sent in self.walk(rows, blocks):
                rows = sent
                for name, readout in readouts.items():
                    taken[name].append(readout.take(index, None, sent))
        return taken, rows

    @torch.no_grad()
    def features_sent(self, image: Tensor) -> list[Tensor]:
        """What every block sends on when the images are shown without a label."""
        self.eval()
        return [sent for _, _, sent in self.walk(self.unlabelled(image))]

    def walk(
        self, x: Tensor, blocks: range | None = None
    ) -> Iterator[tuple[int, Tensor | None, Tensor]]:
        """Every block's index, its scores and what it sends on, for rows ``x``.

        Args:
            x: what enters the first of the blocks.
            blocks: which ones; None takes all.
        """
        for index in range(len(self)) if blocks is None else blocks:
            block = self[index]
            x = self.enter(index, x, learning=False)
            with self.autocast():
                value = block.body(x)
                x = block.send(value)
            yield index, block.judge(value), x

    @torch.no_grad()
    def pass_through(self, blocks: range, x: Tensor) -> Tensor:
        """What the last of some blocks sends on, as frozen blocks do while others learn.

        Args:
            blocks: consecutive; they run in evaluation mode and stay in it.
            x: what the block before the first one sent, or the rows that enter block 0.
        """
        for index in blocks:
            block = self[index].eval()
            x = self.enter(index, x, learning=True)
            with self.autocast():
                x = block.send(block.body(x))
        return x

    def enter(self, index: int, x: Tensor, learning: bool) -> Tensor:
        """What block ``index`` makes of the rows that the block before it sent."""
        if index == 0:
            return x
        view = self[index].spec.input_view
        return view.gather(self.presentation.enter(view.spread(x), learning))

    def facts(self) -> list[dict[str, Any]]:
        """One record per block: name, shapes, parameters, and what its objective derived."""
        records = []
        for block in self:
            record: dict[str, Any] = {
                "name": block.name,
                "judged": list(block.spec.judged),
                "sent": list(block.spec.sent),
                "parameters": sum(p.numel() for p in block.parameters()),
                "loss": block.objective is not None,
            }
            if block.objective is not None:
                record |= block.objective.facts()
            records.append(record)
        return records


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """The scores of several parts of a batch as one tensor."""
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None
