"""Networks of torchvision and timm by name: ``torchvision/resnet18``, ``timm/convnext_atto``."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import timm
import torchvision
from torch import Tensor, nn

from goodness.errors import InputError, reason
from goodness.models.base import FAMILIES
from goodness.models.stem import fit_stem
from goodness.types import Shape

OF_BUILDERS = {
    *("bn_eps", "bn_momentum", "bn_tf", "drop_connect_rate"),  # timm's EfficientNet
    *("width_mult", "reduced_tail", "dilated"),  # torchvision's MobileNetV3
}
"""Arguments that functions around a constructor turn into some of its own."""
Stem = Literal["auto", "own"]


def names(family: str) -> list[str]:
    """The models of a family that classify images."""
    if family == "timm":
        return list(timm.list_models())
    return list(torchvision.models.list_models(module=torchvision.models))


@cache
def from_family(family: str, model: str) -> Callable[..., nn.Module]:
    """The builder of a network.

    Raises:
        InputError: a name that the family does not have.
    """
    known = names(family)
    if model.partition(".")[0] not in known:
        near = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(f'{family}/{name}' for name in near)}?" if near else ""
        raise InputError(
            f"{family} has no model '{model}'{hint} (all of them: goodness models {family})"
        )

    def build(
        image_shape: Shape,
        num_classes: int,
        *,
        args: dict[str, Any] = {},  # noqa: B006
        stem: Stem = "auto",
    ) -> nn.Module:
        """A network of torchvision or timm, with fresh weights.

        Args:
            image_shape: input shape (C, H, W).
            num_classes: number of classes.
            args: for the network's own constructor.
            stem: ``"auto"`` leaves out early strides and poolings where the last map would have
                fewer than 4 pixels a side, as is usual for 32-pixel images.
        """
        _check_arguments(family, model, args)
        try:
            network = _construct(family, model, image_shape, num_classes, args, pretrained=False)
        except Exception as error:  # whatever a constructor makes of values it does not expect
            shown = ", ".join(f"{key}={value!r}" for key, value in args.items())
            raise InputError(
                f"{family}/{model} cannot be built for images of {'x'.join(map(str, image_shape))}"
                f"{f' with {shown}' if shown else ''}: {reason(error)}"
            ) from None
        return fit_stem(network, image_shape, num_classes) if stem == "auto" else network

    return build


def pretrained_state(
    name: str, image_shape: Shape, num_classes: int, args: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The published weights of a network; downloaded, or from the library's cache.

    Raises:
        InputError: there are none, or they cannot be had.
    """
    family, _, model = name.partition("/")
    if family not in FAMILIES:
        raise InputError(f"--pretrained: there are no published weights of '{name}'")
    _check_arguments(family, model, args)
    try:
        return _construct(
            family, model, image_shape, num_classes, args, pretrained=True
        ).state_dict()
    except Exception as error:  # of a hub: no network, no such file, a broken download
        raise InputError(
            f"the published weights of '{name}' cannot be had: {reason(error)}"
            " (give a file with --init-from)"
        ) from None


def _check_arguments(family: str, model: str, args: Mapping[str, Any]) -> None:
    """Allow the arguments of a network's own constructor alone, as the configuration may be of
    somebody else: those of the libraries' functions around it read files and download.

    Raises:
        InputError: another one.
    """
    known = _arguments(family, model.partition(".")[0])
    for name in args:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise InputError(
                f"model.args.{name} is no argument of {family}/{model}'s constructor{hint} (weights"
                " are read by --init-from and --pretrained alone)"
            )


@cache
def _arguments(family: str, model: str) -> frozenset[str]:
    """The parameters of the modules in the file that a network comes from."""
    if family == "timm":
        builder = timm.models.model_entrypoint(model)
    else:
        builder = torchvision.models.get_model_builder(model)
    parts = vars(sys.modules[builder.__module__]).values()
    modules = [part for part in parts if inspect.isclass(part) and issubclass(part, nn.Module)]
    found = {name for module in modules for name in inspect.signature(module).parameters}
    return frozenset(found | OF_BUILDERS) - {"self", "args", "kwargs"}


def _construct(
    family: str,
    model: str,
    image_shape: Shape,
    num_classes: int,
    args: Mapping[str, Any],
    pretrained: bool,
) -> nn.Module:
    given: dict[str, Any] = {"num_classes": num_classes, **args}
    if family == "timm":
        given = {"in_chans": image_shape[0], **given}
        # Transformers with learnt positions are built for one size.
        if timm.get_pretrained_cfg_value(model, "fixed_input_size"):
            given = {"img_size": image_shape[1:], **given}
        network: nn.Module = timm.create_model(model, pretrained=pretrained, **given)
        return network
    if model.startswith("vit_"):
        given = {"image_size": image_shape[1], **given}
    if pretrained:
        # Published classifiers tell other classes apart.
        return torchvision.models.get_model(model, weights="DEFAULT")
    return _with_channels(torchvision.models.get_model(model, **given), image_shape[0])


def _with_channels(network: nn.Module, channels: int) -> nn.Module:
    """A torchvision network, all of which are made for colour, for images of other channels."""
    name, first = next(
        (name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d)
    )
    if first.in_channels != channels:
        options = {
            key: getattr(first, key)
            for key in inspect.signature(nn.Conv2d).parameters
            if hasattr(first, key) and key not in ("in_channels", "bias")
        }
        new = nn.Conv2d(channels, bias=first.bias is not None, **options)
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, new)
    return network
