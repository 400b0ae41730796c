"""What a run is made of: every configuration key, said once, and how their values come together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from goodness.data.catalogue import CATALOGUE, data_root
from goodness.data.settings import MAX_PIXELS, AugmentConfig
from goodness.errors import InputError, unknown
from goodness.files import at_home
from goodness.plugins import import_files
from goodness.sharing.locating import is_name
from goodness.training.settings import CheckpointConfig, EarlyStoppingConfig, in_full
from goodness.types import (
    HEAD,
    Fraction,
    Inside,
    NonNegative,
    NonNegativeInt,
    Part,
    Positive,
    PositiveInt,
)

if TYPE_CHECKING:
    from goodness.registry import Registry

Scope = Literal["method", "model", "data", "run", "training", "machine"]
"""What a key belongs to. Those of a method are what makes one local method another."""
Word = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""YAML reads a block's or class's name that is a number as one."""


@dataclass(frozen=True)
class Key:
    """What the command line, the docs and all that treats keys alike know of one.

    Args:
        scope: what it belongs to.
        metavar: what stands for its value in help; a key that is neither a switch nor a choice of
            words has no option of its own without it.
        text: what it does; of a field of `Config` its docstring.
        option: its option; of a field by default its name, "" where it has none.
        resume: whether a resumed run may change it: it says how long and where, and no network or
            learner reads it.
        path: whether a relative path in it is made absolute, to be the same from everywhere.
        compare: what decides it in a comparison, which sets it for every run.
        part: of a short form, the part whose option it is.
        kinds: what its value may be: types, and the words of a choice; of a field its annotation.
    """

    scope: Scope
    metavar: str = ""
    text: str = ""
    option: str = ""
    resume: bool = False
    path: bool = False
    compare: str = ""
    part: str = ""
    kinds: tuple[Any, ...] = (float,)


