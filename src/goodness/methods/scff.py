"""Self-Contrastive Forward-Forward (Nature Communications 2025): no labels until the readout.

An image paired with itself is positive, with another image negative. Blocks learn one after another
to be active for the first and quiet for the second; a linear readout on all blocks is trained when
they are done. Blocks have no class scores, so that their accuracy is unknown.

Values of the released code for CIFAR-10, 6, 4 and 21 epochs for the three blocks, then 50 for the
readout. Deviations: one learning rate for all blocks (the code's are .01, .002 and 2e-4: `--set
'lr_factors=[5,1,0.1]'`), no penalty on the size of y, the triangle stands behind the pooling, and
the readout averages each map over 4x4 cells.
Reported: MNIST 98.7 (MLP), CIFAR-10 80.75, STL-10 77.3 %.

    goodness train --method scff --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import LAYERWISE, Locality, Method, register

SCFF = register(
    Method(
        name="scff",
        title="Self-contrastive pairs of images, a linear readout",
        equation=(
            "loss = softplus(low - y) for [x, x],  softplus(y - high) for [x, x'],  y = mean over"
            " channels of h^2"
        ),
        use="Images without labels; labels are for a linear readout only.",
        paper="Nat. Commun. 2025",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            "model": {
                "name": "cnn",
                "widths": [96, 384, 1536],
                "norm": "none",
                "first_kernel": 5,
                "init": "xavier",
                "skip_pools": True,
            },
            "presentation": "image-pairs",
            "objective": "self-contrast",
            "boundary": "triangle",
            "plan": {"name": "windows", "windows": [[0, 6], [6, 10], [10, 31]], "total": 81},
            "readouts": {"fusion": {"pool": 4, "start": 31 / 81, "lr": 1e-3}},
            "optimizer": {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-2},
            "lr_schedule": "cosine",
            "epochs": 81,
            "batch_size": 50,
        },
        published={"mnist": 98.7, "cifar10": 80.75},
        equal={"model": {"norm": "none"}},
        equal_note="no batch norm, which would give both kinds of pairs equal energy",
    )
)
