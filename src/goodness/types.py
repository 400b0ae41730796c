"""Types that several parts share; numbers carry their range, which options are checked against."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

Shape = tuple[int, int, int]
"""(C, H, W)."""
Part = dict[str, Any]
"""A choice on an axis with its options, ``{"name": ..., option: value}``."""

HEAD = "head"
"""What a model's own classifier is called where blocks go by their names."""

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Inside = Annotated[float, Field(gt=0, lt=1)]
"""0 < x < 1."""
Fraction = Annotated[float, Field(ge=0, lt=1)]
"""0 <= x < 1."""
Share = Annotated[float, Field(ge=0, le=1)]
"""0 <= x <= 1."""
PositiveShare = Annotated[float, Field(gt=0, le=1)]
"""0 < x <= 1."""
