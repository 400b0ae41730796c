"""Numbers as a person would say them."""

from __future__ import annotations


def percent(share: float | None) -> str:
    """An accuracy or probability in [0, 1] as per cent; a dash where there is none."""
    return "–" if share is None else f"{share:.2%}"


def duration(seconds: float) -> str:
    """A time as a person would say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
