"""What each block of a cut network costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from goodness.models.stem import stem_changes
from goodness.partition.pieces import split
from goodness.types import HEAD, Shape

IMAGES = 2
"""As many as a batch norm needs."""


def costs(
    module: nn.Module, image_shape: Shape, num_classes: int, partition: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One record per block, and one for the model's own classifier, ``head``.

    Args:
        module: a network, in training mode afterwards.
        image_shape: the shape (C, H, W) of an image.
        num_classes: number of classes.
        partition: where to cut.

    Returns:
        ``name``, ``input`` and ``output`` (shapes without the batch), ``parameters``, and per image
        ``flops`` (forward, by torch's counter) and ``activation_bytes``: what a step that trains
        this block keeps for its backward pass, in float32; and ``stem``, what was changed in it for
        small images, if anything was.

    Raises:
        InputError: the network cannot be cut.
    """
    x = torch.zeros(IMAGES, *image_shape)
    pieces, head = split(module, x, num_classes, partition)
    parts: list[tuple[str, nn.Module]] = [
        (piece.name, nn.Sequential(piece.body, piece.tail)) for piece in pieces
    ]
    if head is not None:
        parts.append((HEAD, head))
    records = []
    for name, part in parts:
        kept: dict[tuple[int, int], int] = {}
        own = {value.untyped_storage().data_ptr() for value in part.state_dict().values()}

        def note(saved: Tensor, kept: dict[Any, int] = kept, own: set[int] = own) -> Tensor:
            storage = saved.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr(), storage.nbytes()] = storage.nbytes()
            return saved

        hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved)
        with FlopCounterMode(display=False) as counter, hooks:
            output = part.train()(x)
        records.append(
            {
                "name": name,
                "input": list(x.shape[1:]),
                "output": list(output.shape[1:]),
                "parameters": sum(p.numel() for p in part.parameters()),
                "flops": counter.get_total_flops() // IMAGES,
                "activation_bytes": sum(kept.values()) // IMAGES,
            }
        )
        if changes := stem_changes(*part.children()):
            records[-1]["stem"] = changes
        x = output.detach()
    return records
