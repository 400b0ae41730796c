"""Deep supervision: `asge-fast`'s local heads, but nothing is detached.

The fair control that papers omit: the same network, heads and readouts with all losses
backpropagated through all earlier blocks. For another method's heads, name its objective:
`--set objective=similarity`.
"""

from __future__ import annotations

from goodness.methods.asge_fast import ASGE_FAST
from goodness.methods.base import Locality, Method, register

DEEP_SUPERVISION = register(
    Method(
        name="deep-supervision",
        title="The same heads without detaching, a control",
        equation="loss = sum over blocks of CE(a_l, y), its gradient through all earlier blocks",
        use="As the control: what does detaching cost?",
        paper="arXiv 1409.5185",
        locality=Locality.GLOBAL,
        values={
            **ASGE_FAST.values,
            "plan": "deep-supervision",
            "lr": 3e-3,
        },
        for_data=ASGE_FAST.for_data,
    )
)
