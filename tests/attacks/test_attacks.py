"""The attacks in their short form; ``make attack`` runs the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_no_attack_finds_a_fault(tmp_path):
    names, record = ("kills", "folders", "surroundings"), tmp_path / "record.json"
    done = subprocess.run(
        [sys.executable, HERE, "--enough", "2", "--seed", "1", "--record", record, *names],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(record.read_text())["attacks"]
    assert all(found[name][0]["tried"] >= 2 for name in names)
    assert all("tests/attacks --enough 2" in found[name][0]["command"] for name in names)
