"""``python -m goodness.comparison.worker FOLDER ENTRY``: train one entry of a comparison."""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: str, entry: str) -> int:
    """Train what is missing; a line per run on standard output."""
    from goodness.comparison.study import Study
    from goodness.errors import Interrupted
    from goodness.training.signals import StopOnSignal

    with StopOnSignal() as stop:
        try:
            Study.open(Path(folder)).train(entry, _say, [stop])
        except Interrupted as error:
            return 128 + error.signum
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
