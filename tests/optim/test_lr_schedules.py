from __future__ import annotations

import math

import pytest
import torch

from goodness.clock import Clock
from goodness.optim.lr_schedules import LR_SCHEDULES, constant, cosine


def torch_s_cosine(length, final):
    """The factors of torch's own scheduler over ``length`` steps."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length, eta_min=final)
    factors = []
    for _ in range(length):
        factors.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize("final", [0.0, 0.05])
def test_cosine_per_step_is_torch_s(final):
    factors = [cosine(Clock(step, 5, 4), final=final) for step in range(20)]

    assert factors == pytest.approx(torch_s_cosine(20, final))


@pytest.mark.parametrize("final", [0.0, 0.05])
def test_cosine_per_epoch_stays_the_same_within_an_epoch(final):
    factors = [cosine(Clock(step, 5, 4), final=final, every="epoch") for step in range(20)]

    expected = [factor for factor in torch_s_cosine(4, final) for _ in range(5)]
    assert factors == pytest.approx(expected)


def test_warm_up_rises_evenly_to_one_and_a_full_cosine_follows():
    factors = [cosine(Clock(step, 5, 4), warmup=0.25) for step in range(20)]

    # Half a step ahead: no step is lost to a rate of 0.
    assert factors[:5] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    expected = [0.5 * (1 + math.cos(math.pi * i / 15)) for i in range(15)]
    assert factors[5:] == pytest.approx(expected)


@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_factors_stay_between_zero_and_one(warmup, every):
    for step in range(21):
        assert 0 <= cosine(Clock(step, 5, 4), warmup=warmup, every=every) <= 1


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
