"""A short form of the attacks on what is read, and on where a command stands."""

from __future__ import annotations

from collections import Counter

import hostile_files
import places
import pytest

BAD = (
    *("tracebacks", "hangs", "warnings", "several_lines", "too_much_memory", "executed"),
    *("outside", "wrong", "chatty", "escaped", "read"),
)


def faults(found: Counter[str]) -> dict[str, int]:
    return {name: found[name] for name in BAD if found[name]}


@pytest.mark.filterwarnings("ignore")  # the attack itself counts them
def test_every_kind_of_hostile_file(tmp_path):
    made = hostile_files.Attack(tmp_path, seed=1)
    for number in range(len(made.kinds)):
        made.go(number)
    assert made.found["tried"] == len(made.kinds)
    assert made.found["refused"] > 0
    assert made.found["taken"] > 0
    assert faults(made.found) == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
@pytest.mark.parametrize("scene", ["scene_git", "scene_inside"])
def test_places(tmp_path_factory, monkeypatch, scene):
    folder = tmp_path_factory.mktemp("places")
    monkeypatch.setenv("GOODNESS_DATA", "")
    made = places.Places(folder, seed=1)
    made.scenes = [scene]
    made.go(0)
    assert made.found["tried"] > 0
    assert faults(made.found) == {}
