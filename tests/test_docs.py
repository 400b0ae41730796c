"""What the pages of docs/ show works as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from goodness.cli.app import app
from goodness.methods import METHODS

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "backbones.md").read_text()
PAGES = [
    *(
        DOCS / f"{name}.md"
        for name in ("backbones", "black_boxes", "export", "extend", "performance", "usage")
    ),
    DOCS.parent / "README.md",
    *(
        DOCS.parent / "notebooks" / f"{name}.ipynb"
        for name in ("1-first-run", "4-early-exits", "6-your-own-rule")
    ),
]


def text(page):
    """Markdown; of a notebook that of its cells."""
    content = page.read_text("utf-8")
    if page.suffix != ".ipynb":
        return content
    return "\n".join("".join(cell["source"]) for cell in json.loads(content)["cells"])


@pytest.mark.filterwarnings("ignore")  # of what Lightning imports and advises
def test_the_snippets_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state: dict[str, object] = {"__name__": "docs"}
    snippets = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        exec(snippet.replace("max_epochs=1", 'max_epochs=1, accelerator="cpu"'), state)
    scores = [float(number) for number in re.findall(r"\d\.\d+", capsys.readouterr().out)[:2]]
    assert min(scores) > 0.7


def test_the_page_on_locality_shows_what_it_says(capsys):
    state: dict[str, object] = {"__name__": "docs"}
    page = (DOCS / "locality.md").read_text()
    wire, audit, leak = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    with pytest.raises(RuntimeError, match="a gradient came through"):
        exec(wire, state)  # of backprop, which comes last
    exec(audit, state)
    assert capsys.readouterr().out.rstrip().endswith("Locality.LAYER")
    exec(leak, state)
    assert capsys.readouterr().out.split("\n")[:3] == [
        "Locality.GLOBAL",
        "Locality.BROADCAST",
        "['conv3']",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_option_that_is_shown_exists(page):
    root = typer.main.get_command(app)
    commands = root.commands  # type: ignore[attr-defined]
    blocks = re.findall(r"```bash\n(.*?)```", text(page), flags=re.DOTALL)
    launched = r"^(?:goodness|torchrun .* -m goodness) (.*)$"
    shown = re.findall(launched, "".join(blocks), flags=re.MULTILINE)
    assert shown
    for line in shown:
        command, *words = shlex.split(line, comments=True)
        known = {name for parameter in commands[command].params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_a_method_s_page_lists_what_is_ours():
    """And says of nothing that it is still to be looked up."""
    methods = {name: METHODS[name] for name in METHODS}
    for name, method in methods.items():
        page = (DOCS / "methods" / f"{name}.md").read_text()
        assert "verified" not in page
        _, _, section = page.partition("## Ours\n")
        listed = re.findall(r"^- (.*)$", section.partition("## ")[0], flags=re.MULTILINE)
        assert listed == list(method.ours), name
    assert sum(bool(method.ours) for method in methods.values()) > 10
