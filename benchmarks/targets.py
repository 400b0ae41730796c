"""One run per method on MNIST, each in at most 25 minutes on two CPU cores.

    GOODNESS_DATA=... python benchmarks/targets.py [METHOD...]

Each run is the ``goodness train`` command that it prints, with the method's values but for what
`RUNS` says. Writes ``results/mnist-<method>.json``; what is there is left alone, so that the
script may be stopped and started again.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS: dict[str, list[str]] = {
    "cafo": [],
    "sff": ["--epochs=10"],
    "mono-forward": ["--epochs=8"],
    "ff": ["--epochs=60"],
    "cwc": [],
    "predsim-fast": ["--epochs=6"],
    "ff-cnn": ["--epochs=8", "--set=model.widths=[16,16,16]", "--lr=1e-3", "--batch-size=128"],
}


def main() -> None:
    """Run what is missing."""
    for method in sys.argv[1:] or RUNS:
        path = Path("results") / f"mnist-{method}.json"
        if path.exists():
            continue
        words = [f"--method={method}", "--data=mnist", *RUNS[method]]
        command = shlex.join(["goodness", "train", *words])
        print(command, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "run"
            subprocess.run(
                [sys.executable, "-m", "goodness", "train", *words, f"--out={folder}"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            environment = json.loads((folder / "environment.json").read_text())
            del environment["command"]  # it names this run's scratch folder
            result = json.loads((folder / "result.json").read_text())
        path.parent.mkdir(exist_ok=True)
        record = {"schema": 1, "command": command, "environment": environment, **result}
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"  test {result['test']['accuracy']:.4f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
