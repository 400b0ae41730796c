"""Dynamic Temperature Goodness, DTG-FF (Chen 2026, arXiv 2606.06539).

`asge`'s fixed random projection with a learned temperature per layer, T = T_min + (T_max - T_min)
sigmoid(t); a layer's output is normalised, the features of its loss are not ("decoupled"); a
trained fusion of all layers predicts, on features that are cut off, without which the method would
not be local.

Reported: CIFAR-10 91.8 %, ImageNet-100 49.4 %; deeply supervised backprop of the same network is
2.4 points better on CIFAR-10 and 5.93 on CIFAR-100.

    goodness train --method dtg --data cifar10
"""

from __future__ import annotations

from goodness.methods.asge_fast import ASGE_FAST
from goodness.methods.base import Locality, Method, register

DTG = register(
    Method(
        name="dtg",
        title="Random projections with a learned temperature, fused",
        equation=(
            "a = s (g R + b) / T,  T = T_min + (T_max - T_min) sigmoid(t),  s = sqrt(K / (C P^2)),"
            "  loss = -log softmax(a)_y"
        ),
        use="`asge` where the scale of the logits is hard to choose.",
        paper="arXiv 2606.06539",
        locality=Locality.LAYER,
        values={
            **ASGE_FAST.values,
            "objective": {**ASGE_FAST.values["objective"], "temperature": [0.1, 2.0]},
            "boundary": "rms",
            "readouts": {"fusion": {}, "sum": {}, "last": {}},
        },
        for_data=ASGE_FAST.for_data,
        published={"cifar10": 91.8},
        ours=(
            "T_min = 0.1 and T_max = 2, which are those of the author's earlier code",
            "the root mean square as the norm, and the logits' scale s",
            "the backbone, with batch norm; optimizer, schedule and epochs",
        ),
    )
)
