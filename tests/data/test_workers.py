"""Processes that read images."""

from __future__ import annotations

import time
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


def test_threads_give_everything_in_order_and_begin_little(monkeypatch):
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 2)
    begun = []

    def slow(item):
        begun.append(item)
        if item % 3 == 0:
            time.sleep(0.002)
        return 2 * item

    found = workers.by_threads(slow, range(40), ahead=3)
    assert next(found) == 0
    found.close()
    assert len(begun) <= 2 + 3 + 1
    assert list(workers.by_threads(slow, range(40), ahead=3)) == [2 * item for item in range(40)]


def test_an_error_in_a_thread_is_raised_where_its_image_is_due():
    def divide(item):
        return 1 / (2 - item)

    found = workers.by_threads(divide, range(5), ahead=3)
    assert [next(found), next(found)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_a_process_says_nothing_of_connections_to_one_that_has_gone(capsys):
    for error in (ConnectionResetError("reset"), BrokenPipeError("pipe"), EOFError()):
        workers._shown_unless_lost(type(error), error, None)
    assert capsys.readouterr().err == ""
    workers._shown_unless_lost(ValueError, ValueError("an error"), None)
    assert "ValueError: an error" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), EOFError()])
def test_a_process_that_was_killed_while_it_handed_a_batch_over_is_said(monkeypatch, error):
    def lost(*given, **options):
        yield [1]
        raise error

    monkeypatch.setattr(workers, "DataLoader", lost)
    found = workers.read_batches(Broken(), [[0], [1]], num_workers=0, pin_memory=False)
    assert next(found) == [1]
    with pytest.raises(RunError, match="a process that reads images was lost"):
        next(found)
