"""Images from a name or a folder: read, split, prepared, augmented and served in batches.

The names below are imported on first use, so that ``goodness.data.settings`` and
``goodness.data.catalogue``, which the command line reads on every start, do not pull in torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from goodness.data.augmentation import Augmentation
    from goodness.data.catalogue import data_names
    from goodness.data.opening import Dataset, open_data, open_split
    from goodness.data.preprocessing import Preprocessing
    from goodness.data.settings import AugmentConfig
    from goodness.data.split import Split
    from goodness.data.splitting import Subset

__all__ = [
    "AugmentConfig",
    "Augmentation",
    "Dataset",
    "Preprocessing",
    "Split",
    "Subset",
    "data_names",
    "open_data",
    "open_split",
]

_HOMES = {
    "AugmentConfig": "settings",
    "Augmentation": "augmentation",
    "Dataset": "opening",
    "Preprocessing": "preprocessing",
    "Split": "split",
    "Subset": "splitting",
    "data_names": "catalogue",
    "open_data": "opening",
    "open_split": "opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
