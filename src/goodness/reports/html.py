"""Pages of one file: templates that escape every name, and pictures inside them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from goodness.wording import duration, percent

FILTERS: dict[str, Callable[..., str]] = {"percent": percent, "duration": duration}


def templates(package: str) -> Environment:
    """The templates of a package, and those of this one, which pages are made on.

    Args:
        package: with a folder ``templates``. In ``*.html.j2`` everything is escaped.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("goodness.reports")]),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    return made


def page_bytes(environment: Environment, template: str, context: dict[str, Any]) -> bytes:
    """A page in UTF-8; bytes of files' names that are no UTF-8 become question marks."""
    return environment.get_template(template).render(context).encode(errors="replace")


def data_uri(content: bytes, kind: str = "png") -> str:
    """A picture as the address of itself.

    Args:
        content: of its file.
        kind: ``"png"`` or ``"webp"``.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
