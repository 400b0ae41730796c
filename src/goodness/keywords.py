"""The configuration's keys as keywords, so that editors and type checkers know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

PartLike = str | Mapping[str, Any]
"""A part by its name, or its options with or without it."""


class ConfigValues(TypedDict, total=False):
    """What can be said of a run beside its method and data; `goodness.config.Config` says what."""

    imports: Sequence[str | Path]
    presentation: PartLike
    objective: PartLike
    boundary: PartLike
    update: PartLike
    plan: PartLike
    readouts: Mapping[str, Mapping[str, Any] | None]
    readout: str
    model: PartLike
    partition: int | PartLike
    pretrained: bool
    init_from: str | Path | None
    freeze_until: str | int | None
    data_root: str | Path | None
    image_size: int | None
    class_names: Sequence[str | int] | None
    per_class: int | None
    val_fraction: float
    normalize: bool
    skip_unreadable: bool
    augment: Mapping[str, Any]
    epochs: int
    batch_size: int
    steps_per_epoch: int | None
    recipe: str | None
    seed: int
    final_test: bool
    early_stopping: int | Mapping[str, Any] | None
    checkpoint: Mapping[str, Any]
    log: Sequence[str]
    optimizer: PartLike
    lr_schedule: PartLike
    lr_factors: Sequence[float] | None
    accumulate_steps: int
    micro_batch: int | None
    ghost_norm: bool
    clip_grad_norm: float | None
    ema: float | None
    label_smoothing: float | Sequence[float]
    flip_test: bool
    class_weights: Literal["balanced"] | Sequence[float] | None
    class_difficulty: float | None
    device: str
    num_workers: int
    num_threads: int | None
    parallel: Literal["none", "layers", "data"]
    amp: Literal["none", "bf16", "fp16"]
    max_pixels: int
    channels_last: bool
    compile: bool | Literal["reduce-overhead", "max-autotune"]
    recompute: bool
    feature_cache: str | Path | None
    lr: float
    weight_decay: float
