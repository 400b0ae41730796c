from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from goodness.boundary import BOUNDARIES, Boundary
from goodness.clock import Clock
from goodness.config import Config, resolve
from goodness.engine.block import Block
from goodness.engine.seeds import mix
from goodness.errors import InputError, unknown
from goodness.models import MODELS
from goodness.models.weights import start_from
from goodness.objective import OBJECTIVES, Objective, Spec
from goodness.partition import Piece, split, split_by_hand
from goodness.presentation import PRESENTATIONS, Presentation
from goodness.readout import READOUTS, Readout
from goodness.schedule import SCHEDULES, Frozen, Schedule
from goodness.update import UPDATES, Update

if TYPE_CHECKING:
    from goodness.engine.learner import Learner

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
        self.presentation = presentation
        self.blocks = nn.ModuleList(blocks)
        self._readouts = nn.ModuleDict(readouts)
        self.schedule = schedule
        self.update = update
        self._learner: Learner | None = None
        self._steps = 0

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
            InputError: the method needs to know how long the run is.
        """
        learner = self._own_learner()
        report = learner.step(x.to(self.device), y.to(self.device), self._clock())
        self._steps += 1
        if self._steps % (self.config.steps_per_epoch or self._steps + 1) == 0:
            learner.end_epoch()
        found = [loss for loss in report.losses if loss is not None]
        return torch.stack(found).mean() if found else torch.zeros((), device=self.device)

    def finish(self) -> None:
        """End the training by `step`: keep averaged weights, if any, and drop the optimizers."""
        if self._learner is not None:
            answering = self._learner.answering
            if answering is not self:
                self.load_state_dict(answering.state_dict())
            self._learner = None

    def training_state(self) -> dict[str, Any]:
        """What beside the weights is needed to go on with `step` as if never stopped."""
        tensors, plain = self._own_learner().state()
        return {"steps": self._steps, "tensors": tensors, "plain": plain}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `training_state` gave."""
        self._own_learner().load_state(state["tensors"], state["plain"])
        self._steps = state["steps"]

    def _own_learner(self) -> Learner:
        if self._learner is None:
            from goodness.engine.learner import Learner

            weights = self.config.class_weights
            if weights == "balanced":
                raise InputError("class_weights: here a list is needed, as the data is not known")
            self._learner = Learner(self, None if weights is None else torch.tensor(weights))
        return self._learner

    def _clock(self) -> Clock:
        """Where a loop of the user's own is."""
        per_epoch = self.config.steps_per_epoch
        if per_epoch is not None:
            return Clock(
                min(self._steps, per_epoch * self.config.epochs - 1), per_epoch, self.config.epochs
            )
        sums = any(
            type(block.objective).end_epoch is not Objective.end_epoch
            for block in self
            if block.objective is not None
        )
        late = any(
            readout.learns and not readout.started(Clock(0, 1, 1000))
            for readout in self.readouts.values()
        )
        if self.schedule.needs_length or sums or late or self.config.rate["name"] != "constant":
            raise InputError(
                f"method '{self.config.method}' goes by the length of the run: say epochs=... and"
                " steps_per_epoch=..."
            )
        return Clock(self._steps, self._steps + 1, 1)

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
        names = list(self.readouts)
        if readout is None:
            readout = names[0]
        if readout not in names:
            raise unknown("readout", readout, names)
        if x.shape[1:] != self.image:
            raise InputError(f"images of {tuple(x.shape[1:])}: the network takes {self.image}")
        asked = self if self._learner is None else self._learner.answering
        return asked.answer(self._laid_out(x.to(self.device))).final(readout)

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
            x = self.enter(index, x, learning=False)
            with self.autocast():
                value = block.body(x)
                x = block.send(value)
            yield block.judge(value), x

    def enter(self, index: int, x: Tensor, learning: bool) -> Tensor:
        """What block ``index`` makes of the rows that the block before it sent."""
        if index == 0:
            return x
        view = self[index - 1].spec.sent_view
        return view.gather(self.presentation.enter(view.spread(x), learning))

    def seen(self, index: int, x: Tensor) -> Tensor:
        """What enters block ``index`` as a map (rows, C, H, W)."""
        return x if index == 0 else self[index - 1].spec.sent_view(x)

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
    method: str | Config,
    *,
    image: Shape,
    classes: int,
    module: nn.Module | Sequence[nn.Module] | None = None,
    initial: bool = True,
    **values: Any,
) -> Network:
    """The network that a method describes, with weights drawn from its seed.

    Args:
        method: a method's name, or a whole configuration.
        image: the shape (C, H, W) of an image.
        classes: number of classes, K.
        module: a network to be cut, or its blocks and its classifier one after the other; None
            takes what the configuration names.
        initial: whether to start from the weights that the configuration names; a network whose
            own are loaded afterwards need not.
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
        if module is None:
            made = MODELS.make(config.model, shown, classes)
            if initial:
                start_from(made, config.model, config.pretrained, config.weights, shown, classes)
            module = made
        try:
            pieces, head = _cut(module, torch.zeros(2, *shown), classes, config)
        except InputError as error:
            if shown == image:
                raise
            raise InputError(
                f"{error} (presentation '{config.presentation['name']}' makes"
                f" {'x'.join(map(str, shown))} of an image of {'x'.join(map(str, image))})"
            ) from None
        boundaries = [BOUNDARIES.make(config.boundary, classes) for _ in pieces]
        specs = _specs(presentation, pieces, boundaries, image, classes, head)
        schedule = SCHEDULES.make(config.schedule, len(pieces))
        if config.freeze_until is not None:
            first = _place(config.freeze_until, [piece.name for piece in pieces])
            schedule = Frozen(schedule, first)
        judged_blocks = {i for segment in schedule.segments() for i in segment.judged}
        blocks = [
            Block(
                spec,
                piece,
                boundary,
                _objective(config, piece.name, spec) if spec.index in judged_blocks else None,
            )
            for piece, spec, boundary in zip(pieces, specs, boundaries, strict=True)
        ]
        readouts = {
            name: READOUTS.make({"name": name, **options}, specs)
            for name, options in config.readouts.items()
        }
        for readout in readouts.values():
            readout.label_smoothing = config.label_smoothing
    update = UPDATES.make(config.update)
    network = Network(presentation, blocks, readouts, schedule, update, image, config)
    if config.compile:
        for block in network:
            block.body.compile()
    return network.to(memory_format=network.memory_format)


def most_classes(method: str | Config, *, image: Shape, **values: Any) -> int | None:
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


def _place(block: str, names: Sequence[str]) -> int:
    """Where a block stands that is given by name or number; the classifier is the last."""
    if block == "head":
        return len(names)
    if block.isdecimal() and block not in names and int(block) < len(names):
        return int(block)
    if block not in names:
        raise unknown("block", block, [*names, "head"])
    return names.index(block)


def _objective(config: Config, block: str, spec: Spec) -> Objective:
    name = config.objective["name"]
    most = OBJECTIVES[name].most_classes(spec, config.objective)
    _check_classes(f"objective '{name}' at block '{block}'", spec.classes, most)
    objective: Objective = OBJECTIVES.make(config.objective, spec)
    if config.label_smoothing and not objective.smooths:
        raise InputError(
            f"label_smoothing: the loss of objective '{name}' is no cross-entropy over the classes"
        )
    objective.label_smoothing = config.label_smoothing
    return objective


def _check_classes(what: str, classes: int, most: int | None) -> None:
    if most is not None and classes > most:
        raise InputError(f"{what} can serve at most {most} classes here, not {classes}")


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """The scores of several parts of a batch as one tensor."""
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None


def _cut(
    module: nn.Module | Sequence[nn.Module], example: Tensor, classes: int, config: Config
) -> tuple[list[Piece], nn.Module | None]:
    """The network's blocks and its classifier."""
    if isinstance(module, nn.Module):
        pieces, head = split(module, example, classes, config.partition)
    else:
        pieces, head = split_by_hand(module, example)
    if head is not None and OBJECTIVES[config.objective["name"]].takes_head(config.objective):
        # It needs all that the model's classifier takes.
        pieces[-1] = pieces[-1]._replace(judged=pieces[-1].judged.whole())
    return pieces, head


