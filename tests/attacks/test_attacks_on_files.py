"""Short forms of the attacks on files and data: no fault is found."""

from __future__ import annotations

import pytest

from attacks import damage, data_changes

FAULTS = {"unnamed", "tracebacks", "silent", "accepted", "unclear", "refused_harmless"}


@pytest.mark.parametrize("module", [damage, data_changes])
def test_no_fault_is_found(module, capsys):
    found = module.attack(2.0, seed=1)

    assert found["tried"] > 0
    assert {kind: found[kind] for kind in FAULTS & found.keys() if found[kind]} == {}, (
        capsys.readouterr().out
    )
