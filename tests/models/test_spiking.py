import numpy as np
import pytest
import torch

import goodness
from goodness.models.spiking import LeakyIntegrateAndFire

SHAPE = 2, 8, 8


def small(method="ffgaf-snn", **values):
    model = {"name": "spiking-cnn", "widths": [12, 14], "pools": [1], **values.pop("model", {})}
    length = {"epochs": 1, "steps_per_epoch": 4}
    return goodness.build(method, image_shape=SHAPE, num_classes=5, model=model, **length, **values)


def images(count=6):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def spikes_of(currents, leak, threshold):
    """Neuron by neuron, step by step."""
    sent = np.zeros_like(currents)
    for place in np.ndindex(currents.shape[0], *currents.shape[2:]):
        potential = 0.0
        for step in range(currents.shape[1]):
            at = (place[0], step, *place[1:])
            potential = leak * potential + currents[at]
            if potential >= threshold:
                sent[at], potential = 1, 0.0
    return sent


@pytest.mark.parametrize("steps", [1, 5])
def test_a_potential_leaks_and_a_spike_takes_it_to_rest(steps):
    currents = torch.randn(2, steps, 3, 2, 2, dtype=torch.float64)
    sent = LeakyIntegrateAndFire(steps, 0.7, 0.5, None)(currents)
    np.testing.assert_array_equal(sent, spikes_of(currents.numpy(), 0.7, 0.5))


def test_neurons_are_those_of_snntorch():
    snntorch = pytest.importorskip("snntorch")
    currents = torch.randn(3, 6, 4, 2, 2, requires_grad=True)
    oracle = snntorch.Leaky(beta=0.6, threshold=0.8, reset_mechanism="zero")
    potential, expected = torch.zeros(3, 4, 2, 2), []
    for now in currents.unbind(1):
        sent, potential = oracle(now, potential)
        expected.append(sent)
    expected = torch.stack(expected, 1)
    sent = LeakyIntegrateAndFire(6, 0.6, 0.8, "atan")(currents)
    assert 0.05 < sent.mean() < 0.95
    torch.testing.assert_close(sent, expected)
    weights = torch.randn_like(sent)
    gradients = [torch.autograd.grad((s * weights).sum(), currents)[0] for s in (sent, expected)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_a_current_that_stays_the_same_is_computed_once():
    neurons = LeakyIntegrateAndFire(4, 0.5, 1.0, None)
    current = torch.randn(2, 1, 3, 2, 2)
    torch.testing.assert_close(neurons(current), neurons(current.repeat(1, 4, 1, 1, 1)))


def test_what_is_sent_on_is_binary_and_passes_no_gradient():
    network = small()
    x = images()
    for block in network:
        assert set(block(x).unique().tolist()) == {0.0, 1.0}
        assert not block(x).requires_grad
        x = block(x)
    assert x.shape == (6, 4, 14, 4, 4)


def test_one_step_is_an_ordinary_layer_to_its_objective():
    network = small(model={"steps": 1})
    block, layer = network[0], network[0].body[0]
    expected = layer.norm(layer.pool(layer.conv(images()))).relu()
    torch.testing.assert_close(block.features(block.body(images())), expected)


def test_goodness_is_the_mean_positive_current_of_a_class():
    network = small(model={"widths": [10, 15]}).eval()
    spikes = network[0](images())
    currents = network[1].body(spikes).detach().numpy()
    assert currents.shape == (6, 4, 15, 4, 4)
    expected = [
        [np.maximum(row[:, 3 * k : 3 * k + 3], 0).mean() for k in range(5)] for row in currents
    ]
    scores = network[1].scores(torch.from_numpy(currents))
    np.testing.assert_allclose(scores.detach(), expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["sff", "mono-forward", "spectral-local"])
@pytest.mark.parametrize("surrogate", [None, "atan"])
def test_other_methods_learn_with_spikes(method, surrogate):
    network = small(method, model={"surrogate": surrogate})
    learner = goodness.Learner(network)
    y = torch.arange(6) % 5
    losses = [learner.step(images(), y).losses for _ in range(4)]
    assert all(a > b for a, b in zip(losses[0], losses[-1], strict=True))
    assert goodness.audit(network).locality == "layer"


@pytest.mark.parametrize("values", [{"method": "backprop"}, {"method": "sff", "partition": 1}])
def test_a_gradient_that_would_have_to_pass_a_spike_is_refused(values):
    with pytest.raises(goodness.InputError, match=r"layer1.*surrogate=atan"):
        small(**values)
    network = small(**values, model={"surrogate": "atan"})
    before = network[0].body[0].conv.weight.detach().clone()
    goodness.Learner(network).step(images(), torch.arange(6) % 5)
    assert not torch.equal(network[0].body[0].conv.weight, before)
