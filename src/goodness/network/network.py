from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from goodness.config import Config
from goodness.errors import InputError, unknown
from goodness.models.stem import stem_changes
from goodness.models.whitening import Whitening
from goodness.modes import evaluating
from goodness.network.block import Block
from goodness.plan import Plan
from goodness.presentation import Presentation
from goodness.readout import Readout
from goodness.seeds import Draws
from goodness.types import Shape
from goodness.update import Update

QUERY_ROWS = 4096
"""Rows at a time when every image has K candidate labels."""
MANY_CLASSES = 20
"""Of more, a method that asks about every class answers by a readout that does not."""


@dataclass
class NetworkOutput:
    """A network's scores for N images; K classes."""

    blocks: list[Tensor | None]
    """Per block: (N, K) of the block itself (from a probe where it has none), or None."""
    readouts: dict[str, list[Tensor | None]]
    """Per readout: its total (N, K) after every block."""

    def final(self, readout: str) -> Tensor:
        """The readout's scores at full depth, (N, K)."""
        if readout not in self.readouts:
            raise unknown("readout", readout, self.readouts)
        total = self.readouts[readout][-1]
        assert total is not None
        return total

    def exits(self, readout: str) -> list[Tensor | None]:
        """Per block an answer (N, K) behind it: the readout's total, or else the block's own."""
        pairs = zip(self.readouts[readout], self.blocks, strict=True)
        return [own if total is None else total for total, own in pairs]

    def stacked_exits(self, readout: str) -> Tensor:
        """`exits` as one tensor (B, N, K), NaN where a block has no answer."""
        nothing = torch.full_like(self.final(readout), float("nan"))
        found = self.exits(readout)
        return torch.stack([nothing if scores is None else scores for scores in found])

    def averaged(self, other: NetworkOutput) -> NetworkOutput:
        """The mean of these scores and of ``other`` ones."""
        return NetworkOutput(
            _means(self.blocks, other.blocks),
            {name: _means(own, other.readouts[name]) for name, own in self.readouts.items()},
        )


