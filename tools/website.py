"""What the site has beside docs/, as hooks of MkDocs: see mkdocs.yml.

The README is its first page, every section of docs/usage.md a guide of its own, the notebooks are
shown with their output, and the reference is made of the code. Links between files of the
repository become links between pages.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
USAGE = "docs/usage.md"
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "notebooks/README.md": "notebooks/index.md",
    "results/README.md": "results/index.md",
}
"""Pages of the site by files that lie outside docs/; those that exist."""
SECTIONS = {
    "From Python": "python.md",
    "The run folder": "reference/run-folder.md",
    "JSON": "reference/json.md",
}
"""Sections of docs/usage.md that are no guides."""
API = {
    "Training": ("api", "run", "training.callbacks", "integrations.sklearn"),
    "Networks": ("network.build", "network.localize", "network.network", "learning"),
    "Objectives": ("objective", "objective.hierarchy"),
    "Configuration and data": ("config", "data"),
    "Looking inside": ("analysis.audit", "analysis.diagnosis", "analysis.explain"),
    "Results": ("results",),
    "Lists": ("listings",),
    "Errors and notes": ("errors", "notes"),
}
"""Pages of the API by the modules of `goodness._HOMES`."""
NOTEBOOK = """\
{%- extends "markdown/index.md.j2" -%}
{%- block stream -%}
```{ .text .output }
{{ output.text }}
```
{%- endblock -%}
{%- block data_png -%}
![{{ cell.metadata.alt }}]({{ output.metadata.filenames["image/png"] | path2url }})
{%- endblock -%}
"""
"""How nbconvert writes a notebook: what it prints looks unlike its code, and pictures have a text
for those who cannot see them."""
LINK = re.compile(r"```.*?```|(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)", re.DOTALL)
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)


def slug(heading: str) -> str:
    """A heading as part of an address, as the Markdown of GitHub and of the site make it."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def headings(text: str) -> Iterator[re.Match[str]]:
    """The headings of a page, without the comments of its code."""
    inside = [match.span() for match in re.finditer(r"```.*?```", text, re.DOTALL)]
    for match in HEADING.finditer(text):
        if not any(start <= match.start() < end for start, end in inside):
            yield match


def sections(text: str) -> dict[str, str]:
    """The sections of a page by heading, each as a page with headings one level higher."""
    starts = [match for match in headings(text) if match[1] == "##"]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    found = {}
    for match, end in zip(starts, ends, strict=True):
        own = text[match.start() : end]
        for heading in reversed(list(headings(own))):
            own = own[: heading.start()] + own[heading.start() + 1 :]
        found[match[2]] = own.rstrip() + "\n"
    return found


def places() -> dict[str, str]:
    """Addresses in the site by those in the repository; ``file#heading`` where a file is cut."""
    docs = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.*")]
    found = {f"docs/{path}": path for path in docs}
    found |= {file: page for file, page in ELSEWHERE.items() if (ROOT / file).exists()}
    found |= {f"results/{path.name}": f"results/{path.name}" for path in records()}
    found |= {f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in notebooks()}
    for name, text in sections((ROOT / USAGE).read_text("utf-8")).items():
        page = SECTIONS.get(name, f"guides/{slug(name)}.md")
        first, *inner = (slug(match[2]) for match in headings(text))
        found[f"{USAGE}#{first}"] = page
        found |= {f"{USAGE}#{anchor}": f"{page}#{anchor}" for anchor in inner}
    found[USAGE] = "guides/training.md"
    for folder, page in (("docs/methods", "methods/README.md"), ("results", "results/index.md")):
        found[folder] = page
    return found


@cache
def titles() -> dict[str, str]:
    """The first heading of every page that is made of a file, by its place in the site."""
    found = {}
    for file, page in places().items():
        if file.endswith((".md", ".ipynb")):
            found[page] = title(ROOT / file)
    return {**found, "index.md": "Start"}


