"""CIFAR-100: as for CIFAR-10, with wider layers and heads."""

from __future__ import annotations

from goodness.recipes.base import BF16, Recipe, fast_frame, register
from goodness.recipes.cifar10 import BEST as CIFAR10_BEST

FAST = register(
    Recipe(
        name="cifar100-fast",
        method="spectral-local",
        values=fast_frame(
            data="cifar100",
            model={
                "name": "cnn",
                "widths": [64, 128, 256, 256, 512, 512],
                "pools": [1, 3, 5],
                "shortcut": "equal",
            },
            epochs=3,
            amp="bf16",
            flip_test=True,
        ),
        own={"objective": {"widths": [256]}},
        hardware="1 CPU core",
        minutes=35,
        accuracy=(65.46, 0.0),
        seeds=1,
        note=BF16,
    )
)

BEST = register(
    Recipe(
        name="cifar100-best",
        method="spectral-local",
        values={**CIFAR10_BEST.values, "data": "cifar100"},
        own={"objective": {"widths": [512]}},
        hardware="one modern GPU",
    )
)
