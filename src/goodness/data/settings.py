"""The options of the data part of a configuration; kept free of torch."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from goodness.types import Inside, NonNegativeInt

Strength = Annotated[float, Field(ge=0)]
Padding = Literal["zeros", "reflect"]
Mixture = Literal["mixup", "cutmix", "attentive_cutmix"]
ATTENTION_GRID = 8
"""Cells per side of an image whose parts are compared."""
MAX_PIXELS = 64_000_000
"""An image of more is refused unless a larger limit is asked for: a file of 600 kB may hold 170
million pixels, whose decoding takes 3 GB."""
HueStrength = Annotated[float, Field(ge=0, le=0.5)]


class AugmentConfig(BaseModel):
    """How training images are varied; the default leaves them as they are."""

    model_config = ConfigDict(extra="forbid")

    crop: NonNegativeInt | Inside = Field(
        0,
        description="pad by this many pixels and crop at random; a number below 1: by this share of"
        " the shorter side",
    )
    padding: Padding = Field(
        "zeros", description="what a crop is padded with: pixels of 0, or the image's own, mirrored"
    )
    flip: bool | Literal["alternate"] = Field(
        False,
        description="mirror left and right with probability 1/2; alternate: so in the first pass"
        " over the images, and each image in every other pass from there on",
    )
    jitter: tuple[Strength, Strength, Strength, HueStrength] | None = Field(
        None, description="strengths of brightness, contrast, saturation and hue jitter"
    )
    grayscale: float = Field(0.0, ge=0, le=1, description="probability of a grey colour image")
    cutout: int = Field(0, ge=0, description="side in pixels of a random grey square")
    mixup: Strength = Field(
        0.0, description="alpha: blend pairs of images and labels, by shares drawn from Beta(a, a)"
    )
    cutmix: Strength = Field(
        0.0, description="alpha: paste a rectangle of another image, whose area is drawn likewise"
    )
    attentive_cutmix: int = Field(
        0,
        ge=0,
        lt=ATTENTION_GRID**2,
        description=f"paste so many of the {ATTENTION_GRID} x {ATTENTION_GRID} cells of another"
        " image, those where the first block's map is strongest",
    )
    mix_share: float = Field(
        1.0, ge=0, le=1, description="of the batches that are mixed, each in one way that is on"
    )

    @property
    def mixing(self) -> tuple[Mixture, ...]:
        """The ways of mixing images that are on."""
        ways = get_args(Mixture) if self.mix_share else ()
        return tuple(way for way in ways if getattr(self, way))
