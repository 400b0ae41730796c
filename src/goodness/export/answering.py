"""What every exported program computes: images to class scores, and nothing that trains."""

from __future__ import annotations

import copy
import json
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from goodness.data import Preprocessing
from goodness.exits.records import Calibration
from goodness.network.network import Network

INPUT = "images"
FEW = 2
"""Images in the example that a program is traced with; torch takes 0 and 1 for special."""


class Standardise(nn.Module):
    """`Preprocessing.apply` with its numbers as buffers, so that a program holds them.

    Args:
        preprocessing: the run's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        for name, values in zip(("mean", "std"), applied_statistics(preprocessing), strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (N, C, H, W) to float32 (N, C, H, W)."""
        return (pixels.to(torch.float32) / 255 - self.mean) / self.std


class Answering(nn.Module):
    """A network that answers by one readout; its own copy, on the CPU, in float32.

    Args:
        network: what was trained; it stays as it is.
        preprocessing: the run's.
        readout: which readout answers; None takes the network's.
        exits: whether the scores after every block are a second output.
        with_preprocessing: whether it takes uint8 pixels instead of preprocessed images.
        calibration: of its exits, for programs that leave early; that of another readout is left
            out.
        keep_layout: whether maps may have their channels last in memory, as in training. Only then
            the scores are the network's bit for bit.

    Raises:
        InputError: there is no such readout.
    """

    def __init__(
        self,
        network: Network,
        preprocessing: Preprocessing,
        *,
        readout: str | None = None,
        exits: bool = False,
        with_preprocessing: bool = False,
        calibration: Calibration | None = None,
        keep_layout: bool = False,
    ) -> None:
        super().__init__()
        self.readout = network.chosen_readout(readout)
        self.exits = exits
        self.preprocessing = preprocessing
        used = exits and calibration is not None and calibration.readout == self.readout
        self.calibration = calibration if used else None
        self.standardise = Standardise(preprocessing) if with_preprocessing else None
        self.network = portable(network, keep_layout)
        self.eval()

    @property
    def outputs(self) -> list[str]:
        """The outputs' names."""
        return ["scores", "exits"] if self.exits else ["scores"]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Class scores, with `exits` also those after every block.

        Args:
            images: (N, C, H, W), float32 preprocessed or uint8.

        Returns:
            (N, K); with `exits` also (N, B, K), NaN where a block has no scores.
        """
        if self.standardise is not None:
            images = self.standardise(images)
        found = self.network.outputs(images, None if self.exits else [self.readout])
        scores = found.final(self.readout)
        return (scores, found.stacked_exits(self.readout).transpose(0, 1)) if self.exits else scores

    @property
    def any_batch(self) -> tuple[dict[int, torch.export.Dim], ...]:
        """The dimension of its input that may have any size, for exporters."""
        return ({0: torch.export.Dim("batch", min=1)},)

    def example(self, count: int = FEW) -> Tensor:
        """Blank images as it takes them."""
        kind = torch.float32 if self.standardise is None else torch.uint8
        return torch.zeros(count, *self.network.image_shape, dtype=kind)

    def program(self, batch: int | None = None) -> torch.export.ExportedProgram:
        """The graph that torch.export makes of it.

        Args:
            batch: how many images it takes; None: any number.
        """
        shapes = self.any_batch if batch is None else None
        example = self.example(FEW if batch is None else batch)
        with torch.no_grad():
            return torch.export.export(self, (example,), dynamic_shapes=shapes)

    def metadata(self) -> dict[str, str]:
        """What a program that uses it needs to know, as JSON by name.

        ``mean`` and ``std`` are per channel: a network without preprocessing of its own takes
        (pixels / 255 - mean) / std. ``calibration``, of exits that `Run.calibrate` has set: per
        exit its block, temperature and thresholds.
        """
        mean, std = applied_statistics(self.preprocessing)
        facts: dict[str, Any] = {
            "classes": self.preprocessing.classes,
            "mean": mean,
            "std": std,
            "takes": "float32" if self.standardise is None else "uint8",
            "readout": self.readout,
            "blocks": self.network.names,
            "method": self.network.config.method,
            "goodness": version("goodness"),
        }
        if self.calibration is not None:
            facts["calibration"] = [own.model_dump() for own in self.calibration.exits]
        return {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}


def portable(network: Network, keep_layout: bool = False) -> Network:
    """A copy of a network on the CPU, in evaluation mode and full precision.

    Args:
        network: it stays as it is.
        keep_layout: whether maps may have their channels last in memory.
    """
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    layout = {} if keep_layout else {"channels_last": False}
    copied.config = copied.config.model_copy(update={"amp": "none", **layout})
    return copied.to(memory_format=copied.memory_format)


def applied_statistics(preprocessing: Preprocessing) -> tuple[list[float], list[float]]:
    """Mean and deviation that are applied, per channel: 0 and 1 where none are."""
    if preprocessing.normalize:
        return preprocessing.mean, preprocessing.std
    return [0.0] * preprocessing.channels, [1.0] * preprocessing.channels
