"""Parts that do not fit together are refused, with the way out, before anything is trained.

Everything is said of what parts declare (`Objective.coupled`, `Plan.needs_length`, ...), so that a
new part is checked without being known here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from goodness.clock import Clock
from goodness.config import Config
from goodness.data.settings import AugmentConfig
from goodness.errors import InputError
from goodness.objective import OBJECTIVES, Objective
from goodness.optim.lr_schedules import LR_SCHEDULES
from goodness.partition.chain import is_black_box
from goodness.plan import Plan
from goodness.presentation import PRESENTATIONS, Presentation
from goodness.readout import Readout
from goodness.update import UPDATES

if TYPE_CHECKING:
    from goodness.network.block import Block
    from goodness.network.network import Network
    from goodness.partition import Piece
    from goodness.training.feature_cache import Stage

# While a network is built.


def check_rows(config: Config) -> None:
    """Refuse a presentation that makes other rows than the objective's loss is of."""
    shown, judge = config.presentation["name"], config.objective["name"]
    paired = OBJECTIVES[judge].paired
    if PRESENTATIONS[shown].paired != paired:
        kinds = {False: "one row per image", True: "positive and negative rows"}
        fit = ", ".join(name for name in PRESENTATIONS if PRESENTATIONS[name].paired == paired)
        raise InputError(
            f"presentation '{shown}' makes {kinds[not paired]}, but objective '{judge}' needs"
            f" {kinds[paired]} (use another objective, or as presentation: {fit})"
        )


def check_classes(what: str, num_classes: int, most: int | None) -> None:
    """Refuse more classes than ``what`` can serve; None serves any number."""
    if most is not None and num_classes > most:
        raise InputError(f"{what} can serve at most {most} classes here, not {num_classes}")


def check_plan(plan: Plan, config: Config) -> None:
    """Refuse an update that keeps nothing for gradients through a next block."""
    if any(s.through for s in plan.segments()) and not UPDATES[config.update["name"]].records_body:
        raise InputError(
            f"plan '{config.plan['name']}' teaches blocks through the next one, which update"
            f" '{config.update['name']}' cannot (use --set update=gradient, or --set plan=together)"
        )


def check_black_boxes(pieces: Sequence[Piece], plan: Plan, config: Config) -> None:
    """Refuse gradients that would have to pass what passes none: below it nothing would learn."""
    way_out = "cut there, with a plan that teaches blocks alone, or --update node-perturbation"
    if config.model["name"] == "spiking-cnn":
        way_out = "--partition layer, with a plan that teaches blocks alone, or"
        way_out += " --set model.surrogate=atan"
    if not UPDATES[config.update["name"]].differentiates:
        return
    sources = [(piece.body, piece.name) for piece in pieces]
    for segment in plan.segments():
        inner = (*segment.blocks, *segment.through)[:-1]
        sources += [(pieces[index].tail, pieces[index].name) for index in inner]
    for part, name in sources:
        if found := next((own for own in part.modules() if is_black_box(own)), None):
            raise InputError(
                f"block '{name}': no gradient passes {type(found).__name__}, behind which a loss is"
                f" (use {way_out})"
            )


def check_objective(objective: Objective, config: Config) -> None:
    """Refuse what the loss of an objective does not heed."""
    name = config.objective["name"]
    if objective.label_smoothing and not objective.supports_label_smoothing:
        raise InputError(
            f"label_smoothing: the loss of objective '{name}' is no cross-entropy over the classes"
        )
    if config.augment.mixing and not objective.supports_soft_labels:
        raise InputError(
            f"augment.{config.augment.mixing[0]}: method '{config.method}' takes no soft labels, as"
            f" the loss of objective '{name}' is of single ones (leave it out, or use a method of"
            " cross-entropies, such as spectral-local, mono-forward or dgl)"
        )
    if config.class_weights is not None and not objective.supports_class_weights:
        raise InputError(f"class_weights: objective '{name}' is solved, not trained by its loss")
    if config.class_difficulty is not None and (
        objective.paired or not objective.supports_class_weights
    ):
        raise InputError(
            f"class_difficulty: the loss of objective '{name}' is not one of class scores"
        )