class Config(BaseModel):
    """A resolved configuration; `resolve` makes one. Kept as ``config.json`` in the run folder."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, defer_build=True, use_attribute_docstrings=True
    )

    method: Annotated[str, Key("method", "NAME", compare="use METHOD...")] = "spectral-local"
    """See 'goodness methods'."""
    imports: Annotated[list[str], Key("method", "FILE", option="--import", path=True)] = []
    """A Python file that registers methods or parts of your own; may be repeated."""
    presentation: Annotated[Part, Key("method", "NAME")]
    """How images and labels become the rows that enter the first block."""
    objective: Annotated[Part, Key("method", "NAME")]
    """What a block learns from."""
    boundary: Annotated[Part, Key("method", "NAME")]
    """What stands between two blocks."""
    update: Annotated[Part, Key("method", "NAME")]
    """How gradients are found."""
    plan: Annotated[Part, Key("method", "NAME")]
    """Which blocks learn when."""
    readouts: Annotated[dict[str, Part], Key("method")]
    """Ways to answer from all blocks, each with its options; null leaves one of the method's
    out."""
    readout: Annotated[str, Key("method", "NAME")] = "auto"
    """Which one answers; auto: the best on the validation images."""

    model: Annotated[Part, Key("model", "NAME")]
    """See 'goodness models'; or torchvision/NAME, timm/NAME."""
    partition: Annotated[Part, Key("model", "NAME|N")]
    """How it is cut: layer, block, stage, or into N blocks of equal cost; see 'goodness
    partition'."""
    pretrained: Annotated[bool, Key("model")] = False
    """Start from the published weights of a torchvision or timm model. Norms between blocks, which
    many methods have, change what they compute."""
    init_from: Annotated[str | None, Key("model", "FILE|RUN", path=True)] = None
    """Start from a .safetensors or .pth file, from another run's best weights, or from a shared
    network, such as pretrained/mnist or hf:USER/NAME."""
    freeze_until: Annotated[Word | None, Key("model", "BLOCK")] = None
    """The first block that learns, by name or number (from 0); those before it stay as they are.
    head: the classifier alone."""

    data: Annotated[str, Key("data", "NAME|DIR", path=True, compare="use --data")] = "digits"
    """See 'goodness data'; or a folder with a folder per class."""
    data_root: Annotated[str | None, Key("data", "DIR", path=True, compare="use --data-root")] = (
        None
    )
    """Where named data sets are kept; else in $GOODNESS_DATA or ~/.cache/goodness."""
    image_size: Annotated[PositiveInt | None, Key("data", "PIXELS")] = None
    """Side of an image; others are resized to it."""
    class_names: Annotated[list[Word] | None, Key("data", "A,B,…")] = None
    """Only these classes of the data, in this order."""
    per_class: Annotated[PositiveInt | None, Key("data", "N")] = None
    """Only N training images of each class, drawn by the seed."""
    val_fraction: Annotated[Inside, Key("data", "SHARE")] = 0.1
    """Part of the training images to hold out for validation."""
    normalize: Annotated[bool, Key("data")] = True
    """Subtract the training mean and divide by the standard deviation, per channel."""
    skip_unreadable: Annotated[bool, Key("data")] = False
    """Leave out files that cannot be read."""
    augment: Annotated[AugmentConfig, Key("data")] = Field(
        default_factory=lambda: AugmentConfig.model_validate({})
    )
    """How training images are varied."""

    epochs: Annotated[PositiveInt, Key("run", "N", resume=True, compare="use --budget")] = 20
    """Passes over the training images."""
    batch_size: Annotated[PositiveInt, Key("run", "N")] = 128
    """Images at a time."""
    steps_per_epoch: Annotated[PositiveInt | None, Key("run", "N", compare="use --budget")] = None
    """An epoch has N steps, and fewer or more images than there are; else every training image is
    seen once."""
    recipe: Annotated[str | None, Key("run", "NAME")] = None
    """A whole training by name, over which all other values rule; see 'goodness recipes'."""
    seed: Annotated[NonNegativeInt, Key("run", "N", compare="use --seeds")] = 0
    """The same seed, the same run."""
    final_test: Annotated[bool, Key("run", compare="it ends with the test split")] = True
    """Measure test accuracy at the end; turn it off while you tune on validation."""
    early_stopping: Annotated[
        EarlyStoppingConfig | None,
        BeforeValidator(in_full),
        Key("run", "EPOCHS", resume=True, compare="use --budget"),
    ] = None
    """End the run when validation accuracy has not risen for so many epochs in a row."""
    checkpoint: Annotated[CheckpointConfig, Key("run", resume=True)] = Field(
        default_factory=lambda: CheckpointConfig.model_validate({})
    )
    """How often the state is saved, and how many epochs' weights are kept."""
    log: Annotated[list[str], Key("run", "A,B,…", resume=True)] = []
    """Where the numbers of every epoch are written beside the run's own files: csv, tensorboard,
    wandb, mlflow."""

    optimizer: Annotated[Part, Key("training", "NAME")]
    """How gradients become an update."""
    lr_schedule: Annotated[Part, Key("training", "NAME")]
    """How the learning rate changes in the course of a run."""
    lr_factors: Annotated[
        Annotated[list[Positive], Field(min_length=1)] | None, Key("training", "X,X,…")
    ] = None
    """A factor on the learning rate per block; for another depth each takes the nearest one."""
    accumulate_steps: Annotated[PositiveInt, Key("training", "N")] = 1
    """Average the gradients of N steps for one update."""
    micro_batch: Annotated[PositiveInt | None, Key("training", "N")] = None
    """Forward and backward inside a block take N images of the batch at a time; the update is still
    that of the whole batch."""
    ghost_norm: Annotated[bool, Key("training")] = False
    """Allow micro_batch in networks with batch norms, which then take their statistics from each
    part: ghost batch norms (arXiv 1705.08741)."""
    clip_grad_norm: Annotated[Positive | None, Key("training", "NORM")] = None
    """Largest L2 norm of the gradient of each block (of all that one optimizer updates)."""
    ema: Annotated[Inside | None, Key("training", "DECAY")] = None
    """Decay of an exponential moving average of the weights, which then answers."""
    label_smoothing: Annotated[
        Fraction | Annotated[list[Fraction], Field(min_length=1)], Key("training", "SHARE|X,X,…")
    ] = 0.0
    """Of every cross-entropy; of a list each block has its own, for another depth the nearest one,
    and trained readouts have the last one's."""
    flip_test: Annotated[bool, Key("training")] = False
    """Answer with the mean of the class scores of an image and of its mirror image; answers take
    twice as long."""
    class_weights: Annotated[
        Literal["balanced"] | Annotated[list[Positive], Field(min_length=2)] | None,
        Key("training", "balanced|X,X,…"),
    ] = None
    """A weight on the losses of each class; balanced: the inverse of its share of the training
    images."""
    class_difficulty: Annotated[NonNegative | None, Key("training", "KAPPA")] = None
    """Weigh each block's losses by how often it has a class wrong, with this exponent."""

    device: Annotated[str, Key("machine", "NAME", resume=True)] = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1 …, mps (Apple); auto is CUDA or the CPU."""
    num_workers: Annotated[NonNegativeInt, Key("machine", "N", resume=True)] = 0
    """Processes that decode images when they do not fit in memory."""
    num_threads: Annotated[PositiveInt | None, Key("machine", "N", resume=True)] = None
    """CPU threads of torch."""
    parallel: Annotated[Literal["none", "layers", "data"], Key("machine", resume=True)] = "none"
    """What the processes that torchrun has started share: the blocks, or each batch."""
    amp: Annotated[Literal["none", "bf16", "fp16"], Key("machine")] = "none"
    """Mixed precision inside the blocks; losses stay in float32. fp16 scales them."""
    max_pixels: Annotated[PositiveInt, Key("machine", "N", resume=True)] = MAX_PIXELS
    """Image files of more pixels (height times width) are refused before they are decoded."""
    channels_last: Annotated[bool, Key("machine")] = True
    """Lay feature maps out with the channels last."""
    compile: Annotated[bool | Literal["reduce-overhead", "max-autotune"], Key("machine")] = False
    """torch.compile every block; reduce-overhead replays CUDA graphs."""
    recompute: Annotated[bool, Key("machine")] = False
    """Where gradients cross several blocks, keep only their inputs and compute the rest again in
    the backward pass."""
    feature_cache: Annotated[str | None, Key("machine", "DIR", resume=True, path=True)] = None
    """Keep on disk what finished blocks give, so that they run once and not at every step."""


SECTIONS: Mapping[str, type[BaseModel]] = {
    "augment": AugmentConfig,
    "early_stopping": EarlyStoppingConfig,
    "checkpoint": CheckpointConfig,
}
"""Keys that hold values of their own, and what these are."""
SHORT_FORMS = {
    "lr": Key("training", "RATE", "Learning rate.", option="--lr", part="optimizer"),
    "weight_decay": Key(
        "training", "RATE", "Weight decay.", option="--weight-decay", part="optimizer"
    ),
}
"""Keys that stand for options of a part: ``lr`` is ``optimizer.lr``."""


def _kinds(annotation: Any) -> tuple[Any, ...]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kinds(arguments[0])
    if origin in (Union, UnionType):
        return tuple(kind for argument in arguments for kind in _kinds(argument))
    return arguments if origin is Literal else (origin or annotation,)


def _declared(name: str, field: FieldInfo) -> Key:
    key = next(fact for fact in field.metadata if isinstance(fact, Key))
    text, kinds = " ".join((field.description or "").split()), _kinds(field.annotation)
    given = key.metavar or kinds[0] is bool or isinstance(kinds[0], str)
    option = key.option or (f"--{name.replace('_', '-')}" if given else "")
    return replace(key, text=text, kinds=kinds, option=option)


KEYS = {name: _declared(name, field) for name, field in Config.model_fields.items()} | SHORT_FORMS
RESUMABLE = tuple(name for name, key in KEYS.items() if key.resume)


def resolve(given: Mapping[str, Any]) -> Config:
    """The configuration of a run: defaults < the method's values < those for the data < yours.

    Yours are those of the recipe, if you name one, and over them what else you give.

    A part may be written as its name alone. A part that names another choice than the method
    keeps those of the method's options that the new choice knows too; of a model only what any
    chain is made of, such as norm, pool and activation. None is a value where a key allows it
    (``image_size=None``: as the images are) and says nothing elsewhere. Relative paths become
    absolute.

    Args:
        given: nested keys, e.g. ``{"method": "asge", "model": "vgg11", "lr": 1e-3}``.

    Raises:
        InputError: an unknown key, name or option (the nearest valid one is suggested), or a value
            of a wrong type or range.
    """
    from goodness.methods import METHODS
    from goodness.models import MODELS
    from goodness.objective import OBJECTIVES
    from goodness.readout import READOUTS

    given = located(with_recipe(given))
    method = METHODS[str(given.get("method", Config.model_fields["method"].default))]
    data = str(given.get("data", Config.model_fields["data"].default))
    for_data = method.for_data.get(Path(data).name, {})
    # An augmentation for the data is a whole one: what is left out there is off.
    own = {key: v for key, v in method.values.items() if key != "augment" or key not in for_data}
    values = _with_parts({**merge(own, for_data, given), "method": method.name})
    trains_it = OBJECTIVES[values["objective"]["name"]].uses_classifier(values["objective"])
    if MODELS.has_classifier(values["model"]["name"]) and (
        not trains_it or values.get("freeze_until") == HEAD
    ):
        # Or the model's own classifier would never learn.
        readout = next(name for name in READOUTS if READOUTS[name].trains_classifier)
        values["readouts"].setdefault(readout, {})
    return _validated(values)


def with_recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values in their long form, over those of the recipe that they name.

    A recipe that meets another method than its own gives this one the same frame: its parts are
    whole, and nothing of the method's is left in them.

    Raises:
        InputError: as `resolve`.
    """
    from goodness.recipes import RECIPES

    own = merge(given)  # imports files first, which may hold the recipe
    if (name := own.get("recipe")) is None:
        return own
    values, registries = RECIPES[str(name)].values_for(own.get("method")), axes()
    for key in values.keys() & registries.keys():
        if "name" in values[key]:
            values[key] = registries[key].resolve(values[key])
    if "augment" in values:
        values["augment"] = AugmentConfig.model_validate(values["augment"]).model_dump()
    return merge(values, own)


