"""Scalable Forward-Forward (Krutsylo, arXiv 2501.03176).

An auxiliary 1x1 convolution turns a block's features into one map per class; a class's goodness is
the mean of its squared map. The true class is positive and all others negative in one pass, with a
log-sum-exp margin loss. Inside a block of several layers gradients flow (`--set partition=block`,
the paper's better variant); a block's output is layer-normalised and detached.

The paper's backbones are ResNet18 and MobileNetV3. Of its numbers we found none; others (arXiv
2609.33240) measured 87.20 % on CIFAR-10 with ResNet18 in five stages and 200 epochs, beside 89.06
by local cross-entropy and 95.15 by backprop.

    goodness train --method sff --data cifar10 --set partition=block
"""

from __future__ import annotations

from goodness.methods.asge_fast import ASGE_FAST
from goodness.methods.base import Locality, Method, register

SFF = register(
    Method(
        name="sff",
        title="Scalable Forward-Forward, a goodness map per class",
        equation="s_k = mean (conv_k h)^2,  loss = log(1 + sum over k != y of exp(s_k - s_y + m))",
        use="Any backbone, layer- or block-wise; a cheap trained head.",
        paper="arXiv 2501.03176",
        locality=Locality.LAYER,
        values={
            **ASGE_FAST.values,
            "objective": "class-maps",
            "boundary": "layer-norm",
            "readouts": {"sum": {}, "last": {}},
            "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 1e-2},
        },
        for_data=ASGE_FAST.for_data,
        ours=(
            "the form of the log-sum-exp loss, and its margin of 1",
            "the default network, layer by layer",
            "optimizer, schedule, epochs and augmentation",
        ),
    )
)
