"""A reader finds the way through a step: counted by benchmarks/walk.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

import walk


def test_a_turn_and_a_step_are_short():
    found = walk.measured("asge-fast")

    assert found["blocks"] == 4
    assert 10 < found["turn"]["calls"] <= 40
    assert 10 < found["step"]["files"] <= 19


def test_no_modules_import_each_other_at_run_time():
    assert walk.circles() == []


@pytest.mark.parametrize("method", ["backprop", "ff", "trifecta"])
def test_every_kind_of_step_is_walked(method):
    assert walk.measured(method)["step"]["calls"] > 100
