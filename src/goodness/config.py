"""What a run is made of: the method's values under the user's, every key checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from goodness.data.settings import AugmentConfig
from goodness.errors import InputError, unknown

if TYPE_CHECKING:
    from goodness.registry import Registry

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Word = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""YAML reads a block's or class's name that is a number as one."""
Part = dict[str, Any]

SHORT_FORMS = {"lr": "optimizer", "weight_decay": "optimizer"}
"""Keys that stand for options of a part: ``lr`` is ``optimizer.lr``."""


class Config(BaseModel):
    """A resolved configuration; `resolve` makes one. Kept as ``config.json`` in the run folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = "asge-fast"
    data: str = "digits"
    data_root: str | None = None
    epochs: Count = 20
    batch_size: Count = 128
    steps_per_epoch: Count | None = None
    """An epoch has so many steps, and fewer or more images than there are; None: every training
    image is seen once."""
    final_test: bool = True
    """Whether the run ends with the test split; a trial that only validation judges need not."""
    readout: str = "auto"
    """Which readout answers; ``auto``: the best one on the validation split."""
    image_size: Count | None = None
    class_names: list[Word] | None = None
    """Only these classes of the data, in this order."""
    per_class: Count | None = None
    """Only so many training images of each class, drawn by the seed."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    normalize: bool = True
    """Subtract the training mean and divide by the standard deviation, per channel."""
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that decode images when they do not fit in memory."""
    num_threads: Count | None = None
    parallel: Literal["none", "layers", "data"] = "none"
    """What the processes that torchrun has started share: the blocks, or each batch."""
    amp: Literal["none", "bf16", "fp16"] = "none"
    """Autocast inside blocks; objectives judge in float32. fp16 scales the losses."""
    channels_last: bool = True
    """Lay feature maps out with the channels last."""
    compile: bool = False
    """torch.compile every block."""
    recompute: bool = False
    """Where gradients cross several blocks, keep their inputs alone and compute the rest again."""
    feature_cache: str | None = None
    """A folder on disk for what blocks that have learnt send on, so that they run once and not at
    every step."""
    skip_unreadable: bool = False

    pretrained: bool = False
    """Start from the published weights of a torchvision or timm model."""
    init_from: str | None = None
    """Start from a ``.safetensors`` or ``.pth`` file, or from another run's best weights."""
    freeze_until: Word | None = None
    """The first block that learns, by name or number (from 0); those before it stay as they are.
    ``head``: the classifier alone."""

    accumulate_steps: Count = 1
    """Steps whose gradients are averaged for one update."""
    micro_batch: Count | None = None
    """Forward and backward inside a block take so many images of the batch at a time; the update
    is still that of the whole batch."""
    clip_grad_norm: Positive | None = None
    """Largest L2 norm of the gradient of each block (of all that one optimizer updates)."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which then answers."""
    lr_factors: Annotated[list[Positive], Field(min_length=1)] | None = None
    """A factor on the learning rate per block; for another depth each takes the nearest one."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of every cross-entropy."""
    class_weights: Literal["balanced"] | Annotated[list[Positive], Field(min_length=2)] | None = (
        None
    )
    """A weight on the losses of each class, or the inverse of its share of the training images."""

    model: Part
    partition: Part
    presentation: Part
    objective: Part
    boundary: Part
    update: Part
    plan: Part
    readouts: dict[str, Part]
    optimizer: Part
    lr_schedule: Part
    augment: AugmentConfig = Field(default_factory=lambda: AugmentConfig.model_validate({}))


