"""What the project says of itself is true: extras, papers, versions, the site."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import goodness
from goodness.methods import METHODS

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text()
SOURCES = sorted((ROOT / "src").rglob("*.py"))
EXTRAS = re.findall(
    r"^([a-z]+) = \[", PROJECT.split("[project.optional-dependencies]")[1], flags=re.MULTILINE
)
OPTIONAL = {"datasets", "gradio", "lightning", "mlflow", "nir", "psutil", "pyarrow", "pynvml"} | {
    *("resource", "snntorch", "tensorboard", "torchmetrics", "wandb")
}
"""Modules that a run of the core dependencies, or another system, does not have."""


def test_every_extra_that_an_error_names_exists():
    sources = [path.read_text() for path in SOURCES]
    named = {name for text in sources for name in re.findall(r'\bneeds\(\s*"([a-z]+)"', text)}
    assert named >= {"demo", "hub", "lightning", "onnx", "spiking"}
    assert named | {name for text in sources for name in extras_in(text)} <= set(EXTRAS)
    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        assert set(extras_in(page.read_text())) <= set(EXTRAS), page


def extras_in(text):
    return re.findall(r"goodness\[([a-z]+)\]", text)


def test_every_extra_has_a_row_in_the_page_on_installing():
    page = (ROOT / "docs" / "install.md").read_text()
    table = page.partition("## Extras")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(EXTRAS[: EXTRAS.index("dev") + 1])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_optional_is_imported_with_a_module(path):
    text = path.read_text()
    found = {name for statement in ast.parse(text).body for name in imported(statement)}
    # Where its absence has been told in our words, it may be imported.
    told = set(re.findall(r'^needs\("[a-z]+", "(\w+)"\)$', text, re.MULTILINE))
    assert not found & (OPTIONAL - told)


def imported(statement):
    """The packages of an import statement at the top level of a module."""
    if isinstance(statement, ast.Import):
        return [alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        return [str(statement.module).partition(".")[0]]
    return []


def test_lightning_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "goodness.integrations.lightning", raising=False)
    with pytest.raises(goodness.InputError, match=r"goodness\[lightning\]"):
        importlib.import_module("goodness.integrations.lightning")


def test_parquet_files_name_their_extra(monkeypatch, tmp_path):
    from goodness.data.parquet import read_parquet

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(goodness.InputError, match=r"goodness\[hub\]"):
        read_parquet([tmp_path / "train.parquet"])


def test_the_papers_of_all_methods_can_be_cited():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == re.search(r'^version = "(.*)"', PROJECT, re.MULTILINE)[1]
    cited = " ".join(reference.get("url", "") for reference in citation["references"])
    for name in METHODS:
        for number in re.findall(r"\d{4}\.\d{4,5}", METHODS[name].paper):
            assert number in cited, name


# The site


@pytest.fixture
def website(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import website

    return website


def test_a_page_is_cut_into_sections(website):
    text = "# All\n\n## One\n\na\n\n### More\n\n```\n## no heading\n```\n\n## Two\n\nb\n"
    one = "# One\n\na\n\n## More\n\n```\n## no heading\n```\n"
    assert website.sections(text) == {"One": one, "Two": "# Two\n\nb\n"}


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("[a](docs/glossary.md)", "[a](../glossary.md)"),
        ("![a](docs/curves.png)", "![a](../curves.png)"),
        ("[a](docs/usage.md#json)", "[a](../reference/json.md)"),
        (
            "[a](docs/usage.md#data-of-your-own-program)",
            "[a](../python.md#data-of-your-own-program)",
        ),
        ("[a](CHANGELOG.md#unreleased)", "[a](changelog.md#unreleased)"),
        ("[docs/extend.md](docs/extend.md)", "[Adding a method](../extend.md)"),
        ("[a](src/goodness/api.py)", "a"),
        ("[a](https://arxiv.org)", "[a](https://arxiv.org)"),
        ("```\n[a](docs/usage.md)\n```", "```\n[a](docs/usage.md)\n```"),
    ],
)
def test_links_of_files_become_links_of_pages(website, link, becomes):
    assert website.relinked(link, "README.md", "project/some.md", website.places()) == becomes


def test_every_public_name_has_a_place_in_the_api(website, monkeypatch):
    pages = "".join(website.api().values())
    assert all(re.search(rf"^::: goodness\.\S+\.{name}$", pages, re.M) for name in goodness.__all__)
    monkeypatch.setitem(goodness._HOMES, "elsewhere", "more")
    with pytest.raises(LookupError, match="elsewhere"):
        website.api()


def test_the_reference_has_every_command_and_schema(website):
    text = website.command_line()
    assert (
        "* `train`: Train a network and test it; prints the run folder on standard output." in text
    )
    assert text.count("\n## ") > 15
    made = website.schemas()
    assert "lr_schedule" in made["reference/config.schema.json"]
    assert "peak_memory_bytes" in made["reference/result.schema.json"]


def test_every_page_is_in_the_navigation_of_the_site():
    """usage.md is there as guides, one for each of its sections."""
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"usage.md"}
    assert pages <= set(re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text()))


def test_the_development_lock_fits_the_bounds_and_names_no_index():
    lock = (ROOT / "requirements-dev.lock").read_text()
    assert "://" not in lock
    locked = {}
    for line in lock.splitlines():
        requirement = Requirement(line)
        locked.setdefault(requirement.name, []).append(requirement)
    for text in re.findall(r'^ +"([^"]+)",', PROJECT, re.MULTILINE):
        if not re.match(r"[A-Za-z-]+>", text):
            continue  # of another table
        wanted = Requirement(text)
        pins = locked[canonicalize_name(wanted.name)]
        for (pin,) in (each.specifier for each in pins):
            assert pin.operator == "=="
            assert wanted.specifier.contains(pin.version), f"{wanted}: make lock"
