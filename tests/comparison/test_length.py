"""Runs take the seconds they are given, in steps and not in passes."""

from __future__ import annotations

import pytest

from goodness.comparison.length import (
    FEWEST_STEPS,
    VALIDATION_SHARE,
    VALIDATIONS,
    Length,
    Pace,
    corrected,
    fitting,
    trial_of,
)


@pytest.mark.parametrize("step", [0.0007, 0.013, 0.09, 0.31])
@pytest.mark.parametrize("validation", [0.0, 0.04, 0.9, 2.7])
@pytest.mark.parametrize("seconds", [20.0, 60.0, 120.0])
def test_a_run_takes_the_seconds_given(step, validation, seconds):
    pace = Pace(step, validation)
    length = fitting(pace, seconds)

    assert pace.seconds(length) == pytest.approx(seconds, rel=0.02)
    assert 1 <= length.epochs <= VALIDATIONS
    assert length.epochs * validation <= VALIDATION_SHARE * seconds


def test_no_other_number_of_validations_comes_closer():
    pace, seconds = Pace(0.9, 0.35), 20.0  # 22 steps: they do not divide at will
    found = pace.seconds(fitting(pace, seconds))
    others = [
        pace.seconds(Length(epochs, steps))
        for epochs in range(6, 12)
        for steps in range(2, 30)
        if epochs * steps >= FEWEST_STEPS
    ]

    assert abs(found - seconds) <= min(abs(other - seconds) for other in others) + 0.1


def test_a_run_that_cannot_be_short_enough_still_trains():
    assert fitting(Pace(1.0, 50.0), 2.0) == Length(1, FEWEST_STEPS)


def test_a_trial_has_its_part_of_the_steps():
    for length in (Length(20, 37), Length(12, 50), Length(1, 700), Length(3, 200)):
        for share in (0.2, 0.5):
            trial = trial_of(length, share)
            assert trial.steps == pytest.approx(share * length.steps, rel=0.05)
            assert trial.epochs == max(1, round(length.epochs * share))
        assert trial_of(length, 1.0) == length
    assert trial_of(Length(1, 30), 0.2).steps == FEWEST_STEPS


def test_runs_correct_the_pace_by_their_median():
    pace = Pace(0.1, 2.0)

    def run(seconds):
        return {"epochs": 2, "steps_per_epoch": 100, "seconds": seconds}  # expected: 24

    assert corrected(pace, []) == pace
    assert corrected(pace, [run(12.0)]) == Pace(0.05, 1.0)
    assert corrected(pace, [run(24.0), run(48.0), run(2400.0)]) == Pace(0.2, 4.0)
    again = corrected(pace, [run(30.0)])
    assert again.seconds(fitting(again, 60.0)) == pytest.approx(60.0, rel=0.02)
