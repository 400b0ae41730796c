"""Whether every objective takes the soft labels that it says it takes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from goodness.errors import InputError
from goodness.functional import class_shares, margin_loss, sparsemax_loss
from goodness.methods import METHODS
from goodness.objective import OBJECTIVES, Context
from goodness.readout import READOUTS
from helpers import SMALL, copied, learner_of, random_batch, same, spec_of, step_at, tiny_network

EVERYWHERE = {"first": (1.0, 1.0), "last": (1.0, 1.0)}
VARIANTS = [
    *(pytest.param(name, {}, id=name) for name in OBJECTIVES.names()),
    pytest.param("classifier", {"loss": "sparsemax"}, id="sparsemax"),
    pytest.param("class-maps", {"margin": 0.0, "kernel": 3}, id="no-margin"),
    pytest.param("channel-groups", {"targets": [2, 4], "tau": 0.5}, id="merged"),
    pytest.param("channel-groups", {"loss": "cwc"}, id="cwc"),
    pytest.param("channel-groups", {"contrast": 0.1}, id="contrast"),
    pytest.param("similarity", {"beta": 0.0}, id="prediction"),
    pytest.param(
        "information", {"task": "ce", "first": (1.0, 1.0), "last": (1.0, 1.0)}, id="information-ce"
    ),
    pytest.param("patch-groups", {"groups": 2, "patches": 2}, id="groups"),
    pytest.param("look-ahead", {"average": 0.9}, id="man"),
]
SINGLE = {
    *("anchors", "cwc", "contrast", "information", "least-squares", "pair-goodness"),
    *("self-contrast", "similarity"),
}
"""Those that take single labels alone."""
REFUSING = {
    *("cafo", "distance-forward", "distance-forward-r", "ff", "ff-cnn", "ff-cnn-corner"),
    *("ff-cnn-morphology", "ff-collaborative", "ff-zero", "hcl-ff", "infopro"),
    *("predsim", "predsim-fast", "scff", "trifecta"),
}
"""Methods whose losses are no means over labels."""


def judged(network, images):
    """The objective, features and context of every block."""
    network.train()
    context = Context(images, images)
    found, x = [], images
    for index, value, output in network.walk(network.neutral_rows(images)):
        block = network[index]
        h = block.features(value).detach().requires_grad_()
        given = Context(block.input(x), images, context.later_scores)
        found.append((block.objective, h, given))
        context.later_scores.append(block.objective.scores(h).detach())
        x = output.detach()
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_soft_labels_mean_the_mean_of_the_losses(name, options, smoothing, request):
    if OBJECTIVES[name].paired:
        assert not OBJECTIVES[name].supports_soft_labels
        return
    network = tiny_network("mono-forward", model=SMALL, objective={"name": name, **options})
    torch.manual_seed(0)
    for block in network:  # some start from zero, where all classes are alike
        for value in [*block.objective.parameters(), *block.objective.buffers()]:
            if value.is_floating_point() and not value.count_nonzero():
                torch.nn.init.normal_(value, std=0.3)
    images, y = random_batch(12)
    share = torch.linspace(0.1, 1, 12)
    other = (y + 1) % 4
    mixed = share[:, None] * F.one_hot(y, 4) + (1 - share[:, None]) * F.one_hot(other, 4)
    took = []
    for objective, h, context in judged(network, images):
        if objective.supports_label_smoothing:
            objective.label_smoothing = smoothing

        def losses(labels, objective=objective, h=h, context=context):
            torch.manual_seed(0)
            loss = objective.loss(h, objective.scores(h), labels, context)
            slope = (
                torch.autograd.grad(loss.mean(), h)[0] if loss.requires_grad else torch.zeros(())
            )
            return loss.detach(), slope

        took.append(objective.supports_soft_labels)
        (hard, slope), (hard_other, slope_other) = losses(y), losses(other)
        assert not torch.allclose(hard, hard_other)
        if not took[-1]:
            with pytest.raises((RuntimeError, IndexError, AssertionError, ValueError)):
                torch.testing.assert_close(losses(class_shares(y, 4, torch.float32))[0], hard)
            continue
        soft, soft_slope = losses(class_shares(y, 4, torch.float32))
        torch.testing.assert_close(soft, hard, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(soft_slope, slope, rtol=1e-3, atol=1e-6)
        part = share.reshape(-1, *(1,) * (hard.dim() - 1))
        expected = part * hard + (1 - part) * hard_other
        torch.testing.assert_close(losses(mixed)[0], expected, rtol=1e-4, atol=1e-5)
        # Through norms a row's loss may depend on other rows: the gradients add up all the same.
        half = losses((class_shares(y, 4, torch.float32) + F.one_hot(other, 4)) / 2)[1]
        torch.testing.assert_close(half, (slope + slope_other) / 2, rtol=1e-3, atol=1e-6)
    case = request.node.callspec.id.rpartition("-")[0]
    assert all(took) == (case not in SINGLE)


def reference_margin(scores, k, margin, smoothing):
    """The loss of one row for class k, in a loop."""
    lead = [float(s) + (0 if j == k else margin) for j, s in enumerate(scores)]
    total = torch.logsumexp(torch.tensor(lead, dtype=torch.double), 0)
    terms = [float(total) - value for value in lead]
    return (1 - smoothing) * terms[k] + smoothing * sum(terms) / len(terms)


@pytest.mark.parametrize("margin", [0.0, 1.0, 3.0])
def test_the_margin_loss_of_soft_labels_is_a_mean_over_classes(margin):
    generator = torch.Generator().manual_seed(0)
    scores = 30 * torch.randn((5, 4), generator=generator, dtype=torch.double)
    labels = torch.rand((5, 4), generator=generator, dtype=torch.double)
    labels /= labels.sum(1, keepdim=True)
    for smoothing in (0.0, 0.1):
        expected = [
            sum(float(w) * reference_margin(s, k, margin, smoothing) for k, w in enumerate(shares))
            for s, shares in zip(scores, labels, strict=True)
        ]
        found = margin_loss(scores, labels, margin, smoothing)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double))
    sparse = [sparsemax_loss(scores, torch.full((5,), k)) for k in range(4)]
    expected = sum(labels[:, k] * loss for k, loss in enumerate(sparse))
    torch.testing.assert_close(sparsemax_loss(scores, labels), expected)


@pytest.mark.parametrize("method", METHODS.names())
def test_methods_take_mixed_images_or_say_why_not(method):
    values = {"model": SMALL, "augment": {"cutmix": 1.0}}
    images, y = random_batch(12)
    soft = (F.one_hot(y, 4) + F.one_hot(y.roll(1), 4)) / 2
    if method in REFUSING:
        with pytest.raises(InputError, match=rf"augment\.cutmix: method '{method}' takes no soft"):
            tiny_network(method, **values)
        learner = learner_of(tiny_network(method, model=SMALL))
        with pytest.raises(InputError, match=f"method '{method}' takes no soft labels"):
            learner.step(images, soft)
        return
    network = tiny_network(method, **values)
    before = copied(network.state_dict())
    result = step_at(learner_of(network), 60, images, soft)  # where every plan has begun to learn
    assert all(torch.isfinite(loss) for loss in result.losses if loss is not None)
    assert not same(before, network.state_dict())


def test_the_control_and_its_relatives_take_them():
    wanted = {"backprop", "deep-supervision", "spectral-local", "mono-forward", "dgl", "lookahead"}
    wanted |= {"man", "auglocal", "hpff", "bwbpf", "trgl", "asge", "asge-fast", "sff", "dtg"}
    assert not wanted & REFUSING
    assert set(METHODS.names()) > REFUSING


@pytest.mark.parametrize(
    "values",
    [
        {"method": "spectral-local"},
        {"method": "backprop", "readouts": {"probe": {}}, "label_smoothing": 0.1},
        {"method": "asge-fast", "class_weights": [1.0, 2.0, 3.0, 4.0]},
        {"method": "mono-forward", "class_difficulty": 2.0, "micro_batch": 5},
    ],
    ids=lambda values: values["method"],
)
def test_a_step_with_one_hot_labels_is_one_with_single_labels(values):
    images, y = random_batch(12)
    ends = []
    for labels in (y, class_shares(y, 4, torch.double)):
        network = tiny_network(**values, boundary={"dropout": 0.0}, optimizer={"name": "sgd"})
        learner = learner_of(network, (2, 2))
        for _ in range(3):  # over an epoch's end, from where on difficult classes weigh more
            learner.step(images, labels)
        ends.append(network.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_the_weights_of_soft_labels_are_means():
    torch.manual_seed(0)
    readout = READOUTS.make({"name": "output"}, [spec_of((6, 4, 4))])
    readout.class_weights = torch.tensor([1.0, 2.0, 5.0])
    readout.label_smoothing = 0.1
    scores, y = torch.randn(6, 3), torch.arange(6) % 3
    hard, soft = (readout.cross_entropy(scores, each) for each in (y, F.one_hot(y).float()))
    torch.testing.assert_close(soft, hard)
    network = tiny_network(num_classes=3, class_weights=[1.0, 2.0, 5.0])
    weights = learner_of(network).image_weights(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(weights, torch.tensor([1.5, 5.0]) / 3.25)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (torch.full((12, 3), 1 / 3), "soft labels of 3 classes: there are 4"),
        (torch.full((12, 4), 0.5), "every row has to add up to 1"),
        (torch.tensor([[1.5, -0.5, 0.0, 0.0]] * 12), "no share is negative"),
        (torch.full((12, 4), float("nan")), "every row has to add up to 1"),
        (torch.full((11, 4), 0.25), "for 12 images"),
        (torch.zeros(12), "for 12 images"),
        (torch.zeros(12, 4, dtype=torch.int64), "for 12 images"),
    ],
)
def test_soft_labels_that_are_none_are_refused(labels, says):
    learner = learner_of(tiny_network())
    with pytest.raises(InputError, match=says):
        learner.step(random_batch(12)[0], labels)
