"""What tests of comparisons share: a small one on the digits."""

from __future__ import annotations

import json

from goodness.comparison import Study
from goodness.comparison.study import Terms

TINY = {"model": {"name": "small-cnn", "widths": [10, 12], "pools": [1]}, "num_threads": 1}
NARROW = {**TINY, "model": {**TINY["model"], "widths": [9, 9]}}
"""Ten classes do not fit into nine channels."""


def study_of(path, *methods, seeds=1, matches=(), target=None, **changes):
    """A comparison in a folder; further names are those of `Terms`."""
    given = {"data": "digits", "budget": 1.0, "protocol": "equal", "values": TINY}
    return Study.create(path, Terms(**{**given, **changes}), methods, seeds, matches, target)


def read(file):
    """The content of a JSON file, whoever wrote it."""
    content = json.loads(file.read_text())
    return content.get("values", content)
