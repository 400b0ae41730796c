"""Graphs of spiking networks, written, read back and simulated neuron by neuron."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import goodness
from goodness.export.nir import to_nir

nir = pytest.importorskip("nir")
SHAPE = 2, 6, 6


def network(method="ffgaf-snn", seed=0, **values):
    """A small network, its batch norms as if it had learnt."""
    model = {"name": "spiking-cnn", "widths": [4, 6], "pools": [1], "pool": "avg"}
    model |= values.pop("model", {})
    made = goodness.build(
        method, image_shape=SHAPE, num_classes=3, model=model, seed=seed, **values
    ).eval()
    generator = torch.Generator().manual_seed(seed)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return made


def back(graph, tmp_path):
    nir.write(tmp_path / "network.nir", graph)
    return nir.read(tmp_path / "network.nir")


def convolved(node, x):
    """Pixel by pixel."""
    (above, left), side = node.padding, node.weight.shape[2]
    padded = np.pad(x, ((0, 0), (above, above), (left, left)))
    out = np.zeros(node.output_type["output"], np.float64)
    for o, i, j in np.ndindex(*out.shape):
        window = padded[:, i : i + side, j : j + side]
        out[o, i, j] = (node.weight[o] * window).sum() + node.bias[o]
    return out


def pooled(node, x):
    side, other = (int(size) for size in node.kernel_size)
    rows, columns = x.shape[1] // side, x.shape[2] // other
    out = np.zeros((len(x), rows, columns))
    for i, j in itertools.product(range(rows), range(columns)):
        out[:, i, j] = x[:, i * side : i * side + side, j * other : j * other + other].mean((1, 2))
    return out


class Simulated:
    """A chain of NIR nodes in Euler steps, as NIR's equations have them."""

    def __init__(self, graph):
        following = dict(graph.edges)
        self.order, name = [], "input"
        while name is not None:
            self.order.append(name)
            name = following.get(name)
        self.nodes, self.dt = graph.nodes, float(graph.metadata["dt"])
        self.steps = int(graph.metadata["steps"])
        self.margin = np.inf
        """How near a potential came to a threshold."""

    def __call__(self, image):
        """Of every node what it gives at each step."""
        state = dict.fromkeys(self.order, 0.0)
        given = {name: [] for name in self.order}
        for _ in range(self.steps):
            x = image
            for name in self.order:
                node = self.nodes[name]
                kind = type(node).__name__
                if kind == "Conv2d":
                    x = convolved(node, x)
                elif kind == "AvgPool2d":
                    x = pooled(node, x)
                elif kind == "Flatten":
                    x = x.flatten()
                elif kind == "Affine":
                    x = node.weight @ x + node.bias
                elif kind in ("LIF", "IF"):
                    v = state[name]
                    if kind == "LIF":
                        v = v + self.dt / node.tau * (node.v_leak - v + node.r * x)
                    else:
                        v = v + self.dt * node.r * x
                    x = (v > node.v_threshold).astype(float)
                    self.margin = min(self.margin, np.abs(v - node.v_threshold).min())
                    state[name] = np.where(x > 0, node.v_reset, v)
                given[name].append(x)
        return {name: np.stack(values) for name, values in given.items()}


@torch.no_grad()
@pytest.mark.parametrize(
    "model",
    [
        {},
        {"leak": 0.0, "steps": 3},
        {"leak": 1.0, "threshold": 0.7},
        {"norm": "none", "pools": [1, 2], "kernel": 5, "threshold": 0.1},
        {"norm": "plain-batch", "surrogate": "atan", "kernel": 2},
    ],
    ids=["leaky", "forgetful", "integrating", "no norm", "surrogate"],
)
def test_every_neuron_spikes_as_it_does_here(model, tmp_path):
    made = network(model=model)
    simulated = Simulated(back(to_nir(made), tmp_path))
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))

    found = simulated(image.double().numpy())

    assert simulated.steps == made.config.model["steps"]
    x = image[None]
    for place, block in enumerate(made, start=1):
        x = block(x)
        np.testing.assert_array_equal(found[f"lif{place}"], x[0])
        assert 0 < x.mean() < 1
    assert simulated.margin > 1e-5  # rounding decides nothing
    np.testing.assert_array_equal(found["output"], x[0])


