"""``goodness demo``: a page on this machine to try a network on."""

from __future__ import annotations

from typing import Annotated

import typer

from goodness.cli.options import RunName, Values, takes
from goodness.cli.output import console
from goodness.cli.values import load_run


@takes("num_threads", "device", settings=False)
def demo(
    run: RunName,
    values: Values,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page.")] = 7860,
) -> None:
    """Open a page to draw or drop an image: the answer, each block's belief and what it has seen.

    It is served to this machine alone, at 127.0.0.1, until Ctrl-C.
    """
    loaded, _ = load_run(run, values())
    from goodness.demo.page import serve

    console().print(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    serve(loaded, port)
