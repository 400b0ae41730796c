"""Forward-Forward (Hinton, arXiv 2212.13345) with the values of loweX/Forward-Forward.

A label is written into the first pixels of every image. Each layer learns to be strongly active,
sum z^2 > D, where the label is true and weakly where it is wrong; its output has unit length, so
that the next layer cannot read the class off its strength. Prediction tries all labels, or is a
linear map of the activities under a neutral label.

Test errors on MNIST: 1.45 % (that code), 1.47 % (official Matlab code), 1.36 % (paper).

In `ff-collaborative` (Lorberbom et al., AAAI 2024) a row is true with the probability
sigmoid(|z|^2 + gamma - theta), where gamma is the other layers' goodness, a constant to the layer
that learns; all layers learn at every step. Test errors, quoted by others: MNIST 2.1 %,
FashionMNIST 12.0 %, CIFAR-10 52.7 %, beside 3.4, 13.6 and 53.7 of the same networks without gamma.

    goodness train --method ff --data mnist
    goodness train --method ff --data mnist --model small-cnn     # a corner label in a CNN
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from goodness.methods.base import LAYERWISE, Locality, Method, register

EQUAL: Mapping[str, Any] = {
    "equal": {
        "model": {"norm": "none"},
        "normalize": False,
        "optimizer": {"name": "adam", "lr": 1e-3},
    },
    "equal_note": (
        "no batch norm, pixels from 0 to 1: the label has to stand out in every row by itself; Adam"
        " from 1e-3, as the paper's rates are for other networks and 100 epochs or more"
    ),
}

FF = register(
    Method(
        name="ff",
        title="Forward-Forward, labels in the first pixels",
        equation=(
            "loss = softplus(theta - sum z^2) where the label is true, softplus(sum z^2 - theta) "
            "where it is wrong"
        ),
        use="To study the original rule; slow to predict, as every class is a query.",
        paper="arXiv 2212.13345",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            "model": {"name": "mlp", "activation": "straight-through"},
            "presentation": "label-pixels",
            "objective": {"name": "pair-goodness", "peer": 0.03},
            "boundary": "rms",
            "readouts": {
                "fusion": {
                    "skip": 1,
                    "bias": False,
                    "init": "zero",
                    "lr": 1e-2,
                    "weight_decay": 3e-3,
                },
                "sum": {"skip": 1},
            },
            "optimizer": {"name": "sgd", "lr": 1e-3, "weight_decay": 3e-4, "momentum": 0.9},
            "lr_schedule": "linear",
            "epochs": 100,
            "batch_size": 100,
            "normalize": False,
        },
        published={"mnist": 98.64},
        **EQUAL,
    )
)

COLLABORATIVE = register(
    Method(
        name="ff-collaborative",
        title="Forward-Forward whose layers know the others' goodness",
        equation=(
            "loss = softplus(-(g_l - theta + sum over the other layers of (g_j - theta)))  for "
            "true labels"
        ),
        use=(
            "To see what knowing the other layers is worth; needs a forward pass before every step."
        ),
        paper="arXiv 2305.12393",
        locality=Locality.BROADCAST,
        values={**FF.values, "objective": {**FF.values["objective"], "collaborate": True}},
        published={"mnist": 97.9, "fashion_mnist": 88.0, "cifar10": 47.3},
        ours=(
            "the threshold is the sum of the layers' own; the paper has one for all, a number to"
            " be chosen",
            "everything else is as in `ff`",
        ),
        **EQUAL,
    )
)