def title(path: Path) -> str:
    """The first heading of a file in Markdown, or of a notebook."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        text = "".join(json.loads(text)["cells"][0]["source"])
    return next(headings(text))[2]


def notebooks() -> list[Path]:
    """With their output, by tools/notebooks.py."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def records() -> list[Path]:
    """The measured numbers, which pages link to."""
    return sorted((ROOT / "results").glob("*.json"))


def relinked(text: str, file: str, page: str, known: dict[str, str]) -> str:
    """A page with links to other pages in place of files; of files that are no pages the text.

    Args:
        text: Markdown.
        file: where it is in the repository.
        page: where it goes in the site.
        known: what `places` gives.
    """

    def link(found: re.Match[str]) -> str:
        to = found["to"]
        if to is None or re.match(r"\w+:", to):
            return found[0]
        path, _, anchor = to.partition("#")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(file), path)) if path else file
        target = known.get(f"{wanted}#{anchor}")
        if target is None and (target := known.get(wanted)) is not None and anchor:
            target += f"#{anchor}"
        if target is None:
            return found["text"]
        there, _, anchor = target.partition("#")
        relative = posixpath.relpath(there, posixpath.dirname(page) or ".") if there != page else ""
        place = relative + (f"#{anchor}" if anchor else "")
        text = found["text"]
        if text.endswith((".md", "/")):  # a file's name says more in the repository than here
            text = titles().get(there, text)
        return f"{found['mark']}[{text}]({place or posixpath.basename(page)})"

    return LINK.sub(link, text)


def pages() -> dict[str, str | bytes]:
    """All that is made here: Markdown, JSON, CSS and pictures by their place in the site."""
    known = places()
    found: dict[str, str | bytes] = {}
    for file, page in ELSEWHERE.items():
        if (ROOT / file).exists():
            found[page] = relinked((ROOT / file).read_text("utf-8"), file, page, known)
    for name, text in sections((ROOT / USAGE).read_text("utf-8")).items():
        page = known[f"{USAGE}#{slug(name)}"]
        found[page] = relinked(text, USAGE, page, known)
    found |= {f"results/{path.name}": path.read_text("utf-8") for path in records()}
    for path in notebooks():
        found |= shown(path, known)
    found["reference/command-line.md"] = command_line()
    found |= schemas()
    found |= api()
    return found


def shown(path: Path, known: dict[str, str]) -> dict[str, str | bytes]:
    """A notebook as a page with its pictures, and the notebook itself, by their places.

    Args:
        path: of the notebook.
        known: what `places` gives.
    """
    import nbformat
    from nbconvert import MarkdownExporter

    file = f"notebooks/{path.name}"
    page = known[file]
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relinked(cell.source, file, page, known)
    resources = {"output_files_dir": path.stem, "unique_key": "output"}
    text, made = MarkdownExporter(raw_template=NOTEBOOK).from_notebook_node(notebook, resources)
    heading, _, rest = text.strip().partition("\n")
    text = f"{heading}\n\n[The notebook]({path.name}){{ download }}, to run it yourself.\n{rest}\n"
    found: dict[str, str | bytes] = {page: text, file: path.read_bytes()}
    return found | {f"notebooks/{name}": data for name, data in made["outputs"].items()}


def command_line() -> str:
    """Every command with its options, as Typer tells them."""
    import typer
    from typer.cli import get_docs_for_click

    from goodness.cli.app import app

    command: Any = typer.main.get_command(app)
    for each in command.commands.values():  # else cut after 45 letters
        each.short_help = each.help.partition("\n")[0]
    with typer.Context(command, info_name="goodness") as context:
        text = get_docs_for_click(obj=command, ctx=context, name="goodness")
    codes = (
        "\n## Exit codes\n\n| code | when |\n|---|---|\n"
        "| 0 | success |\n| 1 | a failure while running: a loss that is not finite, a full disk |\n"
        "| 2 | bad input; the message says what helps |\n"
        "| 130, 143 | ended by Ctrl-C or SIGTERM; the state is saved |\n"
    )
    return text.replace("# `goodness`", "# Command line", 1) + codes


