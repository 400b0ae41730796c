"""What can be named: methods, models, recipes, trained networks and runs."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from goodness.errors import unknown

if TYPE_CHECKING:
    from goodness.results import RunSummary


def list_methods(pattern: str = "*") -> list[str]:
    """The names of methods that are like a pattern, e.g. ``"ff*"``."""
    from goodness.methods import METHODS

    return fnmatch.filter(METHODS, pattern)


def list_recipes(pattern: str = "*") -> list[str]:
    """The names of recipes that are like a pattern, e.g. ``"cifar10*"``."""
    from goodness.recipes import RECIPES

    return fnmatch.filter(RECIPES, pattern)


def list_models(pattern: str = "*", family: str | None = None) -> list[str]:
    """The names of models that are like a pattern.

    Args:
        pattern: e.g. ``"vgg*"``.
        family: ``"torchvision"`` or ``"timm"``, whose models are named ``family/name``; None lists
            those of this package.

    Raises:
        InputError: an unknown family.
    """
    from goodness.models import FAMILIES, MODELS

    if family is None:
        return fnmatch.filter(MODELS, pattern)
    if family not in FAMILIES:
        raise unknown("family of models", family, FAMILIES)
    from goodness.models.zoo import names

    return [f"{family}/{name}" for name in fnmatch.filter(names(family), pattern)]


def list_pretrained(pattern: str = "*") -> list[str]:
    """The names of trained networks that this package ships, for `goodness.load`.

    Args:
        pattern: e.g. ``"*mnist"``.
    """
    from goodness.sharing.locating import pretrained_names

    return fnmatch.filter(pretrained_names(), pattern)


def list_runs(folder: str | Path = "runs") -> list[RunSummary]:
    """The runs below a folder, at any depth, the newest first; told from their files.

    Raises:
        InputError: there is no such folder.
    """
    from goodness.training.run_list import summaries

    return summaries(Path(folder))