def check_owners(readouts: Mapping[str, Readout], blocks: Sequence[Block], config: Config) -> None:
    """Refuse a readout that trains what a block does: they would undo each other's work."""
    owned = {id(parameter) for block in blocks for parameter in block.parameters()}
    for name, readout in readouts.items():
        if any(id(parameter) in owned for parameter in readout.parameters()):
            raise InputError(
                f"readout '{name}' would train the model's classifier, which objective"
                f" '{config.objective['name']}' trains already; leave the readout out"
            )


def answering(
    readouts: Mapping[str, Readout],
    blocks: Sequence[Block],
    presentation: Presentation,
    config: Config,
) -> dict[str, Readout]:
    """The readouts that can answer: frozen blocks alone have no class scores to answer by.

    Raises:
        InputError: none is left, or one that was asked for by name is not among them.
    """
    objectives = [block.objective for block in blocks if block.objective is not None]
    # A goodness of rows is a score of classes where every class is asked about.
    asked = presentation.queries == presentation.num_classes
    if any(asked or not objective.paired for objective in objectives):
        return dict(readouts)
    mute = [name for name, readout in readouts.items() if readout.needs_scores]
    if objectives and mute:
        raise InputError(
            f"readout '{mute[0]}': no block of this method has class scores (use a readout that"
            " learns, e.g. 'output', or a presentation with labels)"
        )
    rest = {name: readout for name, readout in readouts.items() if name not in mute}
    if not objectives and not rest:
        raise InputError(
            f"freeze_until: with method '{config.method}' nothing is left to train behind"
            f" '{config.freeze_until}' (add a readout that learns: --set readouts.output={{}})"
        )
    if config.readout in mute:
        raise InputError(
            f"readout '{config.readout}': no block behind '{config.freeze_until}' has class scores"
            f" (choose one of: auto, {', '.join(rest)})"
        )
    return rest


# While a learner is made.


def check_own_loop(network: Network, class_weights: Tensor | None, run: Clock | None) -> None:
    """Refuse what needs to know the data or the length of the run, where they are not known."""
    config = network.config
    if config.class_weights == "balanced" and class_weights is None:
        raise InputError("class_weights: here a list is needed, as the data is not known")
    if config.feature_cache is not None:
        raise InputError(
            "feature_cache: here there is none, as the data is not known (leave it out)"
        )
    if run is None and _needs_length(network):
        raise InputError(
            f"method '{config.method}' goes by the length of the run: say epochs=... and"
            " steps_per_epoch=..."
        )


def _needs_length(network: Network) -> bool:
    """Whether anything depends on which part of the run a step is in."""
    objectives = [block.objective for block in network if block.objective is not None]
    some = [Clock(step, 1, 1000) for step in (0, 1, 300, 600, 999)]
    return (
        network.plan.needs_length
        or len({LR_SCHEDULES.make(network.config.lr_schedule, clock) for clock in some}) > 1
        or any(objective.sums_epochs for objective in objectives)
        or any(r.trainable and not r.started(some[0]) for r in network.readouts.values())
    )


def check_class_weights(network: Network, class_weights: Tensor | None) -> None:
    """Refuse another number of weights than there are classes."""
    classes = network.num_classes
    if class_weights is not None and len(class_weights) != classes:
        raise InputError(f"class_weights: {len(class_weights)} for {classes} classes")


def check_micro_batch(network: Network) -> None:
    """Refuse what would learn something else from parts of a batch than from the whole one.

    Dropout is not refused: it draws other masks, of the same distribution.

    Raises:
        InputError: a batch norm in a block that learns, whose statistics would silently be those
            of a part; an objective or a presentation that compares the images of a batch; a
            presentation that learns; an update that cannot add up gradients.
    """
    config = network.config
    if config.micro_batch is None:
        return
    if not network.update.adds:
        raise InputError(
            f"micro_batch: update '{config.update['name']}' draws other directions in parts than"
            " in a whole batch (leave micro_batch out)"
        )
    shown = network.presentation
    learns = next(shown.parameters(), None) is not None
    if learns or network.changes_rows:
        does = "learns from" if learns else "pairs the images of"
        raise InputError(
            f"micro_batch: presentation '{config.presentation['name']}' {does} a whole batch"
            " (leave micro_batch out)"
        )
    learning = {index for segment in network.plan.segments() for index in segment.blocks}
    for index in sorted(learning):
        block = network[index]
        if block.objective is not None and block.objective.coupled:
            raise InputError(
                f"micro_batch: objective '{config.objective['name']}' compares the images of a"
                " whole batch (leave micro_batch out, or take a smaller --batch-size)"
            )
        norms = [n for n, module in block.named_modules() if isinstance(module, _BatchNorm)]
        if norms:
            where = "objective" if norms[0].startswith("objective.") else "model"
            way_out = "another objective" if where == "objective" else "--set model.norm=layer"
            raise InputError(
                f"micro_batch: a batch norm in the {where} of block '{block.name}' would take its"
                f" statistics from a part of the batch (use {way_out}, or leave micro_batch out)"
            )