def schemas() -> dict[str, str]:
    """JSON Schemas of what is written, and a page that lists them."""
    from pydantic import TypeAdapter

    from goodness import results
    from goodness.config import Config
    from goodness.exits.records import Calibration

    kinds = {
        "config": ("`config.json`, and a YAML file for `--config`", Config.model_json_schema()),
        "exits": ("`exits.json`, written by `goodness calibrate`", Calibration.model_json_schema()),
        "metrics": ("a line of `metrics.jsonl`", TypeAdapter(results.EpochRow).json_schema()),
        "result": ("`result.json`", TypeAdapter(results.Result).json_schema()),
    }
    lines = [
        "# JSON Schemas",
        "",
        "For editors that check what is written, and for other programs.",
    ]
    lines += ["Made from the types of the code.", "", "| of | schema |", "|---|---|"]
    found = {}
    for name, (what, schema) in kinds.items():
        file = f"{name}.schema.json"
        found[f"reference/{file}"] = json.dumps(schema, indent=1) + "\n"
        lines.append(f"| {what} | [{file}]({file}) |")
    return {**found, "reference/schemas.md": "\n".join(lines) + "\n"}


def api() -> dict[str, str]:
    """A page per group of public names; mkdocstrings fills them from the docstrings.

    Raises:
        LookupError: a public name that no page has.
    """
    from goodness import _HOMES

    if left := set(_HOMES) - {home for homes in API.values() for home in homes}:
        raise LookupError(f"tools/website.py: on no page of the API: {', '.join(sorted(left))}")
    found = {}
    rows = ["# Python API", "", "All names below are those of `goodness` itself: `goodness.fit`."]
    rows += ["", "| page | names |", "|---|---|"]
    for title, homes in API.items():
        names = [(home, name) for home in homes for name in _HOMES[home].split()]
        lines = [f"# {title}", ""]
        for home, name in names:
            lines += [f"::: goodness.{home}.{name}", ""]
        found[f"reference/api/{slug(title)}.md"] = "\n".join(lines)
        shown = ", ".join(f"`{name}`" for _, name in names)
        rows.append(f"| [{title}]({slug(title)}.md) | {shown} |")
    return {**found, "reference/api/index.md": "\n".join(rows) + "\n"}


# The hooks of MkDocs


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the folders of the navigation."""
    made = [page for page in {*places().values(), *pages()} if page.endswith(".md")]

    def filled(item: Any) -> Any:
        if isinstance(item, dict):
            return {title: filled(value) for title, value in item.items()}
        if isinstance(item, list):
            return [filled(value) for value in item]
        if not item.endswith("/"):
            return item
        own = [page for page in made if posixpath.dirname(page) == item.rstrip("/")]
        ordered = sorted(own, key=_order)
        if item != "methods/":
            return ordered
        # By their names alone, which are what one types.
        return [page if "README" in page else {Path(page).stem: page} for page in ordered]

    config.nav = filled(config.nav)
    if "project/security.md" in made:
        config.nav[-1]["Project"].append("project/security.md")
    return config


def _order(page: str) -> tuple[int, str]:
    """An index first; guides as they stand in docs/usage.md, the API as it is listed here."""
    names = [*sections((ROOT / USAGE).read_text("utf-8")), *API]
    stems = ["index", "README", *map(slug, names)]
    stem = posixpath.basename(page).removesuffix(".md")
    return stems.index(stem) if stem in stems else len(stems), stem


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made here, and leave out what is cut into guides."""
    from mkdocs.structure.files import File

    cut = files.get_file_from_path(USAGE.removeprefix("docs/"))
    assert cut is not None
    files.remove(cut)
    for page, text in pages().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links of the files of docs/ that lead out of it."""
    if page.file.generated_by:
        return markdown
    file = f"docs/{page.file.src_uri}"
    known = places()
    return relinked(markdown, file, known[file], known)


if __name__ == "__main__":
    sys.exit("tools/website.py is a hook of MkDocs: make docs")