def complete(values: Mapping[str, Any]) -> Config:
    """A configuration as one was kept: what is missing takes its default, not the method's value.

    Raises:
        InputError: as `resolve`.
    """
    return _validated(_with_parts(merge(values)))


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """The configuration of a run that is resumed with other values; those that are None stay.

    Raises:
        InputError: as `resolve`.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    return complete(merge(config.model_dump(), located(given)))


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Values in their long form, the later layers over the earlier ones, option by option.

    A part that names another choice keeps those of the old one's options that the new one knows.
    Files to import are imported, so that names from them are known.

    Raises:
        InputError: an unknown key or name, or something else where a part belongs.
    """
    registries = axes()
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in _long_form(layer, registries).items():
            merged[key] = _over(merged.get(key), value, registries.get(key))
    return merged


def _over(under: Any, over: Any, registry: Registry[Any] | None = None) -> Any:
    if not (isinstance(under, Mapping) and isinstance(over, Mapping)):
        return over
    if registry and "name" in over and under.get("name") not in (None, over["name"]):
        under = registry.kept(under, over["name"])
    return {**under, **{key: _over(under.get(key), value) for key, value in over.items()}}


def _long_form(given: Mapping[str, Any], registries: Mapping[str, Registry[Any]]) -> dict[str, Any]:
    """Every part as a mapping, and short keys as options of theirs; they win over the long ones."""
    for name in given:
        if name not in KEYS:
            raise unknown("configuration key", name, KEYS)
    values = {name: v for name, v in given.items() if v is not None or NoneType in KEYS[name].kinds}
    if isinstance(files := values.get("imports", []), str | Path):
        values["imports"] = files = [files]
    if isinstance(log := values.get("log"), str):
        values["log"] = [log]
    import_files(files if isinstance(files, list | tuple) else ())
    for short, key in SHORT_FORMS.items():
        if short in values:
            part = registries[key.part].long_form(values.get(key.part, {}))
            values[key.part] = {**part, short: values.pop(short)}
    for name, value in values.items():
        if name in registries:
            values[name] = registries[name].long_form(value)
        elif name == "early_stopping":
            values[name] = in_full(value)
        elif name in ("readouts", *SECTIONS) and not isinstance(value, Mapping):
            raise InputError(f"{name}: a mapping is needed (got {value!r})")
    return values


