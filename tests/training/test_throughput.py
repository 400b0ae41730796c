from __future__ import annotations

import pytest
import torch

from goodness.training import throughput
from goodness.training.throughput import WARM_STEPS, Throughput


@pytest.fixture
def clock(monkeypatch):
    """``clock[0]`` is the time."""
    now = [100.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])
    return now


def steps(watch, clock, count, first=0, data=1.0, training=3.0):
    for step in range(first, first + count):
        watch.begin(step)
        clock[0] += data
        watch.data_ready(step)
        clock[0] += training
        watch.end(step)
        clock[0] += 7.0  # callbacks and validation


def test_the_first_steps_and_what_is_between_steps_do_not_count_as_speed(clock):
    watch = Throughput(torch.device("cpu"), images=8, every=25)
    steps(watch, clock, WARM_STEPS, training=90.0)
    assert watch.images_per_second is None

    steps(watch, clock, 5, first=WARM_STEPS)

    assert watch.images_per_second == 8 / 4


def test_a_resumed_run_counts_the_time_before_but_not_its_preparation(clock):
    watch = Throughput(torch.device("cpu"), images=8, every=25)
    watch.go_on(50.0)
    clock[0] += 1000.0
    watch.start()
    clock[0] += 2.0

    assert watch.record() == {"seconds": 52.0, "images_per_second": None, "data_share": 0.0}


def test_what_is_paused_takes_no_time(clock):
    watch = Throughput(torch.device("cpu"), images=8, every=25)
    watch.start()
    clock[0] += 2.0
    with watch.paused():
        clock[0] += 50.0
        assert watch.seconds == 2.0  # what a checkpoint keeps
    clock[0] += 1.0

    assert watch.seconds == 3.0


@pytest.mark.parametrize(
    ("device", "share", "waits"), [("cpu", 10 / 44, 0), ("cuda", 4 / 8, 6), ("mps", 4 / 8, 6)]
)
def test_a_gpu_is_waited_for_on_some_steps_only(clock, monkeypatch, device, share, waits):
    waited = []
    monkeypatch.setattr(throughput, "synchronize", lambda _: waited.append(clock[0]))
    watch = Throughput(torch.device(device), images=8, every=4)
    for step in range(8):
        data, training = (2.0, 2.0) if step % 4 == 0 else (1.0, 5.0)
        steps(watch, clock, 1, step, data, training)

    assert watch.record()["data_share"] == round(share, 4)
    assert len(waited) == waits
