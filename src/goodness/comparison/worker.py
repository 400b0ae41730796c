"""``python -m goodness.comparison.worker FOLDER ENTRY``: train one entry of a comparison.

Its standard input is a pipe that the comparison holds, and never writes to. When it closes, however
the comparison has ended, the worker saves and ends too.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 60.0
"""Seconds to save in before a worker whose comparison has gone ends at once; the runs that it does
not save are taken up from their last checkpoints."""


def main(folder: str, entry: str) -> int:
    """Train what is missing; a line per run on standard output."""
    threading.Thread(target=_end_with_the_comparison, daemon=True).start()
    from goodness.comparison.study import Study
    from goodness.errors import GoodnessError, Interrupted
    from goodness.training.lock import locked
    from goodness.training.signals import StopOnSignal

    with StopOnSignal() as stop:
        try:
            study = Study.open(Path(folder))
            place = study.folder(study.entries[entry]).path
            place.mkdir(exist_ok=True)
            # A worker of a comparison that was killed may still be saving.
            with locked(place, wait=2 * PATIENCE):
                study.train(entry, _say, [stop])
        except Interrupted as error:
            return 128 + error.signum
        except GoodnessError as error:
            _say(f"{entry}: {error}")
            return 1
    return 0


def _end_with_the_comparison() -> None:
    os.read(sys.stdin.fileno(), 1)  # not a buffered read, whose lock Python wants when it ends
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # nothing has begun
        os._exit(128 + signal.SIGTERM)
    _thread.interrupt_main(signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(128 + signal.SIGTERM)


def _say(line: str) -> None:
    with suppress(BrokenPipeError):  # nobody listens any more
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