# While a run begins.


def check_run(config: Config, images: int, steps: int) -> None:
    """Refuse a batch that there are no images for, and a run that would never update.

    Args:
        config: of the run.
        images: training images.
        steps: of the whole run.
    """
    if config.batch_size > images:
        raise InputError(
            f"batch size {config.batch_size} is more than the {images} training images (use"
            f" --batch-size {images} or less)"
        )
    if config.accumulate_steps > steps:
        raise InputError(
            f"accumulate_steps: one update takes {config.accumulate_steps} steps, but the run has"
            f" only {steps} and would train nothing (give at most {steps})"
        )


def check_feature_cache(
    network: Network, stages: Iterable[Stage], outputs: Sequence[Tensor], run: Clock
) -> None:
    """Refuse what cannot learn from the features of finished blocks alone.

    Args:
        network: the one to be trained.
        stages: of the run.
        outputs: every block's output for one blank image.
        run: its length.

    Raises:
        InputError: no block finishes before another, or an image does not always give the same
            features, or something that learns needs more than those of one block.
    """
    config = network.config
    kept = [stage for stage in stages if stage.depth]
    if not kept:
        raise InputError(
            f"feature_cache: with plan '{config.plan['name']}' no block has finished before the"
            " last one has (use --set plan=sequential)"
        )
    none = AugmentConfig.model_validate({})
    if config.augment != none:
        changed = {
            name: json.dumps(value)
            for name, value in none
            if value != getattr(config.augment, name)
        }
        options = " ".join(f"--set augment.{name}={value}" for name, value in changed.items())
        raise InputError(
            f"feature_cache: augmentation gives an image other features at every step (use"
            f" {options})"
        )
    if not network.presentation.constant:
        raise InputError(
            f"feature_cache: presentation '{config.presentation['name']}' draws rows for an image"
            " anew at every step (use a method whose presentation is 'plain', or leave"
            " --feature-cache out)"
        )
    name = config.objective["name"]
    objectives = [block.objective for block in network]
    if any(objective is not None and objective.needs_later_scores for objective in objectives):
        raise InputError(
            f"feature_cache: objective '{name}' asks the whole network before every step"
            " (leave --feature-cache out)"
        )
    for stage in kept:
        behind = objectives[stage.depth :]
        if any(objective is not None and objective.needs_images for objective in behind):
            raise InputError(
                f"feature_cache: objective '{name}' needs the images as well (leave"
                " --feature-cache out)"
            )
        last = run._replace(step=stage.stop - 1)
        for readout_name, readout in network.readouts.items():
            if not (readout.trainable and readout.started(last)):
                continue
            if any(readout.extract(i, None, outputs[i]) is not None for i in range(stage.depth)):
                raise InputError(
                    f"feature_cache: readout '{readout_name}' learns from blocks that no longer run"
                    " (let it wait for them: --set plan.until=0.8 --set"
                    f" readouts.{readout_name}.start=0.8)"
                )


def check_data_ranks(network: Network, ranks: int) -> None:
    """Refuse what cannot be trained by ranks that share each batch.

    Raises:
        InputError: a batch that cannot be divided evenly, or an objective that has to see every
            image of an epoch.
    """
    size = network.config.batch_size
    if size % ranks:
        raise InputError(
            f"--parallel data: batch size {size} cannot be divided by {ranks} ranks"
            f" (use --batch-size {-(-size // ranks) * ranks})"
        )
    for block in network:
        if block.objective is not None and block.objective.sums_epochs:
            raise InputError(
                f"--parallel data: objective '{network.config.objective['name']}' sums over"
                " all images of an epoch, of which a rank sees a part (use --parallel layers)"
            )


