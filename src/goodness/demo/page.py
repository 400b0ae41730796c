"""The page, by Gradio; what it shows is made in `goodness.demo.answering`."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from PIL import Image

from goodness.demo.answering import MOST_BYTES, Answer, answer, drawing
from goodness.errors import InputError, RunError, reason
from goodness.extras import needs

if TYPE_CHECKING:
    from goodness.run import Run

HOST = "127.0.0.1"
NEAREST = Image.Resampling.NEAREST
CANVAS, PEN = 280, 22
"""Pixels of the paper's side and of a stroke: of MNIST's shape at ten times its size."""
SMALL = 64
"""Sides of grey images up to this one are drawn."""
KEPT = 3600
"""Seconds for which an image that was dropped is kept on the disk."""
THRESHOLD = 0.8
"""Networks that learnt with label smoothing are hardly surer than 0.9."""
COLUMNS = ["block", "alone", "sure", "so far", "sure so far", "exit"]
"""Of each block: what it answers alone, and what the network would answer behind it."""


def serve(run: Run, port: int) -> None:
    """Show the page to this machine until Ctrl-C.

    Args:
        run: whose network.
        port: where it is served.

    Raises:
        InputError: Gradio is not installed.
        RunError: the port is taken.
    """
    launch(page(run), port)


def launch(made: Any, port: int | None, **options: Any) -> Any:
    """Serve a page, to this machine alone and never through Gradio's own relay.

    Args:
        made: what `page` gave.
        port: where; None takes a free one.
        options: further ones of Gradio's ``launch``.

    Raises:
        RunError: the port is taken.
    """
    gradio = _gradio()
    # Fonts of the machine: Gradio's own are fetched from the web.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        return made.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            quiet=True,
            max_file_size=2 * MOST_BYTES,  # what is above MOST_BYTES is refused with our own words
            theme=theme,
            ssr_mode=False,
            footer_links=["api", "gradio"],
            **options,
        )
    except OSError as error:
        raise RunError(f"the page cannot be served at {HOST}:{port}: {reason(error)}") from None


def page(run: Run) -> Any:
    """The page as Gradio's ``Blocks``, not served yet.

    Raises:
        InputError: Gradio is not installed.
    """
    gradio = _gradio()
    preprocessing = run.preprocessing
    draws = preprocessing.channels == 1 and max(preprocessing.height, preprocessing.width) <= SMALL

    def asked(
        image: str | Image.Image | None, threshold: float, calibrated: bool
    ) -> tuple[Any, ...]:
        try:
            if image is None:
                raise InputError("drop an image first")
            return _shown(answer(run, image, None if calibrated else threshold))
        except InputError as error:
            raise gradio.Error(str(error), print_exception=False) from None

    def sketched(
        value: dict[str, Any] | None, threshold: float, calibrated: bool
    ) -> tuple[Any, ...]:
        try:
            return asked(drawing(run, (value or {}).get("composite")), threshold, calibrated)
        except InputError as error:
            raise gradio.Error(str(error), print_exception=False) from None

    with gradio.Blocks(
        title=f"goodness: {run.name}", analytics_enabled=False, delete_cache=(KEPT, KEPT)
    ) as made:
        gradio.Markdown(f"## {_plain(run.name)}\n{_about(run)}")
        with gradio.Row():
            with gradio.Column(scale=1, min_width=300):
                threshold = gradio.Slider(
                    *(0.0, 1.0, THRESHOLD),
                    label="Exit threshold",
                    info="The first block at which a class is this probable answers.",
                )
                calibrated = gradio.Checkbox(
                    run.calibration is not None,
                    label="Exits as calibrated",
                    info="Temperatures and thresholds of goodness calibrate, not the one above.",
                    visible=run.calibration is not None,
                )
                if draws:
                    with gradio.Tab("Draw"):
                        paper = gradio.Sketchpad(
                            label="Draw here",
                            type="pil",
                            canvas_size=(CANVAS, CANVAS),
                            fixed_canvas=True,
                            layers=False,
                            transforms=(),
                            brush=gradio.Brush(
                                default_size=PEN, colors=["#000000"], color_mode="fixed"
                            ),
                        )
                        draw = gradio.Button("Ask", variant="primary")
                with gradio.Tab("Image"):
                    image = gradio.Image(
                        label="Drop an image",
                        type="filepath",
                        sources=["upload", "clipboard"],
                        height=CANVAS,
                    )
                    # The file is left to us: Gradio has no words for one that is no image.
                    image.preprocess = _path
                    ask = gradio.Button("Ask", variant="primary")
            with gradio.Column(scale=2, min_width=400):
                with gradio.Row():
                    label = gradio.Label(num_top_classes=5, label="Answer", scale=2)
                    seen = gradio.Image(
                        label="What the network gets",
                        height=CANVAS,
                        interactive=False,
                        buttons=[],
                        scale=1,
                    )
                exit_ = gradio.Markdown()
                table = gradio.Dataframe(
                    headers=COLUMNS, label="Each block's belief", interactive=False
                )
        picture = gradio.Image(
            label="What each block responds to", interactive=False, buttons=["download"]
        )
        shown = [label, exit_, table, seen, picture]
        ask.click(asked, [image, threshold, calibrated], shown, api_name="predict")
        if draws:
            draw.click(sketched, [paper, threshold, calibrated], shown, api_name="draw")
    return made


def _path(payload: Any) -> str | None:
    """The file that was dropped, as Gradio has kept it."""
    return None if payload is None else payload.path


def _shown(found: Answer) -> tuple[Any, ...]:
    """An answer as the values of the page's parts."""
    place = next(index for index, belief in enumerate(found.beliefs) if belief.exits)
    said = f"Answered after block **{_plain(found.beliefs[place].block)}**"
    rest = f"; {found.skipped} of {len(found.beliefs)} blocks need not run" if found.skipped else ""
    rows = [
        [
            *(belief.block, belief.own or "–", _percent(belief.own_probability)),
            *(belief.answer or "–", _percent(belief.probability)),
            "here" if belief.exits else "",
        ]
        for belief in found.beliefs
    ]
    factor = max(1, CANVAS // max(found.seen.size))
    seen = found.seen.resize((factor * found.seen.width, factor * found.seen.height), NEAREST)
    return found.probabilities, f"{said}{rest}.", rows, seen, found.picture


def _about(run: Run) -> str:
    """One line about a network."""
    test = None if run.result is None else run.result.test
    accuracy = "" if test is None else f", {test.accuracy:.2%} right on its test images"
    data = _plain(Path(run.config.data).name)
    return f"`{run.config.method}` on {data}, {len(run.network)} blocks{accuracy}"


def _plain(name: str) -> str:
    """A name of the user's that Markdown does not read as markup."""
    text = "".join(f"\\{sign}" if sign in r"\`*_{}[]<>()#|!$~" else sign for sign in name)
    return " ".join(text.encode(errors="replace").decode().split())


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _gradio() -> ModuleType:
    """The package ``gradio``, without its reports to its makers.

    Raises:
        InputError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    return needs("demo", "gradio")[0]