def test_neurons_are_those_of_snntorch(tmp_path):
    """What other programs make of tau and r."""
    snntorch = pytest.importorskip("snntorch")
    graph = back(to_nir(network(model={"leak": 0.6}), dt=1e-3), tmp_path)
    node, dt = graph.nodes["lif2"], graph.metadata["dt"]
    beta = float((1 - dt / node.tau).flat[0])
    assert beta == pytest.approx(0.6)
    np.testing.assert_allclose(node.r * dt / node.tau, 1, rtol=1e-6)
    oracle = snntorch.Leaky(beta=beta, threshold=1.0, reset_mechanism="zero")
    currents = torch.randn(9, *node.tau.shape, generator=torch.Generator().manual_seed(2))
    potential, v = torch.zeros(node.tau.shape), 0.0
    for now in currents:
        spikes, potential = oracle(now, potential)
        v = v + dt / node.tau * (node.v_leak - v + node.r * now.numpy())
        np.testing.assert_array_equal(v > node.v_threshold, spikes.detach().numpy() > 0)
        v = np.where(v > node.v_threshold, node.v_reset, v)


def test_a_neuron_spikes_at_its_threshold(tmp_path):
    made = network(model={"widths": [3], "pools": [], "norm": "none", "leak": 1.0, "steps": 4})
    conv = made[0].body[0].conv
    nn.init.zeros_(conv.weight)
    nn.init.constant_(conv.bias, 0.5)  # 0.5, 1: a spike; 0.5, 1: a spike
    found = Simulated(back(to_nir(made), tmp_path))(np.zeros(SHAPE))["output"]
    np.testing.assert_array_equal(found.mean((1, 2, 3)), [0, 1, 0, 1])
    np.testing.assert_array_equal(found, made[0](torch.zeros(1, *SHAPE))[0])


@pytest.mark.parametrize("pool", [1, 3])
def test_scores_are_those_of_the_output_layer(pool, tmp_path):
    readouts = {"output": {"pool": pool}, "sum": None, "last": None}
    made = network(readouts=readouts, readout="output")
    (layer,) = made.readouts["output"].maps
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))

    found = Simulated(back(to_nir(made), tmp_path))(image.double().numpy())["output"]

    np.testing.assert_allclose(found.mean(0), made.scores(image[None])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"pool": "max"}}, r"maximum pooling .*model\.pool=avg"),
        ({"model": {"norm": "layer"}}, r"model\.norm=batch"),
        ({"method": "sff"}, "block 'layer1'.*--boundary identity"),
        (
            {"readouts": {"output": {"pool": 2}, "sum": None}, "readout": "output"},
            r"3x3 has no 2x2 .*output\.pool=1",
        ),
    ],
)
def test_what_nir_cannot_say_is_refused(values, message):
    with pytest.raises(goodness.InputError, match=message):
        to_nir(network(**values))


def test_an_ordinary_network_is_refused():
    made = goodness.build("asge-fast", image_shape=SHAPE, num_classes=3)
    with pytest.raises(goodness.InputError, match="model 'spiking-cnn'"):
        to_nir(made)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    with pytest.raises(goodness.InputError, match=r"pip install 'goodness\[spiking\]'"):
        to_nir(network())


def test_a_run_is_exported_as_a_file(tmp_path):
    model = {"name": "spiking-cnn", "widths": [10], "pools": [], "pool": "avg"}
    values = {"model": model, "epochs": 1, "readouts": {"output": {"pool": 1}}, "readout": "output"}
    run = goodness.fit("digits", method="ffgaf-snn", out=tmp_path / "run", **values)
    written = run.export("nir")
    assert written.path == str(tmp_path / "run" / "model.nir")
    found = nir.read(written.path)
    assert found.nodes.keys() == to_nir(run.network).nodes.keys()
    with pytest.raises(goodness.InputError, match="exits: format 'nir' cannot take it"):
        run.export("nir", exits=True, overwrite=True)