class Network(nn.Module):
    """A chain of blocks; iterating over it gives the `Block`s in order.

    ``network(x)`` are class scores (N, K), as of any classifier: with graph, in the mode that it is
    in. It holds no optimizer; `goodness.Learner` trains it.
    """

    def __init__(
        self,
        presentation: Presentation,
        blocks: Sequence[Block],
        readouts: Mapping[str, Readout],
        plan: Plan,
        update: Update,
        image_shape: Shape,
        config: Config,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        """The shape (C, H, W) of an image."""
        self.config = config
        """What it was built from and is trained with."""
        self.noise_seed = config.seed
        """Seeds the draws inside blocks and presentations while it learns."""
        self.presentation = presentation
        self.blocks = nn.ModuleList(blocks)
        self._readouts = nn.ModuleDict(readouts)
        self.plan = plan
        self.update = update
        first = next(iter(self._in_one_pass or readouts), "")
        self.readout = config.readout if config.readout in readouts else first
        """The name of the readout that answers; the configuration's, or else the method's first.

        A method that asks about every class, of more than `MANY_CLASSES`, has one that needs a
        single pass, if there is one.
        """
        self.changes_rows = type(presentation).block_input is not Presentation.block_input
        """Whether the presentation changes rows between blocks."""

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
    def _in_one_pass(self) -> list[str]:
        """Readouts that spare a method to ask about each of many classes."""
        if self.presentation.queries <= MANY_CLASSES:
            return []
        return [name for name, readout in self.readouts.items() if readout.trainable]

    @property
    def asked(self) -> list[str]:
        """The readouts that `evaluate` asks: all of them, or where the one that answers saves a
        question about each of more than `MANY_CLASSES` classes, those that do."""
        spared = self._in_one_pass
        return spared if self.readout in spared else list(self._readouts)

    @property
    def names(self) -> list[str]:
        """The blocks' names."""
        return [block.name for block in self]

    @property
    def num_classes(self) -> int:
        """K."""
        return self[0].spec.num_classes

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def memory_format(self) -> torch.memory_format:
        """How maps are laid out, as the configuration says."""
        return torch.channels_last if self.config.channels_last else torch.contiguous_format

    def initialize(self, batches: Iterable[Tensor]) -> bool:
        """Let a first layer that whitens take its filters from images, unless it has some.

        It happens before the first step of a training: with images drawn from all training images
        in a run, with those of the first batch where a `goodness.Learner` is used by itself.

        Args:
            batches: preprocessed images (n, C, H, W) each; they are read only where needed.

        Returns:
            Whether there is such a layer, and it took them.
        """
        for module in self[0].body.modules():
            if isinstance(module, Whitening) and module.is_fresh:
                given = (images.to(self.device) for images in batches)
                module.initialize(map(self.neutral_rows, given))
                return True
        return False

    # What it computes, with graph, in the mode that it is in.

    def forward(self, images: Tensor) -> Tensor:
        """The class scores of the readout that answers (`readout`).

        Args:
            images: preprocessed (N, C, H, W), on the network's device.

        Returns:
            (N, K).

        Raises:
            InputError: images of another shape.
        """
        return self.outputs(images, [self.chosen_readout()]).final(self.readout)

    def exits(self, images: Tensor) -> Tensor:
        """Class scores after every block, for answers before the last one.

        Where the readout that answers has no total yet, a block's own scores stand, or a probe's;
        NaN where there are none either.

        Args:
            images: preprocessed (N, C, H, W).

        Returns:
            (B, N, K).
        """
        readout = self.chosen_readout()
        return self.outputs(images).stacked_exits(readout)

    def features(self, images: Tensor) -> list[Tensor]:
        """What every block gives to the next one, for images (N, C, H, W) without a label."""
        return [output for _, _, output in self.walk(self.neutral_rows(images))]

    def outputs(self, images: Tensor, readouts: Iterable[str] | None = None) -> NetworkOutput:
        """The scores of every block and the totals of readouts.

        With ``flip_test`` the means of those of the images and of those of their mirror images.
        Where a label is part of the row, all K questions about an image go in one batch, and the
        readouts that have weights see the image with a neutral label. If these alone are wanted
        nothing is asked about the classes, and blocks have no scores.

        Args:
            images: preprocessed (N, C, H, W).
            readouts: which ones; None takes all.
        """
        self.check_images(images)
        known = self.readouts
        chosen = {name: known[name] for name in (known if readouts is None else readouts)}
        found = self._outputs(images, chosen)
        if self.config.flip_test:
            found = found.averaged(self._outputs(images.flip(3), chosen))
        return found

    def _outputs(self, images: Tensor, chosen: Mapping[str, Readout]) -> NetworkOutput:
        scores: list[Tensor | None] = [None] * len(self)
        inputs: dict[str, list[Tensor | None]] = {name: [] for name in chosen}
        labelled = self.presentation.queries > 1
        if not labelled or self._asks_classes(chosen):
            for index, value, output in self.walk(self.query_rows(images)):
                scores[index] = self.class_scores(self[index].scores(value))
                if not labelled:
                    for name, readout in chosen.items():
                        inputs[name].append(readout.extract(index, scores[index], output))
        if labelled:
            trained = {name: readout for name, readout in chosen.items() if readout.trainable}
            inputs = {name: list(scores) for name in chosen}
            inputs |= self.extract(self.neutral_rows(images), trained, range(len(self)))[0]
        totals = {name: readout(inputs[name]) for name, readout in chosen.items()}
        return NetworkOutput(self.block_scores(scores, totals), totals)

    def _asks_classes(self, readouts: Iterable[str]) -> bool:
        """Whether every image is shown with every label for these readouts, or for blocks alone."""
        names = list(readouts)
        spared = bool(names) and all(self.readouts[name].trainable for name in names)
        return self.presentation.queries > 1 and not spared

    # What users ask of a trained network: in evaluation mode, without graph.

    @torch.no_grad()
    def evaluate(self, images: Tensor, readouts: Sequence[str] | None = None) -> NetworkOutput:
        """`outputs` in evaluation mode and without graph; every module keeps its mode.

        Args:
            images: preprocessed (N, C, H, W), on any device.
            readouts: which ones; None takes those of `asked`.

        Raises:
            InputError: no images, or of another shape.
        """
        self.check_images(images)
        if len(images) == 0:
            raise InputError("a batch of no images: leave it out")
        images = images.to(self.device)
        chosen = self.asked if readouts is None else readouts
        size = len(images)
        if self._asks_classes(chosen):
            size = max(1, QUERY_ROWS // self.presentation.queries)
        with evaluating(self), torch.autocast(images.device.type, enabled=False):
            parts = [self.outputs(part, chosen) for part in images.split(size)]
        if len(parts) == 1:
            return parts[0]
        return NetworkOutput(
            [_joined(own) for own in zip(*(part.blocks for part in parts), strict=True)],
            {
                name: [_joined(own) for own in zip(*(p.readouts[name] for p in parts), strict=True)]
                for name in parts[0].readouts
            },
        )

    def scores(self, images: Tensor, readout: str | None = None) -> Tensor:
        """Class scores (N, K) in evaluation mode and without graph; see `predict`."""
        chosen = self.chosen_readout(readout)
        return self.evaluate(images, [chosen]).final(chosen)

    def predict(self, images: Tensor, readout: str | None = None) -> Tensor:
        """The classes of images, by number.

        Args:
            images: preprocessed (N, C, H, W).
            readout: which one answers; None takes `readout`.

        Returns:
            int64 (N,).

        Raises:
            InputError: images of another shape, or no such readout.
        """
        return self.scores(images, readout).argmax(1)

    def chosen_readout(self, name: str | None = None) -> str:
        """The name of the readout that answers where a user chose this one.

        Args:
            name: None takes `readout`.

        Raises:
            InputError: there is no such readout.
        """
        names, name = list(self._readouts), self.readout if name is None else name
        if not names:
            raise InputError("the network has no readout and cannot answer")
        if name not in names:
            raise unknown("readout", name, names)
        return name

    def check_images(self, images: Tensor) -> None:
        """Refuse what the blocks cannot take.

        Raises:
            InputError: another shape or type.
        """
        if not isinstance(images, Tensor):
            raise InputError(f"images: a torch tensor is needed, not a {type(images).__name__}")
        if images.shape[1:] != self.image_shape:
            raise InputError(
                f"images of {tuple(images.shape[1:])}: the network takes {self.image_shape}"
            )
        if images.dtype != (own := next(self.parameters()).dtype):
            raise InputError(f"images of {images.dtype}: the network takes preprocessed {own}")

    # Its one traversal, of which everything above and all training is made.

    def walk(
        self,
        x: Tensor,
        blocks: Iterable[int] | None = None,
        training: bool = False,
        draws: Draws | None = None,
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Every block's index, what its body computes and its output, for rows ``x``.

        Args:
            x: what enters the first of the blocks.
            blocks: which ones, consecutive; None takes all.
            training: whether the rows are training rows, positive and negative ones say.
            draws: when; None draws from the generators as they are.
        """
        for index in range(len(self)) if blocks is None else blocks:
            value = self.value(index, x, training, draws)
            x = self.output(index, value, draws)
            yield index, value, x

    def value(
        self, index: int, x: Tensor, training: bool = False, draws: Draws | None = None
    ) -> Tensor:
        """What the body of block ``index`` computes of the rows from the block before it."""
        if draws is not None:
            draws.begin(x.device, "block", index)
        if index and self.changes_rows:
            view = self[index].spec.input_view
            x = view.gather(self.presentation.block_input(view.spread(x), training))
        block = cast(Block, self.blocks[index])
        with self.autocast(x.device):
            return block.body(x)

    def output(self, index: int, value: Tensor, draws: Draws | None = None) -> Tensor:
        """What block ``index`` gives to the next one, of what its body computed."""
        if draws is not None:
            draws.begin(value.device, "send", index)
        block = cast(Block, self.blocks[index])
        with self.autocast(value.device):
            return block.output(value)

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Mixed precision for what happens inside blocks, as the configuration says."""
        amp = self.config.amp
        if amp == "none" and not torch.is_autocast_enabled(device.type):
            return nullcontext()
        dtype = torch.float16 if amp == "fp16" else torch.bfloat16
        return torch.autocast(device.type, dtype, enabled=amp != "none")

    def training_rows(self, images: Tensor, y: Tensor) -> Tensor:
        """The rows (rows, C', H, W) that enter block 0 to learn from, of images with labels."""
        return self._laid_out(self.presentation.training_rows(images, y))

    def query_rows(self, images: Tensor) -> Tensor:
        """The rows that enter block 0 to predict from, K per image where a label is part of it."""
        return self._laid_out(self.presentation.query_rows(images))

    def neutral_rows(self, images: Tensor) -> Tensor:
        """The rows that enter block 0 when images are shown without a label, one per image."""
        return self._laid_out(self.presentation.neutral_rows(images))

    def _laid_out(self, rows: Tensor) -> Tensor:
        return rows.contiguous(memory_format=self.memory_format)

    def extract(
        self, rows: Tensor, readouts: Mapping[str, Readout], blocks: range
    ) -> tuple[dict[str, list[Tensor | None]], Tensor]:
        """What ``readouts`` extract of some blocks, and the output of the last of these.

        Args:
            rows: what `neutral_rows` gave, or the output of the block before.
            readouts: by name.
            blocks: which ones.
        """
        inputs: dict[str, list[Tensor | None]] = {name: [] for name in readouts}
        if readouts:
            for index, _, output in self.walk(rows, blocks):
                rows = output
                for name, readout in readouts.items():
                    inputs[name].append(readout.extract(index, None, output))
        return inputs, rows

    def class_scores(self, scores: Tensor | None) -> Tensor | None:
        """A block's scores as (N, K), if it has one per image and class.

        Args:
            scores: (N, K) as they are, or (N * K, 1) of images that were asked about every class.
        """
        if scores is None or scores.shape[1] == self.num_classes:
            return scores
        asked = self.presentation.queries == self.num_classes
        return scores.reshape(-1, self.num_classes) if asked else None

    def block_scores(
        self, scores: Sequence[Tensor | None], totals: Mapping[str, Sequence[Tensor | None]]
    ) -> list[Tensor | None]:
        """The blocks' own scores; a readout that scores every block by itself fills the gaps."""
        filled = list(scores)
        for name, readout in self.readouts.items():
            if readout.per_block_scores and name in totals:
                pairs = zip(filled, totals[name], strict=True)
                filled = [total if own is None else own for own, total in pairs]
        return filled

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

    def facts(self) -> list[dict[str, Any]]:
        """One record per block: name, shapes, parameters, and what its objective derived.

        ``stem`` says what was changed in a block for small images, if anything was.
        """
        records = []
        for block in self:
            record: dict[str, Any] = {
                "name": block.name,
                "features": list(block.spec.features),
                "output": list(block.spec.output),
                "parameters": sum(p.numel() for p in block.parameters()),
                "loss": block.objective is not None,
            }
            if block.objective is not None:
                record |= block.objective.facts()
            if changes := stem_changes(block.body, block.tail):
                record["stem"] = changes
            records.append(record)
        return records


def _means(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> list[Tensor | None]:
    pairs = zip(one, other, strict=True)
    return [None if a is None or b is None else (a + b) / 2 for a, b in pairs]


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The scores of several parts of a batch as one tensor."""
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None
