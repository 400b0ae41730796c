from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from goodness.boundary import BOUNDARIES
from goodness.config import Config, resolve
from goodness.engine.block import Block
from goodness.engine.seeds import mix
from goodness.errors import InputError
from goodness.models import MODELS
from goodness.objective import OBJECTIVES, Spec
from goodness.partition import PARTITIONS
from goodness.presentation import PRESENTATIONS, Presentation
from goodness.readout import READOUTS, Readout
from goodness.schedule import SCHEDULES, Schedule


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
        image: tuple[int, int, int],
        config: Config,
    ) -> None:
        super().__init__()
        self.image = image
        """The shape (C, H, W) of an image."""
        self.config = config
        """What it was built from and is trained with."""
        self.presentation = presentation
        self.blocks = nn.ModuleList(blocks)
        self._readouts = nn.ModuleDict(readouts)
        self.schedule = schedule

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

    def present(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """The rows that enter block 0: to learn from with labels, to ask without."""
        rows = self.presentation.ask(image) if y is None else self.presentation.learn(image, y)
        return rows.contiguous(memory_format=torch.channels_last)

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

    @torch.no_grad()
    def answer(self, image: Tensor) -> Answer:
        """Ask every block and readout, in evaluation mode.

        Args:
            image: preprocessed images (N, C, H, W).
        """
        self.eval()
        x = self.present(image)
        scores: list[Tensor | None] = []
        taken: dict[str, list[Tensor | None]] = {name: [] for name in self.readouts}
        for index, block in enumerate(self):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.amp):
                judged = block.body(x)
                x = block.send(judged)
            own = block.judge(judged)
            # A presentation that asks K questions has K rows of one score per image.
            scores.append(None if own is None else own.reshape(len(image), -1))
            for name, readout in self.readouts.items():
                taken[name].append(readout.take(index, scores[-1], x))
        totals = {name: readout(taken[name]) for name, readout in self.readouts.items()}
        return Answer(self.block_scores(scores, totals), totals)

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


def build(
    method: str | Config, *, image: tuple[int, int, int], classes: int, **values: Any
) -> Network:
    """The network that a method describes, with weights drawn from its seed.

    Args:
        method: a method's name, or a whole configuration.
        image: the shape (C, H, W) of an image.
        classes: number of classes, K.
        values: configuration keys beside a method's name, e.g. ``model="vgg8"``.

    Raises:
        InputError: a bad value, or the model cannot serve this image.
    """
    config = resolve({**values, "method": method}) if isinstance(method, str) else method
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(config.seed, "weights"))
        presentation = PRESENTATIONS.make(config.presentation)
        layers = MODELS.make(config.model, image)
        pieces = PARTITIONS.make(config.partition, layers)
        boundaries = [BOUNDARIES.make(config.boundary) for _ in pieces]
        shapes = _probe(presentation, pieces, boundaries, image)
        widest = max(judged[0] for judged, _ in shapes)
        specs = [
            Spec(index, len(pieces), classes, judged, sent, widest)
            for index, (judged, sent) in enumerate(shapes)
        ]
        schedule = SCHEDULES.make(config.schedule, len(pieces))
        judged_blocks = {i for segment in schedule.segments() for i in segment.judged}
        blocks = [
            Block(
                piece.name,
                spec,
                piece.body,
                piece.tail,
                boundary,
                OBJECTIVES.make(config.objective, spec) if spec.index in judged_blocks else None,
            )
            for piece, spec, boundary in zip(pieces, specs, boundaries, strict=True)
        ]
        readouts = {
            name: READOUTS.make({"name": name, **options}, specs)
            for name, options in config.readouts.items()
        }
    network = Network(presentation, blocks, readouts, schedule, image, config)
    return network.to(memory_format=torch.channels_last)


@torch.no_grad()
def _probe(
    presentation: Presentation, pieces: Sequence[Any], boundaries: Sequence[nn.Module], image: Any
) -> list[tuple[Any, Any]]:
    """The (judged, sent) shapes of every block, from one image of zeros in evaluation mode."""
    x = presentation.ask(torch.zeros(1, *image))
    shapes = []
    for piece, boundary in zip(pieces, boundaries, strict=True):
        try:
            judged = piece.body.eval()(x)
            x = boundary.eval()(piece.tail.eval()(judged))
        except RuntimeError as error:
            raise InputError(
                f"block '{piece.name}' cannot serve an input of {tuple(x.shape[1:])}: {error}"
            ) from None
        shapes.append((tuple(judged.shape[1:]), tuple(x.shape[1:])))
    return shapes
