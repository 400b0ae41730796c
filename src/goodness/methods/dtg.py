"""Dynamic Temperature Goodness, DTG-FF (Chen 2026, arXiv 2606.06539).

`asge`'s fixed random projection with a learned temperature per layer, T = T_min + (T_max - T_min)
sigmoid(t); a layer's output is normalised, the features of its loss are not ("decoupled"); a
trained fusion of all layers predicts, on features that are cut off, without which the method would
not be local.

T_min, T_max, the division by the root mean square, the logits' scale s, backbone with batch norm,
rates and schedule are not verified and ours. Reported: CIFAR-10 91.8 %,
ImageNet-100 49.4 %; deeply supervised backprop of the same network is 2.4 points better on
CIFAR-10.

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
    )
)
