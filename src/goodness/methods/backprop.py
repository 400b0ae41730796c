"""The baseline: end-to-end backpropagation of the same networks, with linear probes per block."""

from __future__ import annotations

from goodness.methods.asge_fast import ASGE_FAST
from goodness.methods.base import Locality, Method, register

BACKPROP = register(
    Method(
        name="backprop",
        title="End-to-end backpropagation, the baseline",
        equation="loss = -log softmax(W GAP(h_L))_y, its gradient through all layers",
        use="The baseline of every comparison.",
        paper="Rumelhart, Hinton, Williams 1986",
        locality=Locality.GLOBAL,
        # Everything that is not the learning rule is what `asge-fast` uses, for a fair comparison.
        values={
            **ASGE_FAST.values,
            "objective": {"name": "classifier", "own": True},
            "plan": "end-to-end",
            "readouts": {"last": {}, "probe": {}},
            "lr": 3e-3,
        },
        for_data=ASGE_FAST.for_data,
        baseline=True,
    )
)
