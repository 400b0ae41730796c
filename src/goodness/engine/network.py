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
from goodness.objective import OBJECTIVES, Objective, Spec
from goodness.partition import PARTITIONS
from goodness.presentation import PRESENTATIONS, Presentation
from goodness.readout import READOUTS, Readout
from goodness.schedule import SCHEDULES, Schedule
from goodness.update import UPDATES, Update

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
        self.update = update

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
        return self._laid_out(rows)

    def _laid_out(self, rows: Tensor) -> Tensor:
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
            for index, (own, sent) in enumerate(self._walk(self.present(part))):
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
    def features(
        self, image: Tensor, readouts: Mapping[str, Readout]
    ) -> dict[str, list[Tensor | None]]:
        """What ``readouts`` take of every block when the images are shown without a label.

        Runs in evaluation mode and leaves the network in it.
        """
        self.eval()
        taken: dict[str, list[Tensor | None]] = {name: [] for name in readouts}
        if readouts:
            for index, sent in enumerate(self._sent(image)):
                for name, readout in readouts.items():
                    taken[name].append(readout.take(index, None, sent))
        return taken

    @torch.no_grad()
    def features_sent(self, image: Tensor) -> list[Tensor]:
        """What every block sends on when the images are shown without a label."""
        self.eval()
        return list(self._sent(image))

    def _sent(self, image: Tensor) -> Iterator[Tensor]:
        rows = self._laid_out(self.presentation.probe(image))
        return (sent for _, sent in self._walk(rows))

    def _walk(self, x: Tensor) -> Iterator[tuple[Tensor | None, Tensor]]:
        """Every block's scores and what it sends on, for rows ``x``."""
        for index, block in enumerate(self):
            if index > 0:
                x = self.presentation.enter(x, learning=False)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.amp):
                judged = block.body(x)
                x = block.send(judged)
            yield block.judge(judged), x

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
        shows = PRESENTATIONS[config.presentation["name"]]
        most = shows.most_classes(image, config.presentation)
        _check_classes(f"presentation '{config.presentation['name']}'", classes, most)
        presentation = PRESENTATIONS.make(config.presentation, image, classes)
        shown = tuple(presentation.probe(torch.zeros(1, *image)).shape[1:])
        layers = MODELS.make(config.model, shown, classes)
        pieces = PARTITIONS.make(config.partition, layers)
        boundaries = [BOUNDARIES.make(config.boundary, classes) for _ in pieces]
        shapes = _probe(presentation, pieces, boundaries, image)
        widest = max(judged[0] for _, judged, _ in shapes)
        specs = [
            Spec(index, len(pieces), classes, image, *block_shapes, widest)
            for index, block_shapes in enumerate(shapes)
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
                _objective(config, piece.name, spec) if spec.index in judged_blocks else None,
            )
            for piece, spec, boundary in zip(pieces, specs, boundaries, strict=True)
        ]
        readouts = {
            name: READOUTS.make({"name": name, **options}, specs)
            for name, options in config.readouts.items()
        }
    update = UPDATES.make(config.update)
    network = Network(presentation, blocks, readouts, schedule, update, image, config)
    return network.to(memory_format=torch.channels_last)


def most_classes(method: str | Config, *, image: tuple[int, int, int], **values: Any) -> int | None:
    """The largest number of classes that a method can serve for an image of this shape (C, H, W).

    Returns:
        None where there is no limit.
    """
    network = build(method, image=image, classes=1, **values)
    config = network.config
    limits = [type(network.presentation).most_classes(image, config.presentation)]
    for block in network:
        if block.objective is not None:
            limits.append(type(block.objective).most_classes(block.spec, config.objective))
    return min((limit for limit in limits if limit is not None), default=None)


def _objective(config: Config, block: str, spec: Spec) -> Objective:
    name = config.objective["name"]
    most = OBJECTIVES[name].most_classes(spec, config.objective)
    _check_classes(f"objective '{name}' at block '{block}'", spec.classes, most)
    objective: Objective = OBJECTIVES.make(config.objective, spec)
    return objective


def _check_classes(what: str, classes: int, most: int | None) -> None:
    if most is not None and classes > most:
        raise InputError(f"{what} can serve at most {most} classes here, not {classes}")


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """The scores of several parts of a batch as one tensor."""
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None


@torch.no_grad()
def _probe(
    presentation: Presentation, pieces: Sequence[Any], boundaries: Sequence[nn.Module], image: Any
) -> list[tuple[Any, Any, Any]]:
    """The (input, judged, sent) shapes of every block, from one image of zeros, evaluated."""
    x = presentation.probe(torch.zeros(1, *image))
    shapes = []
    for index, (piece, boundary) in enumerate(zip(pieces, boundaries, strict=True)):
        if index > 0:
            x = presentation.enter(x, learning=False)
        try:
            judged = piece.body.eval()(x)
            sent = boundary.eval()(piece.tail.eval()(judged))
        except RuntimeError as error:
            raise InputError(
                f"block '{piece.name}' cannot serve an input of {tuple(x.shape[1:])}: {error}"
            ) from None
        shapes.append((tuple(x.shape[1:]), tuple(judged.shape[1:]), tuple(sent.shape[1:])))
        x = sent
    return shapes
