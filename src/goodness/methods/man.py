"""Momentum Auxiliary Network, MAN (Su et al., ECCV 2024, arXiv 2407.05623).

A block's auxiliary network holds the next block's first residual block twice: E, an exponential
moving average of its weights, updated every step and never trained, and T, a trained copy, the
"learnable bias" that makes up for the features that E was not made for. Their sum is classified.
Without a gradient, later blocks tell earlier ones what they have become.

In the paper the decay is .995 per step. Released code: SGD .8 Nesterov, batch 1024, 400 epochs,
and InfoPro's loss (a decoder and a classifier with one convolution) behind the sum. Here the
cross-entropy of that classifier alone; T and E start as copies of the layers, there they are drawn
anew; E is updated behind the step and not before it; our optimizer and schedule. Errors with 16 /
55 modules, CIFAR-10, ResNet-32 / 110: 9.11 / 9.73 % (backprop 6.37 / 5.42, DGL 14.08 / 14.45);
ImageNet top 1 with ResNet-152 in few modules 79.22 % (backprop 78.40).

    goodness train --method man --model torchvision/resnet18 --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import Locality, Method, register
from goodness.methods.lookahead import LOOKAHEAD

MAN = register(
    Method(
        name="man",
        title="A moving average of the next block's first layers as head",
        equation="loss = CE(A(T(h) + E(h)), y),  E <- d E + (1 - d) next block's first layers",
        use="Where later blocks may be heard without a gradient.",
        paper="arXiv 2407.05623",
        locality=Locality.BROADCAST,
        values={
            **LOOKAHEAD.values,
            "partition": "block",
            "objective": {"name": "look-ahead", "average": 0.995, "shrink": 1, "head": "1c2f"},
        },
        for_data=LOOKAHEAD.for_data,
        published={"cifar10": 90.89},
    )
)