def resolve(given: Mapping[str, Any]) -> Config:
    """The configuration of a run: defaults < the method's values < its values for the data < yours.

    A part may be written as its name alone. A part that names another choice than the method
    keeps those of the method's options that the new choice knows too; of a model only norm, pool
    and activation. None is a value where a key allows it (``image_size=None``: as the images are)
    and says nothing elsewhere.

    Args:
        given: nested keys, e.g. ``{"method": "asge", "model": "vgg11", "lr": 1e-3}``.

    Raises:
        InputError: an unknown key, name or option (the nearest valid one is suggested), or a value
            of a wrong type or range.
    """
    from goodness.methods import METHODS

    registries = _registries()
    given = long_form(
        {key: value for key, value in given.items() if value is not None or _may_be_none(key)}
    )
    method = METHODS[str(given.get("method", Config.model_fields["method"].default))]
    data = str(given.get("data", Config.model_fields["data"].default))
    merged: dict[str, Any] = {}
    for layer in (method.values, method.for_data.get(Path(data).name, {}), given):
        for key, value in layer.items():
            if key not in Config.model_fields:
                raise unknown("configuration key", key, [*Config.model_fields, *SHORT_FORMS])
            if key in registries:
                merged[key] = _merge_part(merged.get(key, {}), value, registries[key])
            elif key in ("readouts", "augment") and layer is given:
                merged[key] = {**merged.get(key, {}), **_as_mapping(key, value)}
            else:
                merged[key] = value
    merged["method"] = method.name
    for key, registry in registries.items():
        merged[key] = registry.resolve(merged.get(key, {}))
    judged = merged["objective"].get("own") and merged.get("freeze_until") != "head"
    if "/" in merged["model"]["name"] and not judged:
        # Without it the model's own classifier would never learn.
        merged["readouts"] = {**merged["readouts"], "head": {}}
    merged["readouts"] = {
        name: _readout_options(name, options) for name, options in merged["readouts"].items()
    }
    readouts = ("auto", *merged["readouts"])
    if merged.get("readout", "auto") not in readouts:
        raise unknown(f"readout of '{method.name}'", merged["readout"], readouts)
    for name in merged.get("augment", {}):
        if name not in AugmentConfig.model_fields:
            fields = [f"augment.{field}" for field in AugmentConfig.model_fields]
            raise unknown("configuration key", f"augment.{name}", fields)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(place) for place in first["loc"])
        raise InputError(f"{where}: {first['msg']} (got {first['input']!r})") from None


def _may_be_none(key: str) -> bool:
    field = Config.model_fields.get(key)
    return field is not None and type(None) in get_args(field.annotation)


def _registries() -> dict[str, Registry[Any]]:
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

    return {
        "model": MODELS,
        "partition": PARTITIONS,
        "presentation": PRESENTATIONS,
        "objective": OBJECTIVES,
        "boundary": BOUNDARIES,
        "update": UPDATES,
        "plan": PLANS,
        "optimizer": OPTIMIZERS,
        "lr_schedule": LR_SCHEDULES,
    }


def _readout_options(name: str, options: Any) -> Part:
    """Every option of a readout; the name is the key it stands under."""
    from goodness.readout import READOUTS

    given = _as_mapping(f"readouts.{name}", options)
    if (other := given.get("name", name)) != name:
        raise InputError(
            f"readouts.{name}: a readout's name is its key (got {other!r}; write readouts.{other})"
        )
    resolved = READOUTS.resolve({**given, "name": name})
    del resolved["name"]
    return resolved


def _as_mapping(key: str, value: Any) -> Mapping[str, Any]:
    """A part in its long form."""
    if key == "partition" and isinstance(value, int | str):
        return as_partition(value)
    if isinstance(value, str) and key not in ("augment", "readouts"):
        return {"name": value}
    if isinstance(value, Mapping):
        return value
    raise InputError(f"{key}: a mapping is needed (got {value!r})")


def long_form(given: Mapping[str, Any]) -> dict[str, Any]:
    """Short keys written out: ``lr=0.1`` as ``optimizer={"lr": 0.1}``; they win over the long ones.

    Raises:
        InputError: a partition that is neither a name nor a number.
    """
    values = {key: value for key, value in given.items() if key not in SHORT_FORMS}
    for short, part in SHORT_FORMS.items():
        if short in given:
            chosen = {short: given[short]}
            values[part] = {**_as_mapping(part, values.get(part, {})), **chosen}
    return values


def as_partition(partition: Any) -> Part:
    """The rule that a partition in short stands for: a name, or a number of blocks.

    Raises:
        InputError: it is neither.
    """
    from goodness.partition import PARTITIONS

    text = str(partition)
    if text.isdecimal():
        return {"name": "count", "blocks": int(text)}
    names = [name for name in PARTITIONS if name != "count"]
    if text not in names:
        raise unknown("partition", partition, [*names, "a number of blocks"])
    return {"name": text}


def _merge_part(old: Mapping[str, Any], new: Any, registry: Registry[Any]) -> Part:
    from goodness.registry import options

    new = _as_mapping(registry.kind, new)
    name = new.get("name", old.get("name"))
    if not isinstance(name, str) and (name is not None or "name" in new):
        raise InputError(f"{registry.kind}.name: a name is needed (got {name!r})")
    if name is not None and old.get("name") not in (None, name):
        known = set(options(registry[name]))
        if registry.kind == "model":
            # A network's shape is its own; what its layers are made of is the method's.
            known &= {"norm", "pool", "activation"}
        old = {key: value for key, value in old.items() if key in known}
    return {**old, **new} if name is None else {**old, **new, "name": name}
