from __future__ import annotations

import io
import threading
from types import SimpleNamespace

from rich.console import Console

import goodness
from goodness.reports import progress
from goodness.reports.notices import CacheNotice, SetupNotice
from goodness.reports.progress import LiveProgress, Loading, PlainProgress
from goodness.results import Status
from helpers import TINY


def test_plain_progress_is_one_line_per_epoch(trainer, finish_epoch, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    text = io.StringIO()
    plain = PlainProgress(Console(file=text, width=20))
    plain.on_start(trainer)
    for _ in range(2):
        now[0] += 30.0
        plain.on_step(trainer)
        finish_epoch(plain)
    assert text.getvalue().splitlines() == [
        "epoch 1/4  loss 2.5000  train accuracy 70.00%  val accuracy 75.00% (sum)  0:01:30 left",
        "epoch 2/4  loss 1.2500  train accuracy 85.00%  val accuracy 75.00% (sum)"
        "  1,234 images/s  0:01:00 left",
    ]


def test_the_time_left_of_a_resumed_run_counts_its_own_epochs(trainer, finish_epoch, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    finish_epoch(PlainProgress(Console(file=io.StringIO())))
    text = io.StringIO()
    resumed = PlainProgress(Console(file=text, width=200))
    resumed.on_start(trainer)
    now[0] += 10.0
    finish_epoch(resumed)
    assert text.getvalue().endswith("0:00:20 left\n")


def test_the_size_of_cached_features_is_told_beforehand():
    text = io.StringIO()
    notice = CacheNotice(Console(file=text, width=20))
    cache = SimpleNamespace(folder="somewhere", peak_bytes=lambda step: 1_000_000 * step)
    notice.on_start(SimpleNamespace(cache=None))
    assert text.getvalue() == ""
    notice.on_start(SimpleNamespace(cache=cache, step=3))
    assert text.getvalue() == "features on disk: up to 3.0 MB in 'somewhere'\n"


def test_live_progress_shows_blocks_speed_and_time_left(trainer, finish_epoch):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, color_system=None, width=100)
    with LiveProgress(console) as live:
        live.on_start(trainer)
        start = text.getvalue()
        assert "epoch 1/4" in start
        trainer.step = 5
        live.on_step(trainer)
        step = text.getvalue()[len(start) :]
        assert "2,000 images/s  1:01:01 left" in step
        assert ["conv1", "–", "–", "–"] in [line.split() for line in step.splitlines()]
        assert ["conv2", "2.0000", "80.00%", "–"] in [line.split() for line in step.splitlines()]
        finish_epoch(live)
        epoch = text.getvalue()[len(start) + len(step) :]
        assert ["conv2", "2.0000", "80.00%", "80.00%"] in [
            line.split() for line in epoch.splitlines()
        ]
        assert "epoch 2/4" in epoch
        assert "answer: sum" not in start + step
        assert ["answer:", "sum", "75.00%"] in [line.split() for line in epoch.splitlines()]


def test_a_terminal_is_told_at_once_that_it_takes_a_while():
    text, threads = io.StringIO(), threading.active_count()
    with Loading(Console(file=text, force_terminal=True, width=100)) as loading:
        assert "loading torch, the data and the network" in text.getvalue()
        assert threading.active_count() == threads  # processes may be forked
        loading.on_start(None)
        taken = len(text.getvalue())
        assert text.getvalue().endswith("\x1b[2K")  # the line is erased
    assert text.getvalue()[taken:] == ""


def test_a_file_is_not():
    text = io.StringIO()
    with Loading(Console(file=text, force_terminal=False)):
        pass
    assert text.getvalue() == ""


def test_live_progress_looks_at_the_device_rarely(trainer, monkeypatch):
    now, looks = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    numbers = trainer.status()
    trainer.status = lambda: looks.append(now[0]) or numbers
    with LiveProgress(Console(file=io.StringIO(), force_terminal=True)) as live:
        live.on_start(trainer)
        for _ in range(20):
            now[0] += 0.1
            live.on_step(trainer)
    assert 3 <= len(looks) <= 5


def test_the_cursor_is_back_after_an_error(trainer):
    text = io.StringIO()
    try:
        with LiveProgress(Console(file=text, force_terminal=True)) as live:
            live.on_start(trainer)
            assert "\x1b[?25l" in text.getvalue()
            raise RuntimeError
    except RuntimeError:
        pass
    assert text.getvalue().rindex("\x1b[?25h") > text.getvalue().rindex("\x1b[?25l")


def test_of_many_blocks_those_without_a_loss_have_no_row(trainer, make_row):
    text = io.StringIO()
    trainer.network = [SimpleNamespace(objective=place == 10 or None) for place in range(11)]
    trainer.block_names = [f"conv{place + 1}" for place in range(11)]
    trainer.status = lambda: Status(make_row(1, 11).train.blocks, None, None)
    with LiveProgress(Console(file=text, force_terminal=True, width=100)) as live:
        live.on_start(trainer)
    assert "conv11" in text.getvalue()
    assert "conv2" not in text.getvalue()


def test_what_was_found_is_told_before_training(tmp_path):
    text = io.StringIO()
    notice = SetupNotice(Console(file=text, width=20))
    run = goodness.fit(
        "digits", method="sff", model=TINY, epochs=1, batch_size=64, device="cpu", num_threads=1,
        out=tmp_path / "run", callbacks=[notice],
    )  # fmt: skip
    parameters = sum(parameter.numel() for parameter in run.network.parameters())
    assert text.getvalue().splitlines() == [
        "data: digits: 1,293 to train on, 144 to validate, 360 to test (1×8×8, 10 classes)",
        f"network: {TINY['name']}: {len(run.network)} blocks, {parameters:,} parameters",
        "training: sff on cpu with 1 thread: 1 epochs of 20 steps of 64 images",
    ]
