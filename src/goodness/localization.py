"""A network that the user already has, trained block by block in their own loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from goodness.config import resolve
from goodness.engine.build import build, device_of
from goodness.engine.network import Network
from goodness.errors import InputError
from goodness.models.classifier import class_count, set_classes
from goodness.partition.pieces import check_parts
from goodness.partition.tracing import evaluating

OWN = "your own"
"""The name of the data in the configuration of such a network."""


def localize(
    model: str | Mapping[str, Any] | nn.Module | Sequence[nn.Module],
    method: str = "sff",
    granularity: str | int | None = None,
    num_classes: int | None = None,
    example_input: Tensor | Sequence[int] | None = None,
    **values: Any,
) -> Network:
    """Cut a network into blocks that learn locally.

    The blocks share the network's own modules: training them trains ``model``, whose
    ``state_dict`` keeps its keys. What a method puts between blocks (its boundary, mostly a norm)
    is not part of ``model``, so that ``model(x)`` alone computes something else than the blocks in
    a row, except with ``boundary="identity"``.

        network = localize(resnet18(), "sff", "block", num_classes=10, example_input=(3, 32, 32))
        for x, y in loader:
            loss = network.step(x, y)
        guesses = network.predict(x)

    Args:
        model: a network that takes images (N, C, H, W) and gives class scores (N, K), which
            torch.fx can follow; or a name from ``goodness models``, alone or with options, as in
            ``{"name": "timm/resnet18", "args": {...}}``; or a list of blocks with the classifier
            at its end. It stays on its device, and what a method adds is put there.
        method: a name from ``goodness methods``.
        granularity: ``"layer"``, ``"block"``, ``"stage"``, or how many blocks of about equal cost;
            None takes the method's. Of no meaning for a list of blocks.
        num_classes: K; a last linear layer of another width is replaced by a fresh one. None
            takes the model's.
        example_input: images (N, C, H, W), or the shape (C, H, W) of one.
        values: configuration keys, e.g. ``lr=1e-3``. Learning rates are constant unless ``epochs``
            and ``steps_per_epoch`` say how long the run is, or ``rate`` is given.

    Raises:
        InputError: the network cannot be cut, or the method needs to know the run's length.
    """
    image = _image_shape(example_input)
    if not {"epochs", "steps_per_epoch"} <= values.keys():
        values = {"rate": "constant", **values}
    chosen: str | Mapping[str, Any]
    module: nn.Module | list[nn.Module] | None = None
    if isinstance(model, str | Mapping):
        chosen = model
    else:
        module = model if isinstance(model, nn.Module) else list(model)
        if not isinstance(module, nn.Module):
            check_parts(module)
        last = module if isinstance(module, nn.Module) else module[-1]
        chosen = "module" if _ends_in_a_map(last, image) else f"module/{type(last).__name__}"
        if "/" in chosen and num_classes is None:
            num_classes = class_count(last)
        elif "/" in chosen and num_classes is not None:
            last = set_classes(last, _checked(num_classes))
            module = last if isinstance(module, nn.Module) else [*module[:-1], last]
    if num_classes is None:
        raise InputError("num_classes: how many classes shall the network tell apart?")
    _checked(num_classes)
    given = {**values, "model": chosen, "granularity": granularity, "method": method, "data": OWN}
    return build(resolve(given), image=image, classes=num_classes, module=module)


def _checked(classes: int) -> int:
    if not is_count(classes, 2):
        raise InputError(f"num_classes: a whole number from 2 on is needed (got {classes!r})")
    return classes


def is_count(value: object, least: int = 1) -> TypeGuard[int]:
    """Whether it is a whole number, numpy's among them, and large enough."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_image_shape(shape: object) -> TypeGuard[Sequence[int]]:
    """Whether it can be the shape (C, H, W) of an image."""
    return isinstance(shape, Sequence) and len(shape) == 3 and all(map(is_count, shape))


def _image_shape(example: Tensor | Sequence[int] | None) -> tuple[int, int, int]:
    shape = tuple(example.shape[1:]) if isinstance(example, Tensor) else example
    if not is_image_shape(shape):
        got: Any = tuple(example.shape) if isinstance(example, Tensor) else example
        if not isinstance(got, Sequence | int | None):  # an array has several lines
            got = type(got).__name__
        raise InputError(
            "example_input: images (N, C, H, W) as a tensor or the shape (C, H, W) of one are"
            f" needed, such as (3, 32, 32) (got {got})"
        )
    channels, height, width = map(int, shape)
    return channels, height, width


def _ends_in_a_map(module: nn.Module, image: tuple[int, int, int]) -> bool:
    """Whether it is a chain of features without a classifier."""
    if not isinstance(module, nn.Sequential):
        return False
    try:
        with evaluating(module), torch.no_grad():
            return bool(module(torch.zeros(2, *image, device=device_of(module))).dim() == 4)
    except Exception:  # whatever the user's own code raises
        return False  # the cut will say what is wrong
