"""Energy counters, read from files as Linux shows them."""

from __future__ import annotations

import pytest
import torch

from goodness.training.energy import EnergyMeter

CPU = torch.device("cpu")


@pytest.fixture
def rapl(tmp_path):
    for name, start in (("intel-rapl:0", 1_000_000), ("intel-rapl:1", 9_000_000)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "energy_uj").write_text(f"{start}\n")
        (folder / "max_energy_range_uj").write_text("10000000\n")
    part = tmp_path / "intel-rapl:0:0"
    part.mkdir()
    (part / "energy_uj").write_text("777\n")
    return tmp_path


def test_packages_are_added_up_over_the_counter_s_end(rapl):
    meter = EnergyMeter(CPU, rapl)
    assert meter.source == "rapl"
    assert meter.joules() == 0

    (rapl / "intel-rapl:0" / "energy_uj").write_text("3500000\n")
    (rapl / "intel-rapl:1" / "energy_uj").write_text("2000000\n")  # 1 J to its end, then 2 J

    assert meter.joules() == pytest.approx(2.5 + 3.0)


def test_a_counter_that_begins_again_many_times_is_followed(rapl, monkeypatch):
    clock = iter(range(0, 10_000, 61))
    monkeypatch.setattr("goodness.training.energy.time.monotonic", lambda: next(clock))
    meter = EnergyMeter(CPU, rapl)
    for step in range(1, 11):  # 4 J between two looks, 10 J until it begins again
        (rapl / "intel-rapl:0" / "energy_uj").write_text(f"{(1 + 4 * step) % 10 * 1_000_000}\n")
        meter.watch()

    assert meter.joules() == pytest.approx(40)


def test_what_is_paused_does_not_count(rapl):
    meter = EnergyMeter(CPU, rapl)
    counter = rapl / "intel-rapl:0" / "energy_uj"
    counter.write_text("2000000\n")  # 1 J
    with meter.paused():
        counter.write_text("7000000\n")
    counter.write_text("7500000\n")

    assert meter.joules() == pytest.approx(1.5)


def test_where_nothing_counts_there_is_no_number(tmp_path):
    meter = EnergyMeter(CPU, tmp_path)

    assert meter.source is None
    assert meter.joules() is None


def test_counters_that_may_not_be_read_are_no_counters(rapl):
    (rapl / "intel-rapl:1" / "energy_uj").unlink()

    assert EnergyMeter(CPU, rapl).joules() is None
