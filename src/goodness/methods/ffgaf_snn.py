"""FFGAF-SNN: Forward-Forward with spiking neurons as black boxes (arXiv 2507.23643).

Neurons send spikes, 0 or 1, over T time steps, and no gradient passes one: neither the real one,
which is zero, nor a surrogate. A layer learns from the currents that its neurons get, so that
nothing has to be kept over time for a backward pass through the dynamics. Every class has a group
of channels, whose mean positive current is its goodness; a block's loss counts the more for a class
the more of it the block still gets wrong.

With I_t the currents of a layer at step t, and s_t its spikes:

    I_t = BN(pool(conv(s_t of the layer before)))          the image itself at the first layer
    u_t = leak u_(t-1) (1 - s_(t-1)) + I_t,  s_t = 1 where u_t >= 1
    G_k = mean over t, group k's channels and positions of relu(I_t)
    L   = w_y CE(G / tau, y),  w_c = K softmax(kappa d)_c,  d_c = 1 - recall of class c so far

The class with the largest sum of G over the layers is the answer.

`--model spiking-cnn` gives other methods such neurons: their objectives then see the mean of the
positive currents over time. ``--set model.surrogate=atan`` lets gradients pass inside a block, as
a control, and objectives see the rates of the spikes.

docs/spiking.md has the commands for other methods, the memory over time steps, and the export.

    goodness train --method ffgaf-snn --data mnist
"""

from __future__ import annotations

from goodness.methods.asge_fast import ASGE_FAST
from goodness.methods.base import Locality, Method, register

FFGAF_SNN = register(
    Method(
        name="ffgaf-snn",
        title="Spiking neurons as black boxes, a channel group per class",
        equation="G_k = mean relu(I) over time and group k,  loss = w_y CE(G / tau, y)",
        use="Spiking networks: binary activations, no gradient through time.",
        paper="arXiv 2507.23643",
        locality=Locality.LAYER,
        values={
            **ASGE_FAST.values,
            "model": {"name": "spiking-cnn", "widths": [60, 120, 240, 480], "pools": [1, 2, 3]},
            "objective": {"name": "channel-groups", "goodness": "mean", "tau": 0.1},
            "boundary": "identity",
            "readouts": {"sum": {}, "last": {}},
            "readout": "sum",
            "class_difficulty": 1.0,
        },
        for_data={**ASGE_FAST.for_data, "cifar100": {"model": {"widths": [100, 200, 400, 800]}}},
        ours=(
            "the neurons: T = 4, leak 0.5, threshold 1, a spike takes the potential to 0",
            "goodness: the mean positive current of a class's channels, divided by 0.1",
            "difficulty: 1 - recall, averaged over epochs; weights from 0.5 to 2, kappa 1",
            "the network, with batch norm of the currents; optimizer, schedule and epochs",
        ),
        published={"mnist": 99.58, "fashion_mnist": 92.13, "cifar10": 75.64},
    )
)
