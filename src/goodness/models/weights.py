"""Weights from a file, a run or a hub into a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from goodness.errors import InputError, reason
from goodness.files import check_regular
from goodness.models.classifier import last_linear
from goodness.sharing.locating import is_name
from goodness.types import Shape

COUNTERS = "num_batches_tracked"


def start_from(
    model: nn.Module,
    part: Mapping[str, Any],
    pretrained: bool,
    init_from: str | None,
    image_shape: Shape,
    num_classes: int,
) -> None:
    """Load the weights that a configuration names, if it names any.

    Args:
        model: changed in place.
        part: its name and options.
        pretrained: whether to load the published ones.
        init_from: or these, see `read_weights`.
        image_shape: input shape (C, H, W).
        num_classes: number of classes.

    Raises:
        InputError: both are given, they cannot be had, or they are another network's.
    """
    if pretrained and init_from:
        raise InputError("pretrained and init_from: give one of them")
    if pretrained:
        from goodness.models.zoo import pretrained_state  # late: imports timm and torchvision

        name = part["name"]
        state = pretrained_state(name, image_shape, num_classes, part.get("args", {}))
        load_weights(model, state, f"what is published for '{name}'")
    elif init_from:
        load_weights(model, read_weights(init_from), f"'{init_from}'")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A model's tensors by their names in the model.

    Args:
        path: a ``.safetensors`` file, a ``.pth`` or ``.pt`` file that holds tensors alone, a run
            folder, for its best weights, or a shared network, see `goodness.load`.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    if is_name(path) or Path(path).is_dir():
        from goodness.run import Run  # late: it builds networks, which may start from weights

        return Run(path, "cpu").network.backbone_state()
    path = Path(path)
    check_regular(path)
    try:
        if path.suffix == ".safetensors":
            return _checked(load_file(path), path)
        _check_size(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sparse tensors, which are refused below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there are no weights at '{path}'") from None
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"'{path}' holds no weights: {reason(error)}") from None
    except InputError:
        raise
    except Exception as error:  # torch's unpickler refuses what is no tensor
        raise InputError(
            f"'{path}' holds more than tensors ({type(error).__name__}); save a state_dict"
        ) from None
    return _checked(state, path)


def _check_size(path: Path) -> None:
    """Refuse an archive that is larger unpacked: torch compresses none."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise InputError(f"'{path}' is compressed, and no file of torch.save")


def _checked(state: object, path: Path) -> dict[str, Tensor]:
    """A state_dict whose tensors are as those of a network's parameters.

    Raises:
        InputError: it is none, or a tensor is sparse, quantised, complex or without values.
    """
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise InputError(f"'{path}' is no state_dict: a mapping of names to tensors")
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise InputError(f"'{path}': tensor '{key}' is sparse, quantised or without values")
        if value.is_complex():
            raise InputError(f"'{path}': tensor '{key}' holds complex numbers")
    return dict(state)


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: str) -> list[str]:
    """Start a model from given weights.

    A classifier for another number of classes stays fresh. A first convolution for colour images is
    summed or repeated over other channels, as in timm.

    Args:
        model: changed in place.
        state: tensors by name.
        source: where they come from, for error messages.

    Returns:
        The names of the tensors that stay fresh.

    Raises:
        InputError: these are another network's weights.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith(COUNTERS)]
    extra = [key for key in state if key not in own]
    classifier = last_linear(model)
    without_head = {key for key in missing if key.startswith(f"{classifier}.")}
    if set(missing) - without_head or (extra and not without_head and classifier):
        named = (sorted(set(missing) - without_head) or extra)[0]
        others = [key for key in own if key in state and state[key].shape != own[key].shape]
        raise InputError(
            f"{source} is not for this network: {len(missing)} of its {len(own)} tensors are"
            f" missing there, {len(extra)} unknown, such as '{named}', and {len(others)} have other"
            " shapes (was it made with other --model-arg?)"
        )
    loaded = {}
    fresh = sorted(without_head)
    for key, value in own.items():
        given = state.get(key)
        if given is None:
            continue
        colour = given.dim() == 4 and given.shape[1] == 3 and len(value.shape) == 4
        # Its other sides are right: a view of few values may pretend to be large.
        colour = colour and (given.shape[0], *given.shape[2:]) == (len(value), *value.shape[2:])
        if colour and given.shape != value.shape and key == f"{_first_conv(model)}.weight":
            from timm.models import adapt_input_conv

            given = adapt_input_conv(value.shape[1], given)
        if given.shape == value.shape:
            loaded[key] = given
        elif key.startswith(f"{classifier}."):
            fresh.append(key)
        else:
            shapes = f"{tuple(given.shape)}, not {tuple(value.shape)}"
            raise InputError(
                f"{source} is not for this network: '{key}' is {shapes} (was it made with other"
                " --model-arg?)"
            )
    model.load_state_dict(loaded, strict=False)
    return fresh


def _first_conv(model: nn.Module) -> str:
    return next((n for n, part in model.named_modules() if isinstance(part, nn.Conv2d)), "")
