"""Attacks on goodness for some minutes: what was tried, and what went wrong.

    python tests/attacks [--minutes 20] [--enough N] [--seed 0] [--record FILE] [NAME ...]

Every module in this folder with an ``attack(seconds, seed, enough)`` is one; it returns figures by
name. ``tried`` says how much it did, and those in `FAULTS` count faults. Without names all attacks
run, with an equal share of the time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from goodness.files import write_json
from goodness.reports.environment import environment

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))  # helpers.py
FAULTS = (
    *("lost", "stuck", "damaged", "wrong", "silent", "executed", "escaped"),
    *("tracebacks", "chatty", "hangs", "leaks", "several_lines", "warnings"),
    *("too_much_memory", "read", "outside", "different", "crashes", "unnamed"),
    *("accepted", "unclear", "refused_harmless", "alive"),
)


def names() -> list[str]:
    """The attacks that are there."""
    found = (path for path in sorted(HERE.glob("*.py")) if not path.stem.startswith(("_", "test_")))
    return [path.stem for path in found if "\ndef attack(" in path.read_text()]


def main() -> int:
    """Run the attacks; 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="attacks")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--enough", type=int, default=10**9, help="end after so many tries")
    parser.add_argument("--record", type=Path, help="keep the figures in this JSON file")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args()
    chosen = asked.names or names()
    faults = 0
    print(f"seed {asked.seed}", flush=True)
    for name in chosen:
        before = environment(None)  # of the code that is attacked, whatever is changed meanwhile
        started = time.perf_counter()
        share = 60 * asked.minutes / len(chosen)
        found = importlib.import_module(name).attack(share, asked.seed, asked.enough)
        took = time.perf_counter() - started
        faults += sum(found.get(fault, 0) for fault in FAULTS)
        figures = ", ".join(f"{figure} {count}" for figure, count in found.items())
        print(f"{name}: {figures} ({took:.0f} s)", flush=True)
        if asked.record is not None:
            told = {"seed": asked.seed, "seconds": round(took), **found, "environment": before}
            record(asked.record, name, told)
    return int(faults > 0)


def record(file: Path, name: str, found: dict[str, Any]) -> None:
    """Add the figures of one attack to a file that has those of others and of earlier times."""
    content = json.loads(file.read_text()) if file.exists() else {"schema": 1, "attacks": {}}
    command = f"python tests/attacks {shlex.join(sys.argv[1:])}"
    content["attacks"].setdefault(name, []).append({"command": command, **found})
    write_json(file, content)


if __name__ == "__main__":
    sys.exit(main())
