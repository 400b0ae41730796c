"""One run per method on MNIST, each in at most 25 minutes on two CPU cores.

    GOODNESS_DATA=... python benchmarks/targets.py [METHOD...]

Each run is the ``goodness train`` command that it prints, with the method's values but for what
`RUNS` says. Writes ``results/mnist-<method>.json``; what is there is left alone, so that the
script may be stopped and started again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from runs import train, write

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
        result = train([f"--method={method}", "--data=mnist", *RUNS[method]])
        write(path, {"schema": 1, **result})
        print(f"  test {result['test']['accuracy']:.4f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
