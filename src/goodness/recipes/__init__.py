"""Whole trainings by name, with what they cost and reach: ``goodness train --recipe NAME``."""

from goodness.recipes.base import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe"]
