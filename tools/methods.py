"""Write docs/methods/: a page per method, from the registry, its docstrings and the records.

python tools/methods.py [--check]
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from goodness.boundary import BOUNDARIES
from goodness.methods import METHODS, REACH
from goodness.objective import OBJECTIVES
from goodness.plan import PLANS
from goodness.presentation import PRESENTATIONS
from goodness.readout import READOUTS
from goodness.update import UPDATES
from links import linked

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "methods"
AXES: dict[str, Any] = {
    "presentation": PRESENTATIONS,
    "objective": OBJECTIVES,
    "boundary": BOUNDARIES,
    "update": UPDATES,
    "plan": PLANS,
}
WHICH = """Which one?

- The most accurate that learns layer by layer: [`spectral-local`](spectral-local.md).
- A network of torchvision or timm in less memory: [`lookahead`](lookahead.md), cut in two to four.
- A map of every class at every block: [`sff`](sff.md); the paper with the best published numbers:
  [`asge`](asge.md), and [`asge-fast`](asge-fast.md) on CPUs.
- Forward-Forward as Hinton described it: [`ff`](ff.md); for convolutions: [`ff-cnn`](ff-cnn.md).
- No learning in the blocks at all, a closed form for the answer: [`cafo`](cafo.md).

And beside any of them, what they are measured against: [`backprop`](backprop.md).""".splitlines()


def page(name: str) -> str:
    """The page of one method."""
    method = METHODS[name]
    lines = [f"# `{name}`: {method.title}", "", f"Paper: {method.paper}. {method.use}", ""]
    lines += ["```", method.equation, "```", ""]
    module = sys.modules[f"goodness.methods.{_source_of(name).stem}"]
    lines += [_blocks(inspect.getdoc(module) or ""), "", "## What is local", ""]
    lines += [f"`{method.locality.value}`: {REACH[method.locality]}", "", "## Parts", ""]
    lines += ["| axis | choice | what it does |", "|---|---|---|"]
    for axis, registry in AXES.items():
        part = method.values[axis]
        part = part if isinstance(part, dict) else {"name": part}
        options = ", ".join(f"{k} = {v}" for k, v in part.items() if k != "name")
        cell = f"`{part['name']}`" + (f" ({options})" if options else "")
        lines.append(f"| {axis} | {cell} | {_first_line(registry[part['name']])} |")
    for readout in method.values["readouts"]:
        lines.append(f"| readout | `{readout}` | {_first_line(READOUTS[readout])} |")
    for axis in ("objective", "presentation"):
        part = method.values[axis]
        chosen = part["name"] if isinstance(part, dict) else part
        if chosen != "plain":
            lines += ["", f"### {axis}: `{chosen}`", "", _options(AXES[axis][chosen])]
    if method.ours:
        lines += ["", "## Ours", "", "What no source that we found tells, and is our choice:", ""]
        lines += [f"- {choice}" for choice in method.ours]
    lines += ["", "## Measured", "", *_measured(name), "", "## Where it is", "", *_places(name)]
    return linked("\n".join(lines).rstrip() + "\n")


def index() -> str:
    """The list of all pages."""
    rows = ["# Methods", "", *WHICH, "", "| name | what | locality | when |", "|---|---|---|---|"]
    for name in METHODS:
        method = METHODS[name]
        rows.append(
            f"| [`{name}`]({name}.md) | {method.title} | {method.locality.value} | {method.use} |"
        )
    return linked("\n".join([*rows, "", *_reproduction(), "", *_equal_terms()]) + "\n")


def _reproduction() -> list[str]:
    """What of the published accuracies has been reached, and how."""
    rows = [
        "## What is reproduced",
        "",
        "A method in its own setting, that of its paper as far as it is known:"
        " `python benchmarks/paper.py METHOD DATA`, which may be stopped and started again."
        " *Reproduced*: at most 0.3 points below what is published. *Short*: by how much."
        " *Smaller*: only with another network or fewer epochs, the best of what is recorded."
        " *Not run*: nothing is recorded; most of these settings take a GPU.",
        "",
        "| method | data | published, % | status | reached, % | record |",
        "|---|---|---|---|---|---|",
    ]
    for name in METHODS:
        for data, published in METHODS[name].published.items():
            status, reached, path = _status(name, data, published)
            shown = "" if reached is None else f"{reached:.2f}"
            link = "" if path is None else f"[json](../../results/{path.name})"
            cells = [f"[`{name}`]({name}.md)", data, f"{published:.2f}", status, shown, link]
            rows.append("| " + " | ".join(cells) + " |")
    return rows


def _status(name: str, data: str, published: float) -> tuple[str, float | None, Path | None]:
    """A status, the accuracy in % and the record that it is from."""
    results = ROOT / "results"
    path = results / f"paper-{name}-{data}.json"
    if path.exists():
        reached = 100 * json.loads(path.read_text())["test"]["accuracy"]
        behind = published - reached
        return (f"short by {behind:.1f}" if behind > 0.3 else "reproduced"), reached, path
    found: list[tuple[float, Path]] = []
    if (path := results / f"{data}-{name}.json").exists():
        found.append((100 * json.loads(path.read_text())["test"]["accuracy"], path))
    for path in results.glob(f"compare-{data}.json"):
        for method in json.loads(path.read_text())["methods"]:
            if method["method"] == name and method["mean"] is not None:
                found.append((100 * method["mean"], path))
    if not found:
        return "not run", None, None
    reached, path = max(found)
    return "smaller", reached, path


def _equal_terms() -> list[str]:
    """Every method's accuracy on equal terms, the published one and what its authors gave it."""
    compared: dict[str, dict[str, Any]] = {}
    for data in ("mnist", "cifar10"):
        record = json.loads((ROOT / "results" / f"compare-{data}.json").read_text())
        compared[data] = {method["method"]: method for method in record["methods"]}
    rows = [
        "## On equal terms",
        "",
        "Test accuracy in % after 120 seconds on one CPU core with `small-cnn`"
        " ([mnist](../../results/compare-mnist.json),"
        " [cifar10](../../results/compare-cifar10.json); means where there are seeds), beside the"
        " published figure and the network and epochs of the method's own preset, which for most"
        " is the distance between the two. [results/](../../results/README.md) says more on why.",
        "",
        "| method | mnist | published | cifar10 | published | epochs here | its preset |",
        "|---|---|---|---|---|---|---|",
    ]
    mean = {name: method["mean"] for name, method in compared["cifar10"].items()}
    measured = [name for name in METHODS if all(name in of for of in compared.values())]
    for name in sorted(measured, key=lambda name: -mean[name]):
        method = METHODS[name]
        cells = [f"[`{name}`]({name}.md)"]
        for data, of in compared.items():
            published = method.published.get(data)
            cells += [f"{100 * of[name]['mean']:.2f}", f"{published:.2f}" if published else ""]
        epochs = "/".join(str(of[name]["epochs"]) for of in compared.values())
        cells += [epochs, f"{_network(method.values['model'])}, {method.values['epochs']} epochs"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _network(model: Any) -> str:
    name, widths = (model, None) if isinstance(model, str) else (model["name"], model.get("widths"))
    return f"`{name}` of {len(widths)} layers" if widths else f"`{name}`"


def _source_of(name: str) -> Path:
    """The file that registers a method."""
    sources = ROOT / "src" / "goodness" / "methods"
    return next(path for path in sources.glob("*.py") if f'name="{name}"' in path.read_text())


def _places(name: str) -> list[str]:
    """Links to a method's source and to the tests of its parts."""
    objective = METHODS[name].values["objective"]
    chosen = objective["name"] if isinstance(objective, dict) else objective
    parts = [_source_of(name), Path(inspect.getsourcefile(OBJECTIVES[chosen]) or "")]
    words = [f'"{word}"' for word in (name, chosen)]
    tests = [
        path
        for folder in ("objective", "plan", "update")
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
        if any(word in path.read_text() for word in words)
    ]
    lines = []
    for title, paths in (("source", parts), ("tests", [ROOT / "tests/test_methods.py", *tests])):
        places = [path.resolve().relative_to(ROOT.resolve()) for path in dict.fromkeys(paths)]
        links = ", ".join(f"[{place.name}](../../{place})" for place in places)
        lines.append(f"- {title}: {links}")
    return lines


def _blocks(text: str) -> str:
    """A docstring as Markdown: indented commands become code."""
    out: list[str] = []
    code = False
    for line in text.splitlines():
        if line.startswith("    ") != code and line.strip():
            out.append("```" if not code else "```\n")
            code = not code
        out.append(line.removeprefix("    "))
    return "\n".join([*out, "```"] if code else out)


def _first_line(entry: Any) -> str:
    return (inspect.getdoc(entry) or "").partition("\n")[0]


def _options(entry: Any) -> str:
    """A class's docstring; its arguments as a list."""
    text, _, arguments = (inspect.getdoc(entry) or "").partition("Args:\n")
    lines = [text.strip(), ""]
    for line in arguments.split("\n\n")[0].splitlines():
        line = line.removeprefix("    ")
        if line.startswith(("spec:", "image:", "classes:")):
            continue
        name, colon, rest = line.partition(": ")
        lines.append(
            f"- `{name}`: {rest}" if colon and not line.startswith(" ") else f"  {line.strip()}"
        )
    return "\n".join(lines).strip()


def _measured(name: str) -> list[str]:
    published = ", ".join(f"{d} {v:.2f} %" for d, v in METHODS[name].published.items())
    lines = [
        f"Published, with the authors' network and schedule: {published or 'nothing found'}.",
        "",
    ]
    found = {data: _status(name, data, v) for data, v in METHODS[name].published.items()}
    if found:
        shown = (
            f"{data} {status}" + ("" if reached is None else f" ({reached:.2f} %)")
            for data, (status, reached, _) in found.items()
        )
        lines += [f"[Reproduced?](README.md#what-is-reproduced) {', '.join(shown)}.", ""]
    single = ROOT / "results" / f"mnist-{name}.json"
    if single.exists():
        record = json.loads(single.read_text())
        threads = record["environment"]["threads"]
        cores = "one CPU core" if threads == 1 else f"{threads} CPU cores"
        lines += [
            f"`{record['command']}`: {100 * record['test']['accuracy']:.2f} % in"
            f" {record['train']['seconds']:.0f} s on {cores}"
            f" ([json](../../results/{single.name})).",
            "",
        ]
    lines += _labels(name)
    rows = []
    results = ROOT / "results"
    for path in sorted([*results.glob("level-*.json"), *results.glob("compare-*.json")]):
        record = json.loads(path.read_text())
        for method in record["methods"]:
            if method["method"] == name and method["mean"] is not None:
                data = path.stem.removeprefix("compare-").removeprefix("level-")
                seeds = len(method["accuracies"])
                rows.append(
                    f"| {data} | {100 * method['mean']:.2f} | {seeds} | {method['seconds']:.0f} |"
                    f" [json](../../results/{path.name}) |"
                )
    if rows:
        lines += ["On equal terms (`goodness compare`), test accuracy:", ""]
        lines += [
            "| comparison | test % | seeds | seconds | record |",
            "|---|---|---|---|---|",
            *rows,
        ]
    return lines


def _labels(name: str) -> list[str]:
    """A method's rows in the comparison of ways to write the label, and its picture."""
    path = ROOT / "results" / "labels.json"
    tests = {
        key.partition(": ")[0]: run["test"]
        for key, run in json.loads(path.read_text())["runs"].items()
        if run["method"] == name
    }
    if not tests:
        return []
    lines = [
        "The same small network with each way to write the label, five epochs"
        f" ([json](../../results/{path.name})):",
        "",
        "| data | by goodness, test % | linear readout, test % |",
        "|---|---|---|",
    ]
    for data, test in tests.items():
        by_goodness, linear = (100 * test["readouts"][readout] for readout in ("sum", "fusion"))
        lines.append(f"| {data} | {by_goodness:.1f} | {linear:.1f} |")
    return [*lines, "", "![images with labels, and accuracies](../labels.png)", ""]


def main() -> int:
    """Write the pages, or only tell whether they are fresh."""
    pages = {PAGES / "README.md": index()}
    pages |= {PAGES / f"{name}.md": page(name) for name in METHODS}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    stale += [path for path in PAGES.glob("*.md") if path not in pages]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run 'make readme'", file=sys.stderr)
        return int(bool(stale))
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in stale:
        if path in pages:
            path.write_text(pages[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
