"""The attacks in their short form; ``make attack`` runs the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_no_attack_finds_a_fault():
    names = ("kills", "folders", "surroundings")
    done = subprocess.run(
        [sys.executable, HERE, "--minutes", "0.06", "--seed", "1", *names],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"{name}: tried" in done.stdout for name in names)
