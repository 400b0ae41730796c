"""Run the notebooks of notebooks/, and keep in them what they print and draw.

python tools/notebooks.py [--check] [NOTEBOOK...]

``--check`` runs nothing: it looks whether output is that of the code, and fit to be published.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
LARGEST = 300_000
"""Bytes of a notebook."""
SECONDS = 600
"""That a cell may take, on a slow machine."""
MACHINE = re.compile(r"(?<![\w./:])/[\w.-]+/|\b[A-Z]:\\")
"""Begins the path of a file, which is one of the machine that it ran on."""


def notebooks() -> list[Path]:
    """All of them, in the order that they are read in."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """A notebook in the current format."""
    return nbformat.read(path, as_version=4)


def run(path: Path) -> NotebookNode:
    """A notebook with fresh output, made by a process of its own in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    from nbclient import NotebookClient

    notebook = read(path)
    with tempfile.TemporaryDirectory() as scratch:
        NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": scratch}},
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--log-level=40"],  # that it talks over TCP
        ).execute(env={**os.environ, "PYTHONWARNINGS": "ignore:IProgress not found"})
    # What depends on the machine or the moment would make every run another file.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "output_of": digest(notebook),
    }
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def digest(notebook: NotebookNode) -> str:
    """Of the code, which the output belongs to."""
    code = "\0".join(cell.source for cell in code_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a notebook as it is stored."""
    notebook = read(path)
    if notebook.metadata.get("output_of") != digest(notebook):
        yield "its output is not that of its code: run 'make notebooks'"
    if path.stat().st_size > LARGEST:
        yield f"it has more than {LARGEST} bytes"
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"cell {number} writes to standard error"
            data = output.get("data", {})
            said = f"{output.get('text', '')}{data.get('text/plain', '')}"
            if found := MACHINE.search(said):
                yield f"cell {number} shows a path of a machine: {found[0]}"
            if "image/png" in data and not cell.metadata.get("alt"):
                yield f"cell {number} draws, and has no 'alt' in its metadata"


def main() -> int:
    """Run notebooks, or look at them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebook", nargs="*", type=Path, help="all of them, by default")
    parser.add_argument("--check", action="store_true", help="run nothing")
    asked = parser.parse_args()
    found = 0
    for path in asked.notebook or notebooks():
        if not asked.check:
            print(path.name, file=sys.stderr, flush=True)
            nbformat.write(run(path), path)
        for fault in faults(path):
            found += 1
            print(f"{path.name}: {fault}", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
