"""Learning rates over a run, against torch's own schedulers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from goodness.clock import Clock
from goodness.optim.lr_schedules import LR_SCHEDULES, constant, cosine, linear, one_cycle


def torch_s(scheduler, length, **options):
    """The factors of torch's own scheduler over ``length`` steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = scheduler(optimizer, **options)
    factors = [schedule.get_last_lr()[0]]
    for _ in range(length - 1):
        optimizer.step()
        schedule.step()
        factors.append(schedule.get_last_lr()[0])
    return factors


@pytest.mark.parametrize("final", [0.0, 0.05])
@pytest.mark.parametrize(("every", "length"), [("step", 20), ("epoch", 4)])
def test_cosine_is_torch_s_and_stays_the_same_within_an_epoch(every, length, final):
    factors = [cosine(Clock(step, 5, 4), final=final, every=every) for step in range(20)]

    annealing = torch.optim.lr_scheduler.CosineAnnealingLR
    expected = torch_s(annealing, length, T_max=length, eta_min=final)
    assert factors == pytest.approx([factor for factor in expected for _ in range(20 // length)])


def test_warm_up_rises_evenly_to_one_and_a_full_cosine_follows():
    factors = [cosine(Clock(step, 5, 4), warmup=0.25) for step in range(20)]

    # Half a step ahead: no step is lost to a rate of 0.
    assert factors[:5] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    expected = [0.5 * (1 + math.cos(math.pi * i / 15)) for i in range(15)]
    assert factors[5:] == pytest.approx(expected)


def test_warm_up_by_epochs_is_half_an_epoch_ahead():
    factors = [cosine(Clock(step, 5, 4), warmup=0.5, every="epoch") for step in range(20)]

    assert factors == pytest.approx([f for f in [0.25, 0.75, 1.0, 0.5] for _ in range(5)])


@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 11), (5, 4), (7, 3), (40, 5)])
def test_a_warm_up_rises_to_one_at_most_and_a_fall_follows(steps_per_epoch, epochs, warmup, every):
    steps = steps_per_epoch * epochs
    clocks = [Clock(step, steps_per_epoch, epochs) for step in range(steps + 1)]
    factors = [cosine(clock, warmup=warmup, every=every) for clock in clocks]

    assert factors[0] > 0
    assert all(0 <= factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert all(one <= other for one, other in pairwise(factors[: top + 1]))
    assert all(one >= other for one, other in pairwise(factors[top:]))
    # No jump: a step moves the rate by a step's share of the warm-up or of the cosine.
    length = steps if every == "step" else epochs
    rise, fall = 1 / max(warmup * length, 1), math.pi / 2 / max((1 - warmup) * length, 1)
    moves = [abs(one - other) for one, other in pairwise(factors[:-1])]
    assert max(moves) <= max(rise, fall) + 1e-9


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 11, 100])
@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.85])
def test_one_cycle_is_torch_s(steps, warmup):
    factors = [one_cycle(Clock(step, steps, 1), warmup=warmup, final=0.01) for step in range(steps)]

    options = {"max_lr": 1.0, "div_factor": 25, "final_div_factor": 4, "cycle_momentum": False}
    one = torch.optim.lr_scheduler.OneCycleLR
    assert factors == pytest.approx(
        torch_s(one, steps, total_steps=steps, pct_start=warmup, **options)
    )


def test_one_cycle_may_reach_its_peak_at_the_first_step():
    assert one_cycle(Clock(0, 10, 1), warmup=0.1) == 1.0  # torch's own divides by zero


def test_the_last_step_of_an_epoch_belongs_to_it():
    assert [Clock(step, 3, 2).epoch for step in range(6)] == [0, 0, 0, 1, 1, 1]


def test_constant():
    assert [constant(Clock(step, 3, 2)) for step in range(6)] == [1.0] * 6


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
def test_every_rate_is_a_function_of_the_clock_alone(name):
    part = LR_SCHEDULES.resolve(name)
    forwards = [LR_SCHEDULES.make(part, Clock(step, 3, 4)) for step in range(12)]
    backwards = [LR_SCHEDULES.make(part, Clock(step, 3, 4)) for step in reversed(range(12))]

    assert forwards == backwards[::-1]


def test_linear_is_forward_forward_s_by_default():
    factors = [linear(Clock(step, 5, 8)) for step in range(40)]

    epochs = [min(1.0, 2 * (1 + 8 - e) / 8) for e in range(1, 9)]
    assert factors == pytest.approx([factor for factor in epochs for _ in range(5)])


@pytest.mark.parametrize("start", [0.0, 0.25])
def test_linear_falls_step_by_step_as_torch_s(start):
    factors = [linear(Clock(step, 5, 4), start=start, every="step") for step in range(21)]

    flat = int(start * 20)
    fall = torch_s(
        torch.optim.lr_scheduler.LinearLR,
        21 - flat,
        **{"start_factor": 1.0, "end_factor": 0.0, "total_iters": 20 - flat},
    )
    assert factors == pytest.approx([1.0] * flat + fall)


@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("start", [0.0, 0.5, 1.0])
def test_linear_warms_up_as_cosine_does_and_falls_behind_it(start, every):
    clocks = [Clock(step, 5, 8) for step in range(40)]
    factors = [linear(clock, start=start, warmup=0.25, every=every) for clock in clocks]

    assert factors[:10] == [cosine(clock, warmup=0.25, every=every) for clock in clocks[:10]]
    later = [linear(clock, start=max(start, 0.25), every=every) for clock in clocks]
    assert factors[10:] == later[10:]
    assert max(factors) == 1.0
