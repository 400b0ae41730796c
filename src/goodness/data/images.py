"""From one encoded image, whatever its format and mode, to uint8 pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from goodness.data.settings import MAX_PIXELS
from goodness.errors import InputError
from goodness.files import check_regular

Pixels = NDArray[np.uint8]

# The commonest first: Pillow tries one after the other, which for small images is most of the
# time. Leaving the rest out also keeps files of strange formats from starting other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
ORIENTATION = ExifTags.Base.Orientation
EXTENSIONS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def open_image(file: Path | IO[bytes], max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image in a file, decoded and upright; raises what Pillow raises on a broken one.

    Args:
        file: its path, or its content.
        max_pixels: height times width; an image of more is refused before it is decoded.

    Raises:
        InputError: it has more pixels, or is a pipe or a device.
    """
    with _header(file) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise InputError(
                f"{width}x{height} is more than {max_pixels:,} pixels (--max-pixels raises the"
                " limit)"
            )
        if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
            # Some decoders of Pillow look at its own limit again. It is never lowered here.
            Image.MAX_IMAGE_PIXELS = max_pixels
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # else even an upright image is copied
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    return image


def image_size(file: Path | IO[bytes]) -> tuple[int, int]:
    """(height, width) of the upright image in a file, from its header alone."""
    with _header(file) as image:
        width, height = image.size
        # Asking for EXIF that is not there would decode a PNG.
        turned = "exif" in image.info and image.getexif().get(ORIENTATION, 1) >= 5
    return (width, height) if turned else (height, width)


@contextmanager
def _header(file: Path | IO[bytes]) -> Iterator[ImageFile.ImageFile]:
    """What `PIL.Image.open` gives, without its own limit, which holds for the whole process."""
    if isinstance(file, Path):
        check_regular(file)
        with file.open("rb") as content:
            yield _identified(content)
    else:
        yield _identified(file)


def _identified(content: IO[bytes]) -> ImageFile.ImageFile:
    start = content.read(16)
    for name in FORMATS:
        if name not in Image.OPEN:
            Image.init()
        make, accepts = Image.OPEN[name]
        if accepts is not None and accepts(start) is not True:
            continue
        content.seek(0)
        try:
            return make(content, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # not this format after all
            continue
    raise UnidentifiedImageError(f"no image of a format that is read ({', '.join(FORMATS)})")


def to_pixels(
    image: Image.Image, channels: int | None = None, size: tuple[int, int] | None = None
) -> Pixels:
    """The uint8 pixels (C, H, W) of an image of any mode.

    Args:
        image: any image; transparency is laid on white.
        channels: 1 or 3; None keeps a grey image at 1 and gives any other 3.
        size: (height, width) to resize to, covering it and cropping the centre; None keeps it.
    """
    image = _grey_or_rgb(image)
    if channels is not None and channels != len(image.getbands()):
        image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and (image.height, image.width) != size:
        # Pillow's bilinear filter widens with the reduction, so it does not alias.
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow clips 16-bit values when it converts them to 8 bits, where scaling is wanted.
        deep = np.asarray(image).clip(0, 65535)
        return Image.fromarray(np.round(deep / 257).astype(np.uint8))
    grey = image.mode in ("1", "L", "LA")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("L" if grey else "RGB")
