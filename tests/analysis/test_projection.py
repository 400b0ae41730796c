"""Features in two dimensions: neighbours stay neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from goodness.analysis.projection import project
from helpers import tiny_network


def groups(count=24):
    """Images of two very different kinds in turn, (N, 1, 8, 8)."""
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.randn((count, 1, 8, 8), generator=generator)
    images[::2, :, :4] += 3
    images[1::2, :, 4:] -= 3
    return images


def test_what_is_alike_lies_together_and_every_time_at_the_same_place():
    network, images = tiny_network("asge-fast"), groups()
    found = project(network, images.split(10), [1])
    assert [own.name for own in found] == [network.names[1]]
    points = found[0].points
    assert points.shape == (24, 2)
    assert (found[0].nearest % 2 == np.arange(24) % 2).all()
    gap = np.linalg.norm(points[::2].mean(0) - points[1::2].mean(0))
    assert gap > 2 * max(points[::2].std(), points[1::2].std())
    again = project(network, [images])
    assert np.array_equal(again[1].points, points)


def test_the_nearest_is_found_in_all_dimensions_and_is_never_the_image_itself():
    network, images = tiny_network("asge-fast", shape=(1, 4, 4)), torch.randn(12, 1, 4, 4)
    network.eval()
    with torch.no_grad():
        _, value, _ = next(network.walk(images))
        features = network[0].features(value).flatten(1).double()
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    (found,) = project(network, [images], [0])
    assert found.nearest.tolist() == distances.argmin(1).tolist()


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_features_that_say_nothing_are_left_out(value):
    network = tiny_network("asge-fast")
    with torch.no_grad():
        for parameter in network[1].body.parameters():
            parameter.fill_(value)
    assert [own.name for own in project(network, [groups(8)])] == [network.names[0]]


def test_nothing_of_the_network_is_changed():
    network = tiny_network("asge-fast").train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    project(network, [groups(8)], [0])
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
