"""A network that the user already has, trained block by block in their own trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from goodness.config import KEYS, resolve
from goodness.errors import InputError, unknown
from goodness.models.classifier import class_count, set_classes
from goodness.modes import evaluating
from goodness.network.build import build, checked_shape, device_of, is_count
from goodness.network.network import Network
from goodness.partition.pieces import check_parts

OWN = "your own"
"""The name of the data in the configuration of such a network."""
WITHOUT_MEANING = {name for name, key in KEYS.items() if key.scope == "data"}
WITHOUT_MEANING |= {"batch_size", "final_test", "num_workers", "parallel"}


def localize(
    model: str | Mapping[str, Any] | nn.Module | Sequence[nn.Module],
    method: str = "sff",
    partition: str | int | Mapping[str, Any] | None = None,
    *,
    image_shape: Sequence[int],
    num_classes: int | None = None,
    **values: Any,
) -> Network:
    """Cut a network into blocks that learn locally.

    The blocks share the network's own modules: training them trains ``model``, whose
    ``state_dict`` keeps its keys. ``network(x)`` answers as the method does. ``model(x)`` answers
    alike only where the model's own classifier is what answers, trained by the method, and nothing
    stands between the blocks: what a method puts there (its boundary, mostly a norm) is not part of
    ``model``, nor are its heads and readouts. See docs/backbones.md.

        network = localize(resnet18(), "sff", "block", image_shape=(3, 32, 32), num_classes=10)
        learner = Learner(network)
        for x, y in loader:
            learner.step(x, y)
        classes = network.predict(x)

    Args:
        model: a network that takes images (N, C, H, W) and gives class scores (N, K), which
            torch.fx can follow; or a name from ``goodness models``, alone or with options, as in
            ``{"name": "timm/resnet18", "args": {...}}``; or a list of blocks with the classifier
            at its end. It stays on its device, and what a method adds is put there.
        method: a name from ``goodness methods``.
        partition: ``"layer"``, ``"block"``, ``"stage"``, or how many blocks of about equal cost;
            None takes the method's. Of no meaning for a list of blocks.
        image_shape: the shape (C, H, W) of an image.
        num_classes: K; a last linear layer of another width is replaced by a fresh one. None
            takes the model's.
        values: configuration keys, e.g. ``lr=1e-3``. Learning rates are constant unless ``epochs``
            and ``steps_per_epoch`` say how long the run is, or ``lr_schedule`` is given.

    Raises:
        InputError: the network cannot be cut, or a value that is wrong or of no meaning here.
    """
    shape = checked_shape(image_shape)
    for key in values:
        if key not in KEYS:
            raise unknown("argument", key, [*KEYS, "num_classes", "image_shape"])
        if key in WITHOUT_MEANING:
            raise InputError(f"{key}: of no meaning here, where the images come from your own loop")
    if not {"epochs", "steps_per_epoch"} <= values.keys():
        values = {"lr_schedule": "constant", **values}
    chosen: str | Mapping[str, Any]
    module: nn.Module | list[nn.Module] | None = None
    if isinstance(model, str | Mapping):
        chosen = model
    else:
        module = model if isinstance(model, nn.Module) else list(model)
        if not isinstance(module, nn.Module):
            check_parts(module)
        last = module if isinstance(module, nn.Module) else module[-1]
        chosen = "module" if _ends_in_a_map(last, shape) else f"module/{type(last).__name__}"
        if "/" in chosen and num_classes is None:
            num_classes = class_count(last)
        elif "/" in chosen and num_classes is not None:
            last = set_classes(last, _checked(num_classes))
            module = last if isinstance(module, nn.Module) else [*module[:-1], last]
    if num_classes is None:
        raise InputError("num_classes: how many classes shall the network tell apart?")
    _checked(num_classes)
    given = {**values, "model": chosen, "partition": partition, "method": method, "data": OWN}
    return build(resolve(given), image_shape=shape, num_classes=num_classes, module=module)


def _checked(num_classes: Any) -> int:
    if not is_count(num_classes, 2):
        raise InputError(f"num_classes: a whole number from 2 on is needed (got {num_classes!r})")
    return num_classes


def _ends_in_a_map(module: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Whether it is a chain of features without a classifier."""
    if not isinstance(module, nn.Sequential):
        return False
    try:
        with evaluating(module), torch.no_grad():
            return bool(module(torch.zeros(2, *image_shape, device=device_of(module))).dim() == 4)
    except Exception:  # whatever the user's own code raises
        return False  # the cut will say what is wrong
