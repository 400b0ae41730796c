from __future__ import annotations

import itertools

import pytest
import torch

from goodness import Learner, audit
from goodness.seeds import mix, permutation, seed_generators
from helpers import random_batch, tiny_network


def drawing():
    """A network whose presentation, boundary and negatives draw random numbers."""
    values = {"boundary": {"name": "rms", "dropout": 0.3}, "lr_schedule": "constant"}
    return tiny_network("ff", num_classes=3, **values)


def step(network):
    return Learner(network).step(*random_batch(6, num_classes=3))


def test_every_place_has_its_own_seed():
    places = list(itertools.product(range(5), ["block", "augment"], range(20), range(5)))

    seeds = {mix(*place) for place in places}

    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Numbers next to each other do not run together.
    assert mix(0, 1, 23) != mix(0, 12, 3)
    assert mix(1, "order") != mix(1, "orde", "r")


def test_seeds_are_the_same_everywhere_and_for_ever():
    # Pinned: with another value no old run could be resumed.
    assert mix(0, "order", 0) == 1829853113658518448


def test_a_permutation_has_every_row_once_and_is_a_function_of_the_seed():
    order = permutation(100, seed=3)

    assert sorted(order.tolist()) == list(range(100))
    assert torch.equal(order, permutation(100, seed=3))
    assert not torch.equal(order, permutation(100, seed=4))


def test_seeding_decides_what_layers_draw():
    seed_generators(torch.device("cpu"), 5)
    one = torch.rand(3)
    seed_generators(torch.device("cpu"), 5)

    assert torch.equal(one, torch.rand(3))


@pytest.mark.parametrize(
    "use",
    [lambda: permutation(10, seed=1), lambda: step(drawing()), lambda: audit(drawing())],
    ids=["permutation", "step", "audit"],
)
def test_the_user_s_own_draws_go_on(use):
    torch.manual_seed(0)
    state = torch.random.get_rng_state()

    use()

    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_a_step_draws_does_not_hang_on_the_user_s_generator():
    losses = []
    for seed in (0, 1):
        learner = Learner(drawing())
        for number in range(2):
            torch.manual_seed(seed)
            losses.append(learner.step(*random_batch(6, num_classes=3, seed=number)).loss)

    assert torch.equal(losses[1], losses[3])


def test_a_network_is_built_without_seeding_other_devices(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)

    drawing()

    assert seeded == []