@torch.no_grad()
def _specs(
    presentation: Presentation,
    pieces: Sequence[Piece],
    boundaries: Sequence[Boundary],
    image: Shape,
    classes: int,
    head: nn.Module | None,
) -> list[Spec]:
    """What every block's objective is told, from one image of zeros, evaluated."""
    x = presentation.probe(torch.zeros(1, *image))
    seen = x
    shapes: list[tuple[Shape, Shape, Shape]] = []
    for index, (piece, boundary) in enumerate(zip(pieces, boundaries, strict=True)):
        if index > 0:
            view = pieces[index - 1].sent
            x = view.gather(presentation.enter(view.spread(x), learning=False))
        try:
            value = piece.body.eval()(x)
            sent = piece.tail.eval()(value)
            x = piece.sent.gather(boundary.eval()(piece.sent.spread(sent)))
        except RuntimeError as error:
            raise InputError(
                f"block '{piece.name}' cannot serve an input of {tuple(x.shape[1:])}: {error}"
            ) from None
        given, seen = seen, piece.sent(x)
        shapes.append((_shape(given), _shape(piece.judged(value)), _shape(seen)))
    return [
        Spec(
            index=index,
            count=len(pieces),
            classes=classes,
            image=image,
            input=shapes[index][0],
            judged=shapes[index][1],
            sent=shapes[index][2],
            widest=max(judged[0] for _, judged, _ in shapes),
            judged_view=piece.judged,
            sent_view=piece.sent,
            head=head if index == len(pieces) - 1 else None,
        )
        for index, piece in enumerate(pieces)
    ]


def _shape(x: Tensor) -> Shape:
    """(C, H, W)."""
    _, channels, height, width = x.shape
    return channels, height, width
