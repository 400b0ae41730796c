"""From what stands for a trained network to its folder; light, as the command line reads it."""

from __future__ import annotations

import re
from pathlib import Path

from goodness.errors import InputError, unknown

HUB, SHIPPED = "hf:", "pretrained/"
"""What names of networks on the Hugging Face Hub and of those in this package begin with."""
PACKAGED = Path(__file__).parent.parent / "pretrained"
REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def is_name(run: object) -> bool:
    """Whether it names a network, and no folder; a `Path` is always a folder."""
    return isinstance(run, str) and run.startswith((HUB, SHIPPED))


def pretrained_names() -> list[str]:
    """The names of the trained networks that this package ships."""
    return sorted(SHIPPED + config.parent.name for config in PACKAGED.glob("*/config.json"))


def locate(run: str | Path) -> Path:
    """The folder of a trained network.

    Args:
        run: ``"hf:USER/NAME"``, with ``@REVISION`` where one is wanted, which is downloaded;
            ``"pretrained/NAME"``; or a folder. A `Path` is always a folder, and so is ``"./..."``.

    Raises:
        InputError: an unknown name, or what is on the Hub cannot be had.
    """
    if not isinstance(run, str) or not is_name(run):
        return Path(run)
    if run.startswith(HUB):
        from goodness.sharing.hub import download  # late: an optional dependency

        return download(*repository(run))
    if run not in (known := pretrained_names()):
        raise unknown("pretrained network", run, known)
    return PACKAGED / run.removeprefix(SHIPPED)


def repository(name: str) -> tuple[str, str | None]:
    """The repository and the revision of ``"hf:USER/NAME@REVISION"``; None: the newest one.

    Raises:
        InputError: it names none.
    """
    found = REPOSITORY.fullmatch(name.removeprefix(HUB))
    if found is None:
        raise InputError(f"'{name}' names no repository of the Hub: hf:USER/NAME is needed")
    return found["repo"], found["revision"]


def hub_target(target: str) -> str | None:
    """The repository USER/NAME where a network is to be pushed; None where it is to be a folder.

    ``USER/NAME`` is a repository unless there is a folder USER; a path with a dot, a slash or a
    tilde in front is a folder.

    Raises:
        InputError: ``hf:`` with no repository behind it, or with a revision.
    """
    if target.startswith(HUB):
        repo, revision = repository(target)
        if revision is not None:
            raise InputError(f"'{target}': a network is pushed to the main revision; leave @ out")
        return repo
    folder = target.startswith((".", "/", "~")) or Path(target.partition("/")[0]).is_dir()
    return target if not folder and REPOSITORY.fullmatch(target) and "@" not in target else None
