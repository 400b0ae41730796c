"""The report of a comparison: Markdown, and one HTML file that holds everything."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from goodness.comparison.figures import draw
from goodness.comparison.study import Study
from goodness.comparison.summary import Row, caveats, summarise
from goodness.files import write_json, write_whole

SCHEMA = 1
COLUMNS = (
    *("method", "test accuracy", "seeds", "published", "blocks' own", "images/s", "peak memory"),
    *("seconds", "epochs", "to target", "joules", "parameters", "learning rate", "locality"),
)
PROTOCOLS = {
    "equal": "the same network, data order, augmentation, batch size, learning-rate schedule and"
    " budget of seconds (as many whole epochs as were expected to fit) for every method, and three"
    " learning rates tried for each on validation",
    "paper": "each method with its paper's network and values, its learning rate among them, for"
    " the same budget of seconds",
}


def write_report(study: Study) -> dict[str, Path]:
    """Write ``report.json``, ``report.md``, ``report.html`` and the pictures into the folder."""
    rows, target = summarise(study)
    pictures = draw(rows, study.path)
    terms = study.terms
    counts = sorted(set(study.seeds.values()))
    head = {
        "title": f"{Path(terms.data).name}: {len(rows)} methods, {terms.protocol} terms",
        "terms": f"{PROTOCOLS[terms.protocol]}. Seconds per method and seed:"
        f" {terms.budget:g}; seeds: {' or '.join(map(str, counts))}.",
        "command": "\n".join(commands(study)),
        "environment": _environment(study),
        "target": None if target is None else f"{target:.2%}",
        "caveats": caveats(rows),
        "notes": [(row.method, row.note) for row in rows if row.note],
        "refused": [(row.method, row.refused) for row in rows if row.refused],
        "columns": COLUMNS,
        "rows": [_cells(row) for row in rows if row.accuracies],
    }
    templates = Environment(
        loader=PackageLoader("goodness.comparison"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    paths = {name: study.path / f"report.{name}" for name in ("json", "md", "html")}
    write_json(paths["json"], {"schema": SCHEMA, "terms": head["terms"], **_record(study, rows)})
    names = {name: path.name for name, path in pictures.items()}
    markdown = templates.get_template("report.md.j2").render(**head, pictures=names)
    write_whole(paths["md"], markdown.encode())
    embedded = {
        name: base64.b64encode(path.read_bytes()).decode() for name, path in pictures.items()
    }
    templates.autoescape = True
    page = templates.get_template("report.html.j2").render(**head, pictures=embedded)
    write_whole(paths["html"], page.encode())
    return paths


def commands(study: Study) -> list[str]:
    """The command lines that make this comparison again, one per number of seeds."""
    terms = study.terms
    common = [f"--data={terms.data}", f"--budget={terms.budget:g}", f"--protocol={terms.protocol}"]
    common += [] if terms.data_root is None else [f"--data-root={terms.data_root}"]
    common += [f"--set={key}={json.dumps(value)}" for key, value in terms.values.items()]
    lines = []
    for count in sorted(set(study.seeds.values())):
        methods = [method for method, seeds in study.seeds.items() if seeds >= count]
        lines.append(shlex.join(["goodness", "compare", *methods, f"--seeds={count}", *common]))
    return lines


def _record(study: Study, rows: list[Row]) -> dict[str, Any]:
    """What is known of every method, without the epochs in between."""
    kept = []
    for row in rows:
        entry = {key: value for key, value in vars(row).items() if key != "histories"}
        kept.append({**entry, "mean": row.mean, "std": row.std})
    return {"commands": commands(study), "environment": _environment(study), "methods": kept}


def _environment(study: Study) -> dict[str, Any]:
    """What all runs have in common, and every commit that they were made with."""
    files = [run.environment_file for method in study.seeds for run in study.runs(method)]
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    if not found:
        return {}
    same = {k: v for k, v in found[0].items() if all(other.get(k) == v for other in found)}
    # Another run may have had another commit.
    commits = list(
        {json.dumps(environment["git"]): environment["git"] for environment in found}.values()
    )
    found_in_all = {**same, "git": commits[0] if len(commits) == 1 else commits}
    return {key: value for key, value in found_in_all.items() if value not in (None, [])}


def _cells(row: Row) -> list[str]:
    assert row.mean is not None
    accuracy = f"{row.mean:.2%}" + ("" if row.std is None else f" ± {100 * row.std:.2f}")
    return [
        row.method,
        accuracy,
        str(len(row.accuracies)),
        _or_dash(row.published, "{:.2f}%"),
        " ".join("–" if a is None else f"{100 * a:.1f}" for a in row.per_block[0]),
        _or_dash(row.images_per_second, "{:,.0f}"),
        _or_dash(row.peak_memory_bytes and row.peak_memory_bytes / 2**20, "{:,.0f} MiB"),
        _or_dash(row.seconds, "{:.0f}"),
        _or_dash(row.epochs, "{:g}"),
        _or_dash(row.arrival, "{:.0f} s"),
        _or_dash(row.joules, "{:,.0f}"),
        _or_dash(row.parameters, "{:,}"),
        _or_dash(row.lr, "{:g}"),
        row.locality,
    ]


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
