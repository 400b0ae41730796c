"""Write tables of README.md and docs: results from records.

python tools/readme.py [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from goodness.sharing.folder import SharedFolder
from goodness.sharing.locating import locate, pretrained_names
from links import linked

ROOT = Path(__file__).parent.parent


def costs() -> str:
    """One row per way of the records of ``benchmarks/speed.py``."""
    rows = [
        "| network | way | speed relative to backprop | activations relative to it | record |",
        "|---|---|---|---|---|",
    ]
    for name in ("vgg16l", "vgg8"):
        path = ROOT / "results" / f"bench-{name}.json"
        for way, found in json.loads(path.read_text())["ways"].items():
            if way != "backprop":
                speed, size = found["speed_of_backprop"], found["activations_of_backprop"]
                link = f"[json](results/{path.name})"
                rows.append(f"| {name} | {way} | {speed:.2f} | {size:.2f} | {link} |")
    return "\n".join(rows) + "\n"


def results() -> str:
    """One row per record of ``benchmarks/level.py``."""
    rows = [
        "| comparison | `spectral-local`, test % | `backprop`, test % | seconds | passes |"
        " images/s, of backprop's | seeds | record |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted((ROOT / "results").glob("level-*.json")):
        columns = {method["method"]: method for method in json.loads(path.read_text())["methods"]}
        pair = columns["spectral-local"], columns["backprop"]
        speeds = [column["images_per_second"] for column in pair]
        cells = [
            path.stem.removeprefix("level-"),
            *(_accuracy(column) for column in pair),
            " / ".join(f"{column['seconds']:.0f}" for column in pair),
            " / ".join(f"{column['epochs']:.1f}" for column in pair),
            f"{speeds[0] / speeds[1]:.2f}",
            len(pair[0]["accuracies"]),
            f"[json](results/{path.name})",
        ]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"


def _accuracy(column: dict[str, Any]) -> str:
    """Mean and standard deviation between seeds, in %."""
    deviation = f" ± {100 * column['std']:.2f}" if column["std"] is not None else ""
    return f"{100 * column['mean']:.2f}{deviation}"


def pretrained() -> str:
    """One row per trained network in the package."""
    rows = [
        "| name | test accuracy | parameters | size | seconds of one core |",
        "|---|---|---|---|---|",
    ]
    for name in pretrained_names():
        shared = SharedFolder(locate(name))
        result = shared.read_result()
        assert result is not None
        assert result.test is not None
        cells = [
            f"`{name}`",
            f"{100 * result.test.accuracy:.2f} %",
            f"{result.train.parameters:,}",
            f"{shared.weights_file.stat().st_size / 1e6:.2f} MB",
            f"{result.train.seconds:.0f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def exits() -> str:
    """One row per data set of ``benchmarks/exits.py``."""
    rows = [
        "| data | FLOPs saved, % | accuracy with exits, % | without, % | aim: save, lose | |",
        "|---|---|---|---|---|---|",
    ]
    for data, found in json.loads((ROOT / "results" / "exits.json").read_text())["data"].items():
        aim, test = found["aim"], found["test"]
        cells = [
            data,
            f"{100 * found['saved']:.1f}",
            f"{100 * test['accuracy']:.2f}",
            f"{100 * test['accuracy_full']:.2f}",
            f">= {100 * aim['saved']:.0f} % at <= {aim['points_lost']:.1f} points",
            "reached" if aim["reached"] else "missed",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def gpu() -> str:
    """One row per record of ``benchmarks/gpu.sh``."""
    records = sorted((ROOT / "results" / "gpu").glob("*.json"))
    if not records:
        return "No record yet.\n"
    rows = ["| record | GPU | found |", "|---|---|---|"]
    for path in records:
        record = json.loads(path.read_text())
        device = record["environment"]["device"]
        rows.append(f"| [{path.stem}](../results/gpu/{path.name}) | {device} | {found(record)} |")
    return "\n".join(rows) + "\n"


def found(record: dict[str, Any]) -> str:
    """What a record of a bench, a comparison or a run says, in one line."""
    if "ways" in record:
        ways = record["ways"].items()
        return "; ".join(
            f"{name}: {way['images_per_second']:,.0f} images/s,"
            f" {way['speed_of_backprop']:.2f} of backprop's,"
            f" activations {way['activations_of_backprop']:.2f}"
            for name, way in ways
        )
    if isinstance(record.get("methods"), list):
        columns = (method for method in record["methods"] if method["mean"] is not None)
        return "; ".join(
            f"{method['method']} {_accuracy(method)} % in {method['seconds']:.0f} s"
            for method in columns
        )
    return f"{100 * record['test']['accuracy']:.2f} % in {record['train']['seconds']:.0f} s"


def device() -> str:
    """One row per network and batch size of ``benchmarks/device.py``."""
    groups: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in json.loads((ROOT / "results" / "device.json").read_text())["rows"]:
        groups.setdefault((row["network"], row["batch"]), {})[row["method"]] = row
    methods = list(next(iter(groups.values())))
    rows = [
        f"| network | images | {' | '.join(f'`{method}`' for method in methods)} |",
        "|" + "---|" * (2 + len(methods)),
    ]
    for (network, batch), by_method in groups.items():
        shape = "x".join(map(str, by_method["backprop"]["image_shape"]))
        sizes = (_planned(row) for row in by_method.values())
        rows.append(f"| `{network}`, {shape} | {batch} | {' | '.join(sizes)} |")
    return "\n".join(rows) + "\n"


def _planned(row: dict[str, Any]) -> str:
    """KiB of the largest program, and how much of backprop's that is."""
    share = f" ({row['of_backprop']:.0%})" if "of_backprop" in row else ""
    return f"{row['largest_bytes'] / 1024:,.0f}{share}"


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {"costs": costs, "results": results, "exits": exits},
    ROOT / "docs" / "usage.md": {"pretrained": pretrained},
    ROOT / "docs" / "performance.md": {"gpu": gpu},
    ROOT / "docs" / "export.md": {"device": device},
}
"""The pages, and their tables."""


def updated(page: Path) -> str:
    """A page's text with fresh tables."""
    text = page.read_text()
    for name, table in PAGES[page].items():
        start, end = f"<!-- {name}: start -->\n", f"<!-- {name}: end -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = before + start + table() + end + after
    return linked(text)


if __name__ == "__main__":
    for page in PAGES:
        fresh = updated(page)
        if "--check" not in sys.argv:
            page.write_text(fresh)
        elif fresh != page.read_text():
            sys.exit(f"{page.relative_to(ROOT)}: a table is stale; run `make readme`")
