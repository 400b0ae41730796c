"""Short forms of the attacks on files and data: no fault is found."""

from __future__ import annotations

from attacks import damage, data_changes

FAULTS = {"unnamed", "tracebacks", "silent", "accepted", "unclear", "refused_harmless"}


def faults(found):
    return {kind: found[kind] for kind in FAULTS & found.keys() if found[kind]}


def test_no_damage_is_overlooked(tmp_path, capsys):
    damages = damage.Damages(tmp_path, seed=1)
    for number in range(60):
        damages.go(number)
    assert damages.found["tried"] == 60
    assert damages.found["refused"] > 0
    assert faults(damages.found) == {}, capsys.readouterr().err


def test_no_changed_data_are_taken(capsys):
    found = data_changes.attack(2.0, seed=1)
    assert found["refused"] > 0
    assert faults(found) == {}, capsys.readouterr().out
