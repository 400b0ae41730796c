"""Distance-Forward (arXiv 2408.14925): goodness is closeness to a class's anchor.

The true class's anchor shall be nearer than every wrong one's by a margin (N-pair). Two
neighbouring blocks learn together, and the pairs alternate every step (`distance-forward`, the
paper's DF-O); or every block learns alone and gets the last block's error through a fixed random
matrix (`distance-forward-r`, DF-R).

Reported: MNIST 99.7, FashionMNIST 93.89, CIFAR-10 88.2 (DF-R about 87.7), CIFAR-100 59.0, SVHN
95.9, Imagenette 82.5 %; others (arXiv 2609.33240) found 87.16 % on CIFAR-10 with ResNet18 in five
stages.

    goodness train --method distance-forward --data cifar10
"""

from __future__ import annotations

from goodness.methods.asge_fast import ASGE_FAST
from goodness.methods.base import Locality, Method, register

OURS = (
    "anchors are learned, one per class and block, of unit length (sources disagree: running class"
    " means, or prototypes that are learned)",
    "the margin 0.5, and 0.03 as the weight of the negative goodness",
    "the norm between blocks, the network, the optimizer and the schedule",
)

DISTANCE_FORWARD = register(
    Method(
        name="distance-forward",
        title="Class anchors and margins, overlapping pairs of blocks",
        equation="g_k = -|e - u_k|^2,  loss = mean over k != y of max(0, m + g_k - g_y) + p g_k",
        use="Where neighbouring blocks may share a graph.",
        paper="arXiv 2408.14925",
        locality=Locality.OVERLAPPING,
        values={
            **ASGE_FAST.values,
            "objective": "anchors",
            "boundary": "layer-norm",
            "plan": "pairs",
            "readouts": {"sum": {}, "last": {}},
            "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 1e-2},
        },
        for_data=ASGE_FAST.for_data,
        published={"mnist": 99.7, "fashion_mnist": 93.89, "cifar10": 88.2, "cifar100": 59.0},
        ours=OURS,
    )
)

DISTANCE_FORWARD_R = register(
    Method(
        name="distance-forward-r",
        title="Class anchors and margins, random feedback from the last block",
        equation="as `distance-forward` + f <e, B^T (softmax(g_L) - y)>",
        use="To see what random feedback adds to local margins.",
        paper=DISTANCE_FORWARD.paper,
        locality=Locality.BROADCAST,
        values={
            **DISTANCE_FORWARD.values,
            "objective": {"name": "anchors", "feedback": 0.1},
            "plan": "together",
        },
        for_data=DISTANCE_FORWARD.for_data,
        published={"cifar10": 87.7},
        ours=(*OURS, "what is fed back: the last block's softmax error, with the weight 0.1"),
    )
)
