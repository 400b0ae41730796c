"""Random variations of training images, drawn anew for each image of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodness.data.settings import AugmentConfig


class Augmentation(nn.Module):
    """Crops, flips, recolours and cuts out, on the device of the batch.

    Randomness comes from torch's default generators: after the same ``torch.manual_seed``
    the same batch gives the same result.

    Args:
        config: which variations, and how strong.
        image_shape: (C, H, W) of the images.
    """

    def __init__(self, config: AugmentConfig, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.crop = config.crop
        self.flip = config.flip
        self.recolour = nn.Sequential(*_kornia_modules(config, image_shape))

    def forward(self, images: Tensor) -> Tensor:
        """Float images (N, C, H, W) in [0, 1] to varied ones of the same shape and range."""
        if self.crop or self.flip:
            images = random_crop_flip(images, self.crop, self.flip)
        return self.recolour(images)


def random_crop_flip(images: Tensor, padding: int, flip: bool) -> Tensor:
    """Shift each image (N, C, H, W) by up to ``padding`` pixels over 0, and mirror half of them.

    kornia's modules warp one image after the other or resample; one gather for the whole batch
    is twenty times as fast on a CPU and moves pixels exactly.
    """
    count, channels, height, width = images.shape
    device = images.device
    top, left = torch.randint(2 * padding + 1, (2, count, 1), device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    if flip:
        mirrored = torch.rand(count, 1, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, [padding] * 4)
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
