"""benchmarks/gpu.sh: pieces that are stopped, fail, go on, and end in a table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    return gpu


@pytest.fixture
def call(gpu, monkeypatch, tmp_path):
    """``call(pieces)``: the names of those that were begun, and what the script ends with."""

    def call(**ways):
        begun = []

        def make(name, way):
            def made(deadline):
                begun.append(name)
                if isinstance(way, Exception):
                    raise way
                if way:
                    (tmp_path / f"{name}.json").write_text("{}")
                return way

            return gpu.Piece(tmp_path / f"{name}.json", made)

        pieces = [make(name, way) for name, way in ways.items()]
        monkeypatch.setattr(gpu, "pieces", lambda out, runs: pieces)
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--minutes=1"])
        try:
            gpu.main()
        except SystemExit as end:
            return begun, end.code
        return begun, 0

    return call


def test_it_goes_on_where_it_was_stopped(call):
    assert call(a=True, b=False, c=True) == (["a", "b"], 0)
    assert call(a=True, b=True, c=subprocess.TimeoutExpired("c", 1)) == (["b", "c"], 0)
    assert call(a=True, b=True, c=True) == (["c"], 0)


def test_a_piece_that_fails_does_not_stop_the_next(call):
    failing = subprocess.CalledProcessError(2, "a")
    assert call(a=failing, b=True) == (["a", "b"], "failed: a (exit 2)")


def test_every_piece_has_a_record_of_its_own(gpu, tmp_path):
    paths = [piece.path for piece in gpu.pieces(tmp_path, tmp_path)]
    assert len({*paths}) == len(paths) > 20


@pytest.mark.slow
def test_all_kinds_of_pieces_run_to_their_end(tmp_path, monkeypatch):
    out = tmp_path / "results"
    command = [ROOT / "benchmarks" / "gpu.sh", "--tiny", f"--out={out}", f"--runs={tmp_path}"]
    subprocess.run(command, check=True)
    monkeypatch.syspath_prepend(ROOT / "tools")
    from readme import found

    told = {path.stem: found(json.loads(path.read_text())) for path in out.iterdir()}
    assert sorted(told) == ["asge-digits", "bench-level-small-cnn", "level-digits"]
    assert "% in" in told["asge-digits"]
    assert "backprop: " in told["bench-level-small-cnn"]
    assert told["level-digits"].startswith("backprop ")
