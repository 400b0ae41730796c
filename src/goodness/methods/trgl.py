"""Transport-regularised greedy learning, TRGL (arXiv 2210.00949 and 2309.17357).

Every residual module minimises its auxiliary cross-entropy plus the cost of moving the features,
|G(x) - x|^2 / (2 tau), so that no module changes more than it has to. Modules whose output has
another shape move for free.

    goodness train --method trgl --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, Locality, Method, register
from goodness.methods.dgl import DGL

TRGL = register(
    Method(
        name="trgl",
        title="Greedy learning that moves features as little as it can",
        equation="loss = CE(A_l(h), y) + |h - x|^2 / (2 tau)",
        use="Residual networks cut into many modules.",
        paper="arXiv 2210.00949",
        locality=Locality.LAYER,
        values={
            **DGL.values,
            "model": {**DGL.values["model"], "shortcut": True},
            "objective": "transport",
        },
        for_data=BY_DATA,
        ours=("tau", "the network, the auxiliary networks and the optimizer, which are `dgl`'s"),
    )
)
