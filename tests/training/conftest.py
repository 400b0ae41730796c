from __future__ import annotations

import pytest

from goodness.data import open_data
from goodness.training.run_folder import RunFolder
from goodness.training.trainer import Trainer
from helpers import tiny_network


@pytest.fixture(scope="session")
def digits():
    return open_data("digits")


@pytest.fixture
def trainer_of(tmp_path):
    """``trainer_of(dataset, folder, **values)``: trains a tiny network, into a folder if named."""

    def make(dataset, folder=None, callbacks=(), **values):
        network = tiny_network(num_classes=10, **values)
        run = None
        if folder is not None:
            run = RunFolder(tmp_path / folder)
            if not run.config_file.exists():
                run = RunFolder.create(run.path)
            run.write_config(network.config)
        return Trainer(dataset, network, run, callbacks)

    return make
