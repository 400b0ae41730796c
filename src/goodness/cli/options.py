"""Options: those of configuration keys, by what `goodness.config` says of them, and common ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from goodness.cli.values import gather
from goodness.config import KEYS, Config

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Channels = Annotated[int, typer.Option(min=1, help="Of an image.")]
NumClasses = Annotated[int, typer.Option(min=2, help="How many there are.")]
Steps = Annotated[int, typer.Option(min=1, help="Timed steps.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for a record and a picture.")]
ModelArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--model-arg",
        metavar="KEY=JSON",
        help="For the model's constructor, e.g. channels=[16,32,64,128]; may be repeated.",
        rich_help_panel="Model",
    ),
]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Folder of a finished run or of a shared network, pretrained/NAME, or hf:USER/NAME.",
        show_default=False,
    ),
]
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY.PATH=VALUE",
        help="Any configuration value, as YAML, e.g. objective.alpha=2; may be repeated.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="YAML file of configuration values; --set and the other options override it.",
    ),
]
OF_A_STEP = (
    *("model", "partition", "imports", "image_size", "batch_size"),
    *("amp", "compile", "num_threads", "device"),
)
"""Keys that a measured training step depends on."""

Values = Callable[[], dict[str, Any]]
"""What the configuration's options of a command ask for; nothing is read or refused before."""


def takes(
    *keys: str, settings: bool = True, **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of configuration keys; their values reach it as `Values`.

    Args:
        keys: which ones.
        settings: whether ``--config`` and ``--set`` may give any other key.
        defaults: what this command takes where nobody gives a key.
    """
    derived = [_option(key, defaults) for key in keys]
    further = {"model_arg": ModelArgs} if "model" in keys else {}
    further |= {"settings": Settings, "config": ConfigFile} if settings else {}
    derived += [_parameter(name, annotation) for name, annotation in further.items()]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = dict(inspect.signature(command, eval_str=True).parameters)
        del own["values"]

        def called(**given: Any) -> None:
            options = {key: given.pop(key) for key in keys}
            sources = {name: given.pop(name) for name in further}
            command(**given, values=partial(gather, options, defaults, **sources))

        parameters = [*own.values(), *derived]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called

    return decorate


def _option(name: str, defaults: dict[str, Any]) -> inspect.Parameter:
    key, text = KEYS[name], KEYS[name].text
    words = [kind for kind in key.kinds if isinstance(kind, str)]
    listed = list[str] if key.path else str
    kind = listed if list in key.kinds else key.kinds[0]
    flag = f"{key.option}/--no-{key.option[2:]}" if kind is bool else key.option
    # Of other keys methods have values of their own.
    own = Config.model_fields[name].default if key.scope in ("method", "data", "machine") else None
    if isinstance(default := defaults.get(name, own), str | int | float) and kind is not bool:
        text = f"{text} Default: {default}."
    option = typer.Option(
        flag,
        metavar=key.metavar or (None if kind is bool else "|".join(words)) or None,
        help=text,
        rich_help_panel=key.scope.capitalize(),
    )
    simple = kind in (bool, int, float, list[str])
    return _parameter(name, Annotated[Optional[kind if simple else str], option])  # noqa: UP045


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=None, annotation=annotation)
