from __future__ import annotations

import pytest

import goodness
from helpers import TINY


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run on the embedded digits that has learnt something."""
    return goodness.fit(
        method="sff",
        model=TINY,
        out=tmp_path_factory.mktemp("export") / "run",
        epochs=3,
        final_test=False,
    )
