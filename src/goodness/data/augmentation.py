"""Random variations of training images, drawn anew for each image of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodness.data.settings import AugmentConfig, Padding
from goodness.errors import InputError


class Augmentation(nn.Module):
    """Crops, flips, recolours and cuts out, on the device of the batch.

    Randomness comes from torch's default generators: after the same ``torch.manual_seed``
    the same batch gives the same result.

    Args:
        config: which variations, and how strong.
        image_shape: (C, H, W) of the images.

    Raises:
        InputError: a padding that mirrors more pixels than there are.
    """

    def __init__(self, config: AugmentConfig, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        side = min(image_shape[1:])
        crop = config.crop
        self.crop = crop if isinstance(crop, int) else max(1, round(crop * side))
        """In pixels."""
        if config.padding == "reflect" and self.crop >= side:
            raise InputError(
                f"augment.crop: {self.crop} pixels cannot be mirrored from an image with sides of"
                f" {side} (use at most {side - 1}, or augment.padding=zeros)"
            )
        self.padding = config.padding
        self.flip = bool(config.flip)
        self.recolour = nn.Sequential(*_kornia_modules(config, image_shape))

    def forward(self, images: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """Vary images, which keep their shape and range.

        Args:
            images: float (N, C, H, W) in [0, 1].
            mirrored: bool (N,), those that are mirrored, see `Flips`; None draws them, if any.
        """
        if self.crop or self.flip:
            flip = self.flip if mirrored is None else mirrored
            images = random_crop_flip(images, self.crop, flip, self.padding)
        return self.recolour(images)


class Flips:
    """Which training images are mirrored where flips alternate (airbench94, arXiv 2404.00498).

    Every image is mirrored with probability 1/2 in the first pass over the images, and from there
    on in every other pass. In two passes it is so seen both ways, where independent draws show
    half of the images the same way twice. A pass is one shuffle of all images, whatever part of it
    an epoch has (``steps_per_epoch``); an image of the last, smaller batch, which is left out, is
    seen in the next pass as that pass has it.

    Args:
        images: how many there are.
        seed: decides the first pass.
    """

    def __init__(self, images: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._first = torch.rand(images, generator=generator) < 0.5

    def at(self, rows: Tensor, number: int) -> Tensor:
        """Those of some images, bool (n,), on the CPU.

        Args:
            rows: int64 (n,), the images.
            number: of the pass, counted from 0.
        """
        return self._first[rows] ^ (number % 2 == 1)


def random_crop_flip(
    images: Tensor, padding: int, flip: bool | Tensor, mode: Padding = "zeros"
) -> Tensor:
    """Shift each image (N, C, H, W) by up to ``padding`` pixels, and mirror half of them.

    kornia's modules warp one image after the other or resample; one gather for the whole batch
    is twenty times as fast on a CPU and moves pixels exactly.

    Args:
        images: float (N, C, H, W).
        padding: largest shift.
        flip: whether half of them are mirrored; or bool (N,), those that are.
        mode: what stands beside the images, see `AugmentConfig`.
    """
    count, channels, height, width = images.shape
    device = images.device
    top, left = torch.randint(2 * padding + 1, (2, count, 1), device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    if flip is True:
        flip = torch.rand(count, device=device) < 0.5
    if flip is not False:
        columns = torch.where(flip.to(device)[:, None], columns.flip(1), columns)
    padded = F.pad(images, [padding] * 4, "constant" if mode == "zeros" else mode)
    pixels = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    index = pixels.view(count, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view_as(images)


def _kornia_modules(config: AugmentConfig, image_shape: tuple[int, int, int]) -> list[nn.Module]:
    channels, height, width = image_shape
    modules: list[nn.Module] = []
    colour = channels == 3
    if not (config.jitter or config.cutout or (config.grayscale and colour)):
        return modules
    # Imported here: it takes a second, which most runs need not wait for.
    import kornia.augmentation as K

    if config.jitter:
        brightness, contrast, saturation, hue = config.jitter
        if not colour:  # a grey image has neither
            saturation = hue = 0.0
        modules.append(K.ColorJitter(brightness, contrast, saturation, hue))
    if config.grayscale and colour:
        modules.append(K.RandomGrayscale(p=config.grayscale))
    if config.cutout:
        side = min(config.cutout, height, width)
        share = side * side / (height * width)
        modules.append(K.RandomErasing(scale=(share, share), ratio=(1.0, 1.0), value=0.5, p=1.0))
    return modules
