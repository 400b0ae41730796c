from __future__ import annotations

import itertools

import pytest
import torch

from goodness import audit, build
from goodness.seeds import mix, permutation, seed_generators


def test_every_place_has_its_own_seed():
    places = list(itertools.product(range(5), ["block", "augment"], range(20), range(5)))

    seeds = {mix(*place) for place in places}

    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_numbers_next_to_each_other_do_not_run_together():
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


def test_a_permutation_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    state = torch.random.get_rng_state()

    permutation(10, seed=1)

    assert torch.equal(torch.random.get_rng_state(), state)


def test_seeding_decides_what_layers_draw():
    seed_generators(torch.device("cpu"), 5)
    one = torch.rand(3)
    seed_generators(torch.device("cpu"), 5)

    assert torch.equal(one, torch.rand(3))


def small():
    values = {"boundary": {"name": "rms", "dropout": 0.3}, "lr_schedule": "constant"}
    model = {"name": "small-cnn", "widths": [4, 6], "pools": [1]}
    return build("ff", image_shape=(1, 8, 8), num_classes=3, model=model, **values)


@pytest.mark.parametrize("use", ["step", "audit"])
def test_the_user_s_own_draws_go_on_after_a_step(use, batch):
    network = small()
    torch.manual_seed(0)
    state = torch.random.get_rng_state()

    if use == "step":
        network.step(*batch(6, (1, 8, 8), 3))
    else:
        audit(network)

    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_a_step_draws_does_not_hang_on_the_user_s_generator(batch):
    losses = []
    for seed in (0, 1):
        network = small()
        for step in range(2):
            torch.manual_seed(seed)
            loss = network.step(*batch(6, (1, 8, 8), 3, seed=step))
        losses.append(loss)

    assert torch.equal(losses[0], losses[1])


def test_a_network_is_built_without_seeding_other_devices(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)

    small()

    assert seeded == []