def located(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with absolute paths, so that they name the same from another folder; names stay."""
    root = values.get("data_root")
    if not isinstance(root, str | Path):
        root = None  # refused where all values are checked
    return {
        key: _absolute(key, value, root) if KEYS[key].path and value is not None else value
        for key, value in values.items()
    }


def _absolute(key: str, value: Any, root: str | Path | None) -> Any:
    if isinstance(value, list | tuple):
        return [_absolute(key, item, root) for item in value]
    if not isinstance(value, str | Path):
        return value  # refused where all values are checked
    if key == "init_from" and is_name(value):
        return value
    path = at_home(value).absolute()
    if key == "data" and isinstance(value, str):
        # A plain word is a name first, see `goodness.data.locating.locate`.
        stored = Path(value).name == value and any((data_root(root) / value).glob("*.parquet"))
        return value if value in CATALOGUE or stored or not path.is_dir() else str(path)
    return str(path)


def _with_parts(values: dict[str, Any]) -> dict[str, Any]:
    """Values with every option of every part."""
    for key, registry in axes().items():
        values[key] = registry.resolve(values.get(key, {}))
    values["readouts"] = {
        name: None if options is None else _readout_options(name, options)
        for name, options in values["readouts"].items()
    }
    return values


def _readout_options(name: str, options: Any) -> Part:
    """Every option of a readout; the name is the key it stands under."""
    from goodness.readout import READOUTS

    given = READOUTS.long_form(options)
    if (other := given.get("name", name)) != name:
        raise InputError(
            f"readouts.{name}: a readout's name is its key (got {other!r}; write readouts.{other})"
        )
    resolved = READOUTS.resolve({**given, "name": name})
    del resolved["name"]
    return resolved


def _validated(values: dict[str, Any]) -> Config:
    from goodness.loggers import LOGGERS

    left = {name: options for name, options in values["readouts"].items() if options is not None}
    if values["readouts"] and not left:
        raise InputError("readouts: all are left out, and one has to answer")
    values["readouts"] = left
    readouts = ("auto", *left)
    if values.get("readout", "auto") not in readouts:
        raise unknown(f"readout of '{values['method']}'", values["readout"], readouts)
    for section, kind in SECTIONS.items():
        given = values.get(section)
        for name in given if isinstance(given, Mapping) else ():
            if name not in kind.model_fields:
                fields = [f"{section}.{field}" for field in kind.model_fields]
                raise unknown("configuration key", f"{section}.{name}", fields)
    for name in values["log"] if isinstance(values.get("log"), list) else ():
        LOGGERS[str(name)]
    for key, value in values.items():
        if isinstance(value, Mapping | list | tuple):
            _check_numbers(key, value)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(place) for place in first["loc"])
        raise InputError(f"{where}: {first['msg']} (got {first['input']!r})") from None


def _check_numbers(where: str, value: Any) -> None:
    """Refuse whole numbers inside a part that no tensor can have as its size."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InputError(f"{where}: a whole number of at most 64 bits is needed")
    if isinstance(value, Mapping | list | tuple):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in pairs:
            _check_numbers(f"{where}.{key}", inner)


def check_values(values: Mapping[str, Any]) -> None:
    """Check values that are used by themselves, and not as part of a configuration.

    Raises:
        InputError: one of a wrong type or range.
    """
    for key, field in Config.model_fields.items():
        if key in values and dict not in KEYS[key].kinds:
            of: Any = Annotated[field.annotation, field]
            try:
                TypeAdapter(of).validate_python(values[key])
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise InputError(f"{key}: {reason} (got {values[key]!r})") from None


def axes() -> dict[str, Registry[Any]]:
    """The registry behind every key that holds a part."""
    from goodness.boundary import BOUNDARIES
    from goodness.models import MODELS
    from goodness.objective import OBJECTIVES
    from goodness.optim.lr_schedules import LR_SCHEDULES
    from goodness.optim.optimizers import OPTIMIZERS
    from goodness.partition import PARTITIONS
    from goodness.plan import PLANS
    from goodness.presentation import PRESENTATIONS
    from goodness.update import UPDATES

    found: list[Registry[Any]] = [
        *(MODELS, PARTITIONS, PRESENTATIONS, OBJECTIVES, BOUNDARIES, UPDATES, PLANS),
        *(OPTIMIZERS, LR_SCHEDULES),
    ]
    return {registry.kind: registry for registry in found}
