"""What the page shows about an image; no part of it knows the page."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageChops, ImageOps
from torch import Tensor

from goodness.data.images import FORMATS
from goodness.errors import InputError
from goodness.exits.calibrate import exits_of
from goodness.reports.explanation import draw_explanation

if TYPE_CHECKING:
    from goodness.run import Run

MOST_BYTES, MOST_PIXELS = 20_000_000, 40_000_000
"""Of an image file; larger ones are refused before they are decoded."""
MARGIN = 0.2
"""Around a drawing, of its longer side: MNIST's digits have 20 of 28 pixels."""
FAINT = 32
"""Differences from white up to this one are no ink."""


@dataclass(frozen=True)
class Belief:
    """What the network would answer after one block."""

    block: str
    own: str | None
    """The class that the block alone answers; None where it has no scores."""
    own_probability: float | None
    answer: str | None
    """The class that the network would answer here; None where nothing can yet."""
    probability: float | None
    exits: bool
    """Whether the answer is taken here."""


@dataclass(frozen=True)
class Answer:
    """What the network says about an image."""

    probabilities: dict[str, float]
    """Of every class, where the answer is taken."""
    beliefs: list[Belief]
    """In network order."""
    skipped: int
    """Blocks behind the one where the answer is taken."""
    seen: Image.Image
    """The image as the network gets it."""
    picture: Image.Image
    """What every block responds to, see `goodness.explain`."""


def answer(run: Run, image: Image.Image | str | Path, threshold: float | None = 1.0) -> Answer:
    """Ask a network about an image.

    The answer is taken after the first block where the most probable class has at least
    ``threshold`` (the softmax of `goodness.Network.exits`), or else at the end.

    Args:
        run: whose network.
        image: a Pillow image or a file.
        threshold: 0 to 1; of one that no probability reaches, the last block answers. None: the
            temperatures and thresholds that `goodness.Run.calibrate` has found, if it was called.

    Raises:
        InputError: no image, or one that is too large.
    """
    if not isinstance(image, Image.Image):
        check_image(Path(image))
    pixels = run.preprocessing.load(image)
    network = run.network
    x = run.preprocessing(pixels).to(network.device)
    with torch.no_grad():
        scores = network.exits(x)[:, 0].float().cpu()
    blocks = network.evaluate(x, list(network.readouts)).blocks
    alone = [None if s is None else s[0].float().softmax(0).cpu() for s in blocks]
    temperatures, thresholds = limits(run, threshold)
    shares = (scores / temperatures).softmax(1)
    place = taken(shares, thresholds)
    names = zip(network.names, shares, alone, strict=True)
    beliefs = [
        Belief(name, *_best(run, own), *_best(run, total), exits=index == place)
        for index, (name, total, own) in enumerate(names)
    ]
    return Answer(
        probabilities=dict(zip(run.classes, shares[place].tolist(), strict=True)),
        beliefs=beliefs,
        skipped=len(network) - 1 - place,
        seen=to_pil(pixels),
        picture=_explained(run, pixels),
    )


def limits(run: Run, threshold: float | None) -> tuple[Tensor, Tensor]:
    """What scores are divided by, and the probability at which an answer is taken.

    Args:
        run: whose network.
        threshold: the same for all blocks and classes; None: as calibrated, or never before the
            last block.

    Returns:
        Temperatures (B, 1) and thresholds (B, K).
    """
    blocks = len(run.network)
    temperatures = torch.ones(blocks, 1)
    never = float("inf")
    thresholds = torch.full((blocks, len(run.classes)), never if threshold is None else threshold)
    if threshold is None and run.calibration is not None:
        for place, exit_ in exits_of(run.calibration.exits, torch.device("cpu")).items():
            temperatures[place], thresholds[place] = exit_.temperature, exit_.thresholds
    return temperatures, thresholds


def taken(shares: Tensor, thresholds: Tensor) -> int:
    """The place of the block after which an answer is taken.

    Args:
        shares: class probabilities (B, K) after every block; NaN where there are none yet.
        thresholds: (B, K), the least that the most probable class must have.
    """
    best, answer = shares.max(1)
    sure = best >= thresholds.gather(1, answer[:, None])[:, 0]  # NaN never is
    return int(sure.nonzero()[0]) if sure.any() else len(shares) - 1


def check_image(path: Path) -> None:
    """Refuse what is no image, or too large, by its header.

    Raises:
        InputError: naming which of both.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"the file has {size / 1e6:.0f} MB; at most 20 MB are taken")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise InputError("the image has too many pixels; at most 40 million are taken") from None
    except InputError:
        raise
    except Exception:  # Pillow's readers raise many kinds
        raise InputError(f"this is no image that can be read ({', '.join(FORMATS)})") from None
    if width * height > MOST_PIXELS:
        raise InputError(f"the image has {width} x {height} pixels; at most 40 million are taken")


def drawing(run: Run, sketch: Image.Image | None) -> Image.Image:
    """A sketch on white paper as an image like those that the network was trained on.

    It is framed as MNIST's digits are, in a square with a margin around the ink, and is light on
    dark where the training images are dark.

    Args:
        run: whose network.
        sketch: dark on white or transparent paper.

    Raises:
        InputError: nothing is drawn.
    """
    paper = Image.new("RGBA", (1, 1) if sketch is None else sketch.size, "white")
    if sketch is not None:
        paper = Image.alpha_composite(paper, sketch.convert("RGBA"))
    ink = ImageOps.invert(paper.convert("L"))
    box = ink.point(lambda value: 255 if value > FAINT else 0).getbbox()
    if box is None:
        raise InputError("nothing is drawn yet")
    ink = ink.crop(box)
    side = round(max(ink.size) * (1 + 2 * MARGIN))
    square = Image.new("L", (side, side))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    return square if np.mean(run.preprocessing.mean) < 0.5 else ImageChops.invert(square)


def to_pil(pixels: Tensor) -> Image.Image:
    """An image uint8 (C, H, W), C 1 or 3, for Pillow."""
    array = pixels.cpu().numpy()
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


def _best(run: Run, shares: Tensor | None) -> tuple[str | None, float | None]:
    """The most probable class and its probability."""
    if shares is None or shares.isnan().any():
        return None, None
    probability, index = shares.max(0)
    return run.classes[int(index)], float(probability)


def _explained(run: Run, pixels: Tensor) -> Image.Image:
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "explained.png"
        draw_explanation(run.explain(pixels), pixels, run.classes, path)
        with Image.open(path) as picture:
            picture.load()
            return picture
