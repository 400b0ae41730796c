"""docs/extend.md: its new objective and method work as they stand there, as somebody's package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extend.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
ENTRY_POINTS = re.search(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)

USE = """
import torch
from goodness import Learner, audit, build, fit, list_methods, resolve
assert "mean-activation" in list_methods()
network = build("mean-activation", image_shape=(1, 8, 8), num_classes=10, lr_schedule="constant")
h = torch.rand(2, 48, 8, 8)
# 48 channels for 10 classes: 5, 5, 5, 5, 4, 5, ...
scores = network[0].objective.scores(h)
torch.testing.assert_close(scores[:, 1], h[:, 5:10].mean((1, 2, 3)))
assert not resolve({"method": "mean-activation", "data": "digits"}).augment.flip
print(audit(network))
print(fit("digits", method="mean-activation", epochs=2, lr=1e-2, out="run").result.test.accuracy)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a process in which the page's package is installed."""
    site = tmp_path_factory.mktemp("site")
    (site / "mean_activation.py").write_text("\n\n".join(SNIPPETS))
    info = site / "mean_activation-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mean-activation\nVersion: 1.0\n")
    assert ENTRY_POINTS
    lines = re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", ENTRY_POINTS[1]).replace('"', "")
    (info / "entry_points.txt").write_text(lines)
    return {**os.environ, "PYTHONPATH": str(site)}


def test_the_objective_is_short():
    lines = [line for line in SNIPPETS[0].splitlines() if line.strip()]
    assert len(lines) <= 25


def test_it_trains_and_is_local_where_its_package_is_installed(installed, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", USE], env=installed, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "locality: layer" in done.stdout
    assert float(done.stdout.split()[-1]) > 0.5


def test_it_passes_what_every_method_keeps_to(installed):
    """The conformance tests, as the page tells to run them."""
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "-q", "-rf"]
    command += ["tests/test_methods.py", "-k", "mean-activation"]
    done = subprocess.run(command, env=installed, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "mean-activation" not in done.stdout  # no failure's name
