"""Forward-Forward without derivatives: its losses with activations moved a little, both ways. Ours.

For hardware through which no gradient passes: optical and analog layers, quantised ones, black
boxes. Each layer's goodness is measured twice more, with noise added to and subtracted from what
its neurons get; the difference tells how to move them (`node-perturbation`), and the layer's own
input how to move its weights. Where a layer's activations cannot be reached either, its weights can
be moved instead, which needs many more measurements:

    goodness train --method ff-zero --data mnist
    goodness train --method ff-zero --data mnist --update weight-perturbation

Both updates serve other methods, too (``--method mono-forward --update node-perturbation``).
docs/black_boxes.md has a block that quantises and is noisy.
"""

from __future__ import annotations

from goodness.methods.base import Locality, Method, register
from goodness.methods.ff import EQUAL, FF

FF_ZERO = register(
    Method(
        name="ff-zero",
        title="Forward-Forward without derivatives, by antithetic perturbation",
        equation="dl/dz ~ v (l(z + sigma v) - l(z - sigma v)) / (2 sigma),  v ~ N(0, 1)",
        use="Blocks that no gradient can pass.",
        paper="ours; rule from arXiv 2212.13345, estimator from Spall 1992 (SPSA)",
        locality=Locality.LAYER,
        values={
            **FF.values,
            "model": {"name": "mlp", "widths": [500, 500], "activation": "relu"},
            "update": {"name": "node-perturbation", "samples": 4, "sigma": 1e-2},
            "optimizer": {"name": "adam", "lr": 1e-3},
        },
        **EQUAL,
    )
)
