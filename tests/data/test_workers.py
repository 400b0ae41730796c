"""Processes that read images."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from goodness.data import workers
from goodness.errors import InputError, RunError


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 3:
            raise InputError("cannot read the image d.png: it is gone")
        return torch.tensor(index)


def read(num_workers):
    batches = workers.read_batches(
        Broken(), [[0, 1], [2, 3]], num_workers=num_workers, pin_memory=False
    )
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_a_process_cannot_read_is_one_line(num_workers):
    with pytest.raises(InputError) as error:
        read(num_workers)
    assert str(error.value) == "cannot read the image d.png: it is gone"


def test_without_room_to_share_no_process_begins(monkeypatch, tmp_path):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(workers, "shutil", SimpleNamespace(disk_usage=lambda _: usage(16384)))
    with pytest.raises(RunError, match=r"which has 16384 bytes left \(--num-workers 0"):
        read(1)
    with pytest.raises(InputError):
        read(0)


def test_a_process_says_nothing_of_connections_to_one_that_has_gone(capsys):
    for error in (ConnectionResetError("reset"), BrokenPipeError("pipe"), EOFError()):
        workers._shown_unless_lost(type(error), error, None)
    assert capsys.readouterr().err == ""
    workers._shown_unless_lost(ValueError, ValueError("an error"), None)
    assert "ValueError: an error" in capsys.readouterr().err
