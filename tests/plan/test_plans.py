"""Which blocks learn at a step."""

from __future__ import annotations

import pytest

from goodness import InputError
from goodness.clock import Clock
from goodness.optim.lr_schedules import cosine
from goodness.plan import PLANS, Frozen


def make(name, count, **options):
    return PLANS.make(PLANS.resolve({"name": name, **options}), count)


def learning(plan, step, steps_per_epoch=10, epochs=4):
    segments = plan.at(Clock(step, steps_per_epoch, epochs))
    return [segment.losses for segment in segments if segment.losses]


@pytest.mark.parametrize("name", sorted(PLANS))
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_plan_has_every_block_once_and_in_order(name, count):
    plan = make(name, count)
    owners = {(s.blocks, s.losses, s.owner) for s in plan.segments()}
    for step in range(40):
        segments = plan.at(Clock(step, 10, 4))
        assert [i for segment in segments for i in segment.blocks] == list(range(count))
        for segment in segments:
            assert not segment.losses or (segment.blocks, segment.losses, segment.owner) in owners
            assert set(segment.losses) <= set(segment.blocks)


def test_one_block_after_another():
    plan = make("sequential", 4)

    assert [learning(plan, step) for step in (0, 9, 10, 39)] == [[(0,)], [(0,)], [(1,)], [(3,)]]
    frozen = [segment.training for segment in plan.at(Clock(15, 10, 4))]
    assert frozen == [False, True, False, False]


def test_the_rest_of_the_run_is_for_the_readouts():
    plan = make("sequential", 2, until=0.5)

    found = [learning(plan, step) for step in (9, 10, 19, 20, 39)]
    assert found == [[(0,)], [(1,)], [(1,)], [], []]


def test_blocks_have_finished_when_their_windows_are_over():
    def finished(plan, steps):
        return [plan.finished(Clock(step, 10, 4)) for step in steps]

    assert finished(make("sequential", 4), (0, 9, 10, 20, 39)) == [0, 0, 1, 2, 3]
    assert finished(make("sequential", 2, until=0.5), (10, 19, 20)) == [1, 1, 2]
    overlapping = make("windows", 3, windows=[[0, 2], [0, 2], [0, 4]])
    assert finished(overlapping, (0, 19, 20)) == [0, 0, 2]
    # The second block is done first, but the first one still changes what it is given.
    assert finished(make("windows", 2, windows=[[1, 2], [0, 1]]), (0, 20, 39)) == [0, 0, 0]
    assert finished(make("together", 3), (0, 39)) == [0, 0]
    assert finished(Frozen(make("together", 1), 2), (0, 39)) == [2, 2]
    assert finished(Frozen(make("sequential", 2), 2), (0, 19, 20)) == [2, 2, 3]


def test_blocks_behind_frozen_ones_have_the_whole_run():
    plan = Frozen(make("sequential", 2), 2)

    found = [learning(plan, step) for step in (0, 19, 20, 39)]
    assert found == [[(2,)], [(2,)], [(3,)], [(3,)]]
    first, second, third = plan.at(Clock(0, 10, 4))
    assert (first.blocks, first.losses, first.training) == (range(2), (), False)
    assert (second.blocks, second.losses, second.owner) == (range(2, 3), (2,), 2)
    assert (third.blocks, third.losses, third.training) == (range(3, 4), (), False)
    whole = Frozen(make("end-to-end", 3), 1)
    assert [s.blocks for s in whole.at(Clock(0, 10, 4))] == [range(1), range(1, 4)]
    assert [(s.losses, s.owner) for s in whole.segments()] == [((3,), 1)]


@pytest.mark.parametrize("name", sorted(PLANS))
def test_what_has_finished_never_learns_again(name):
    plan = make(name, 4)
    done = [plan.finished(Clock(step, 10, 4)) for step in range(40)]
    assert done == sorted(done)
    for step, count in enumerate(done):
        for segment in plan.at(Clock(step, 10, 4)):
            assert segment.blocks[0] >= count or not (segment.training or segment.losses)


def test_windows_in_the_paper_s_epochs_are_scaled_to_the_run():
    plan = make("windows", 3, windows=[[0, 2], [1, 3], [2, 4]])

    found = [learning(plan, step) for step in (0, 10, 20, 30)]
    assert found == [[(0,)], [(0,), (1,)], [(1,), (2,)], [(2,)]]
    # Twice as long a run has windows twice as long.
    assert learning(plan, 19, epochs=8) == [(0,)]
    # The learning rate's clock runs inside the window.
    second = plan.at(Clock(15, 10, 4))[1]
    assert (second.clock.step, second.clock.steps) == (5, 20)


