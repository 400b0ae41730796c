#!/usr/bin/env bash
# All that a GPU is wanted for, in pieces: see benchmarks/gpu.py. Needs no installation of goodness.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" exec python3 benchmarks/gpu.py "$@"
