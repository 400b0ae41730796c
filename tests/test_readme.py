"""What README.md shows works as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_both_levels_are_shown_in_under_ten_lines():
    assert len(SNIPPETS) == 2
    for snippet in SNIPPETS:
        lines = [line for line in snippet.splitlines() if line.strip() and "import" not in line]
        assert len(lines) < 10


def test_the_users_snippet_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "epochs=20" in SNIPPETS[0]
    exec(SNIPPETS[0].replace("epochs=20", "epochs=1"), {})
    assert 0 <= float(capsys.readouterr().out.split()[0]) <= 1


def test_the_researchers_loop_learns_the_digits(capsys):
    """Batch norms, too, see every batch: as printed, without setting any mode."""
    assert "range(20)" in SNIPPETS[1]
    state: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(SNIPPETS[1].replace("range(20)", "range(6)"), state)
    network, images = state["network"], state["images"].float().view(-1, 1, 8, 8) / 16
    counts = [int(v) for n, v in network.named_buffers() if n.endswith("num_batches_tracked")]

    assert counts == [6 * len(state["loader"])] * 4
    assert (network.predict(images) == state["labels"]).float().mean() > 0.97
    assert "locality: layer" in capsys.readouterr().out


def test_tables_are_those_of_the_registry_and_the_records():
    subprocess.run([sys.executable, ROOT / "tools" / "readme.py", "--check"], check=True)


def test_the_pages_of_the_methods_are_fresh():
    subprocess.run([sys.executable, ROOT / "tools" / "methods.py", "--check"], check=True)


def test_every_linked_file_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_page_of_the_keys_is_fresh():
    subprocess.run([sys.executable, ROOT / "tools" / "configuration.py", "--check"], check=True)


def test_the_history_is_fresh():
    subprocess.run([sys.executable, ROOT / "tools" / "history.py", "--check"], check=True)


def test_a_record_keeps_what_was_measured_before(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from runs import write

    def record(accuracy, commit):
        environment = {"git": {"commit": commit}}
        return {"environment": environment, "test": {"accuracy": accuracy}}

    path = tmp_path / "results" / "some.json"
    for accuracy, commit in ((0.5, "a"), (0.6, "a"), (0.7, "b"), (0.8, "c")):
        write(path, record(accuracy, commit))
    former = [{"commit": "a", "accuracies": {"": 0.6}}, {"commit": "b", "accuracies": {"": 0.7}}]
    assert json.loads(path.read_text()) == {**record(0.8, "c"), "former": former}


def test_arxiv_numbers_are_links():
    subprocess.run([sys.executable, ROOT / "tools" / "links.py", "--check"], check=True)
