"""The layer of a model whose output is the class scores."""

from __future__ import annotations

from torch import nn

from goodness.errors import InputError


def last_linear(model: nn.Module) -> str | None:
    """Its name, if it is a linear layer; an empty one where the model itself is it."""
    found = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    return found[-1] if found else None


def class_count(model: nn.Module) -> int:
    """How many classes a model tells apart.

    Raises:
        InputError: it has no linear layer.
    """
    name = last_linear(model)
    if name is None:
        raise InputError(f"{type(model).__name__} has no linear classifier; say num_classes")
    num_classes: int = model.get_submodule(name).out_features  # type: ignore[assignment]
    return num_classes


def set_classes(model: nn.Module, num_classes: int) -> nn.Module:
    """Give a model a fresh classifier, unless it tells so many classes apart already.

    Returns:
        The model, changed in place; or a new layer where the model was one layer.
    """
    name = last_linear(model)
    if name is None:
        return model
    old = model.get_submodule(name)
    assert isinstance(old, nn.Linear)
    if old.out_features == num_classes:
        return model
    new = nn.Linear(old.in_features, num_classes, old.bias is not None).to(old.weight)
    if not name:
        return new
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)
    return model