def check_layer_ranks(network: Network, ranks: int, parts: int) -> None:
    """Refuse what a pipeline of ranks cannot do.

    Args:
        network: the whole one.
        ranks: how many there are.
        parts: how many the network can be divided into.

    Raises:
        InputError: saying why, and what would do.
    """
    config = network.config
    ways = "use --parallel data, or one process"
    judged = [(block.name, block.objective) for block in network if block.objective is not None]
    ahead = next((name for name, own in judged if own.needs_later_scores), None)
    if ahead is not None:
        raise InputError(
            f"--parallel layers: objective '{config.objective['name']}' of block '{ahead}'"
            f" reads what later blocks say before the step, which other ranks hold ({ways})"
        )
    follower = next((name for name, own in judged if own.follows), None)
    if follower is not None:
        raise InputError(
            f"--parallel layers: objective '{config.objective['name']}' of block '{follower}'"
            f" averages the next block's weights, which another rank may hold ({ways})"
        )
    if config.amp == "fp16":
        raise InputError(
            "--parallel layers: fp16 scales the losses of all blocks by one factor that ranks do"
            " not share (use --amp bf16)"
        )
    if ranks > parts:
        reason = (
            "there are no more blocks"
            if parts == len(network)
            else "several blocks learn from one loss, whose gradient cannot cross ranks"
        )
        raise InputError(
            f"--parallel layers: {ranks} ranks, but the {len(network)} blocks of method"
            f" '{config.method}' make {parts} parts at most: {reason} ({ways})"
        )


# While a step begins.


def check_labels(network: Network, y: Tensor, count: int) -> None:
    """Refuse labels that do not fit ``count`` images, or that the losses do not take.

    Those on a device are left to it, as looking at them would wait for it.
    """
    classes, soft = network.num_classes, y.dim() == 2 and y.is_floating_point()
    if len(y) != count or not (soft or (y.dim() == 1 and y.dtype == torch.int64)):
        raise InputError(
            f"labels {tuple(y.shape)} of {y.dtype}: for {count} images {count} of torch.int64 are"
            f" needed, or soft ones ({count}, {classes})"
        )
    if soft:
        _check_soft_labels(network, y)
    elif y.device.type == "cpu" and bool(((y < 0) | (y >= classes)).any()):
        raise InputError(
            f"labels from {int(y.min())} to {int(y.max())}: those of {classes} classes go from 0 to"
            f" {classes - 1}"
        )


def _check_soft_labels(network: Network, y: Tensor) -> None:
    if y.shape[1] != network.num_classes:
        raise InputError(f"soft labels of {y.shape[1]} classes: there are {network.num_classes}")
    objectives = [block.objective for block in network if block.objective is not None]
    if not all(objective.supports_soft_labels for objective in objectives):
        raise InputError(
            f"method '{network.config.method}' takes no soft labels (give int64 ones, one per"
            " image)"
        )
    on_cpu = y.device.type == "cpu"
    if on_cpu and not (bool((y >= 0).all()) and bool(((y.sum(1) - 1).abs() < 1e-3).all())):
        raise InputError("soft labels: every row has to add up to 1, and no share is negative")


# While a step is measured.


def check_steps_alike(network: Network) -> None:
    """Refuse a network whose other steps train other blocks, so that no step stands for all."""
    config = network.config
    if network.plan.needs_length:
        raise InputError(
            f"'{config.method}' has plan '{config.plan['name']}': other blocks learn at other"
            " steps, and no step stands for all (--set plan=together measures one where all do)"
        )


def check_equal_steps(config: Config, batch: int) -> None:
    """Refuse a batch that cannot be taken in equal steps."""
    if batch % config.accumulate_steps:
        raise InputError(
            f"accumulate_steps: {batch} images cannot be taken in {config.accumulate_steps} equal"
            " steps (use another batch size; a profile measures half of it too)"
        )
