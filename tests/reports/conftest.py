from __future__ import annotations

import pytest

from helpers import fake_trainer, finish, row_of_epoch


@pytest.fixture
def make_row():
    return row_of_epoch


@pytest.fixture
def trainer(tmp_path):
    return fake_trainer(tmp_path)


@pytest.fixture
def finish_epoch(trainer):
    """Ends an epoch for a callback."""
    return lambda callback: finish(trainer, callback)
