"""Notebooks run, and are published with the output of their code."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK = "4-early-exits"
"""Runs with every change; the others with the full matrix, and in CI."""
NEEDS = {"5-training-on-a-device": "executorch"}


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import notebooks

    return notebooks


def marked(path):
    marks = () if path.stem == QUICK else pytest.mark.slow
    return pytest.param(path, marks=marks, id=path.stem)


def test_there_are_six_in_the_order_of_the_list():
    listed = re.findall(r"\((\d-[\w-]+\.ipynb)\)", (ROOT / "notebooks" / "README.md").read_text())
    assert listed == [path.name for path in PATHS]
    assert len(PATHS) == 6


@pytest.mark.filterwarnings("ignore")  # of event loops on Windows; the notebook's own are found
@pytest.mark.parametrize("path", [marked(path) for path in PATHS])
def test_a_notebook_runs_and_says_nothing_on_standard_error(tool, path, tmp_path):
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem])
    fresh = tmp_path / path.name
    nbformat.write(tool.run(path), fresh)
    assert list(tool.faults(fresh)) == []
    assert tool.read(fresh).cells[-1].source.count("Where to go next") == 1


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_can_be_published(tool, path):
    assert list(tool.faults(path)) == []


@pytest.fixture
def damaged(tool, tmp_path):
    """Changes a notebook's first cell of code and its output, and gives the faults of that."""

    def change(source=None, alt="A line", **output):
        cell = nbformat.v4.new_code_cell("print(1)", metadata={"alt": alt})
        notebook = nbformat.v4.new_notebook(cells=[cell])
        notebook.metadata["output_of"] = tool.digest(notebook)
        cell.source = source or cell.source
        cell.outputs = [nbformat.v4.new_output(**output)]
        path = tmp_path / "some.ipynb"
        nbformat.write(notebook, path)
        return list(tool.faults(path))

    return change


def test_what_cannot_be_published_is_found(tool, damaged):
    stream = {"output_type": "stream", "name": "stdout"}
    picture = {"output_type": "display_data", "data": {"image/png": "iVBO"}}
    assert damaged(**stream, text="1 and/or 2, https://a.b/c") == damaged(**picture) == []
    assert "run 'make notebooks'" in damaged(source="print(2)", **stream, text="1")[0]
    assert "standard error" in damaged(output_type="stream", name="stderr", text="no")[0]
    assert "a path of a machine: /home/" in damaged(**stream, text="in /home/me/runs")[0]
    assert "no 'alt'" in damaged(alt=None, **picture)[0]
    assert "bytes" in damaged(**stream, text="1" * tool.LARGEST)[0]


def test_a_notebook_becomes_a_page_with_its_pictures(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    pytest.importorskip("nbconvert")
    import website

    path = ROOT / "notebooks" / "4-early-exits.ipynb"
    made = website.shown(path, website.places())
    text = made["notebooks/4-early-exits.md"]
    assert text.startswith("# Early exits\n")
    assert "[Early answers](../guides/early-answers.md)" in text
    assert "```{ .text .output }\nconv1 alone: " in text
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+\.png)\)", text)
    assert len(pictures) == 3
    assert all(made[f"notebooks/{name}"].startswith(b"\x89PNG") for _, name in pictures)
    assert made["notebooks/4-early-exits.ipynb"] == path.read_bytes()
