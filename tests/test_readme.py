"""What README.md shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_both_levels_are_shown_in_under_ten_lines():
    assert len(SNIPPETS) == 2
    for snippet in SNIPPETS:
        lines = [line for line in snippet.splitlines() if line.strip() and "import" not in line]
        assert len(lines) < 10


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["users", "researchers"])
def test_snippet_runs(snippet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "epochs=20" in snippet or "block" in snippet
    exec(snippet.replace("epochs=20", "epochs=1"), {})
    out = capsys.readouterr().out
    assert "locality: layer" in out or 0 <= float(out.split()[0]) <= 1


def test_tables_are_those_of_the_registry_and_the_records():
    subprocess.run([sys.executable, ROOT / "tools" / "readme.py", "--check"], check=True)


def test_the_pages_of_the_methods_are_fresh():
    subprocess.run([sys.executable, ROOT / "tools" / "methods.py", "--check"], check=True)


def test_every_linked_file_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