def test_windows_of_equal_length_are_spread_over_the_run():
    expected = [(0, 1 / 2), (1 / 6, 4 / 6), (2 / 6, 5 / 6), (1 / 2, 1)]
    assert make("windows", 4, length=0.5).windows == [pytest.approx(w) for w in expected]
    # Those that are given are stretched to another depth.
    assert make("windows", 6, windows=[[0, 1], [1, 2]]).windows == [(0, 0.5)] * 3 + [(0.5, 1)] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": []}, "at least one"),
        ({"windows": [[2, 1]]}, "ends before it starts"),
        ({"windows": [[0, 3]], "total": 2}, "before the last window's end"),
    ],
)
def test_bad_windows_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make("windows", 3, **options)


def test_pairs_alternate():
    plan = make("pairs", 6)
    even, odd = (plan.at(Clock(step, 10, 4)) for step in (0, 1))

    assert [tuple(s.blocks) for s in even] == [(0, 1), (2, 3), (4, 5)]
    assert [s.losses for s in even] == [(1,), (3,), (5,)]
    assert [tuple(s.blocks) for s in odd] == [(0,), (1, 2), (3, 4), (5,)]
    assert [s.losses for s in odd] == [(0,), (2,), (4,), ()]
    assert not odd[-1].training
    # An optimizer covers the block whose loss it lowers and the one before it.
    owners = [(s.owner, tuple(s.blocks)) for s in plan.segments()]
    assert owners[:3] == [(0, (0,)), (1, (0, 1)), (2, (1, 2))]


def test_calibration_comes_before_the_heads():
    plan = make("calibrated", 2)

    assert learning(plan, 9) == []
    assert all(segment.training for segment in plan.at(Clock(9, 10, 4)))
    assert learning(plan, 10) == [(0,), (1,)]
    assert not any(segment.training for segment in plan.at(Clock(10, 10, 4)))


def test_blocks_that_are_annealed_begin_together_and_are_frozen_one_after_another():
    plan = make("annealed", 4, first=0.4)

    ends = [0.4, 0.6, 0.8, 1.0]
    assert plan.windows == [pytest.approx((0, end)) for end in ends]
    found = [learning(plan, step) for step in (0, 15, 16, 24, 32, 39)]
    every = [(0,), (1,), (2,), (3,)]
    assert found == [every, every, every[1:], every[2:], every[3:], every[3:]]
    assert [plan.finished(Clock(step, 10, 4)) for step in (15, 16, 24, 32)] == [0, 1, 2, 3]
    # Each block's rate goes by its own part of the run, and is 0 at its end.
    for end, segment in zip(ends, plan.at(Clock(10, 10, 4)), strict=True):
        assert segment.clock.steps == round(40 * end)
        assert cosine(segment.clock._replace(step=round(40 * end))) == pytest.approx(0)
    assert make("annealed", 1, first=0.4).windows == [(0, 1)]


@pytest.mark.parametrize("backbone", ["local", "end-to-end"])
def test_heads_follow_the_blocks_one_by_one(backbone):
    plan = make("boosted", 3, backbone=backbone, until=0.5)
    blocks = [(0,), (1,), (2,)] if backbone == "local" else [(2,)]
    found = [learning(plan, step) for step in (0, 19, 20, 29, 30, 39, 80)]
    assert found == [blocks, blocks, [(0,)], [(0,)], [(1,)], [(1,)], [(1,)]]
    assert not any(segment.training for segment in plan.at(Clock(20, 10, 4)))
    assert [plan.finished(Clock(step, 10, 4)) for step in (0, 20, 30, 39)] == [0, 0, 1, 1]
    # Each part has a learning rate's clock of its own.
    clocks = [plan.at(Clock(step, 10, 4))[-1].clock for step in (5, 25, 39)]
    assert [(clock.step, clock.steps) for clock in clocks] == [(5, 20), (5, 10), (9, 10)]
    # The whole network's optimizer is not that of its first block.
    owners = {segment.blocks: segment.owner for segment in plan.segments()}
    assert len(set(owners.values())) == 3
