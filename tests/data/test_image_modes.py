from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from goodness.data.images import open_image, to_pixels


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return to_pixels(open_image(tmp_path / name))


def palette():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.putpixel((1, 0), 1)
    return image


DEEP = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
WHITE = np.full((2, 2), 255)


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.new("L", (5, 4), 77), {}, np.full((1, 4, 5), 77)),
        (Image.fromarray(np.eye(4, dtype=bool)), {}, 255 * np.eye(4)[None]),
        (Image.new("RGB", (5, 4), (10, 20, 30)), {}, np.tile([[[10]], [[20]], [[30]]], (4, 5))),
        # What is transparent lies on white.
        (Image.new("RGBA", (2, 2), (0, 0, 100, 0)), {}, np.stack([WHITE] * 3)),
        (Image.merge("LA", [Image.new("L", (2, 2), 0)] * 2), {}, WHITE[None]),
        (palette(), {}, [[[200, 0]], [[0, 100]], [[0, 0]]]),
        (palette(), {"transparency": 0}, [[[255, 0]], [[255, 100]], [[255, 0]]]),
        # Sixteen bits are scaled, not clipped.
        (Image.fromarray(DEEP), {}, [[[0, 1, 128, 255]]]),
    ],
    ids=["L", "1", "RGB", "RGBA", "LA", "P", "P-transparent", "I;16"],
)
def test_every_mode_becomes_grey_or_colour(tmp_path, image, options, expected):
    np.testing.assert_array_equal(saved(tmp_path, image, **options), expected)


def test_half_transparent_is_half_white(tmp_path):
    half = saved(tmp_path, Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    assert abs(int(half[0, 0, 0]) - 127) <= 1


def test_cmyk_becomes_rgb(tmp_path):
    pixels = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "image.jpg")
    red, green, _ = pixels[:, 4, 4]
    assert red > 200
    assert green < 60


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_exif_rotation_is_undone(tmp_path, suffix):
    image = Image.new("RGB", (32, 16))
    image.paste((255, 255, 255), (0, 0, 16, 16))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    pixels = saved(tmp_path, image, f"image.{suffix}", exif=exif)
    assert pixels.shape == (3, 32, 16)
    assert pixels[:, :14].min() > 200  # what was left is on top
    assert pixels[:, 18:].max() < 60


def test_floating_point_is_refused(tmp_path):
    with pytest.raises(ValueError, match="floating-point"):
        saved(tmp_path, Image.new("F", (2, 2), 0.5), "image.tiff")


def test_channels_can_be_chosen():
    assert to_pixels(Image.new("L", (2, 2), 9), channels=3).tolist() == [[[9, 9]] * 2] * 3
    assert to_pixels(Image.new("RGB", (2, 2), (9, 9, 9)), channels=1).tolist() == [[[9, 9]] * 2]


def test_resize_covers_and_crops_the_centre():
    wide = Image.new("L", (40, 20), 255)
    wide.paste(0, (10, 0, 30, 20))  # black centre square between white sides
    pixels = to_pixels(wide, size=(10, 10))
    assert pixels.shape == (1, 10, 10)
    assert pixels[:, :, 1:-1].max() == 0


def test_resize_does_not_alias():
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = to_pixels(Image.fromarray(stripes), size=(8, 8))
    assert abs(pixels[:, :, 2:-2].astype(int) - 127).max() < 10
