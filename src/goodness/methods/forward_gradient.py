"""Local-loss forward gradient (Ren et al., ICLR 2023, arXiv 2210.03310).

No reverse mode inside a block: noise on every layer's output and one forward-mode pass give an
unbiased estimate of the gradient, whose noise is held down by many small losses per block, one per
patch and channel group. Heads and readout learn from exact gradients on features that are cut off.

The paper's LocalMixer (token and channel mixing by fully connected layers on patches) is not built;
here the same rule trains convolutions. Reported for LocalMixer (low confidence): MNIST 97.2,
CIFAR-10 69.3, ImageNet 41.6 %.

    goodness train --method forward-gradient --data mnist
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, CROP_AND_FLIP, LAYERWISE, Locality, Method, register

FORWARD_GRADIENT = register(
    Method(
        name="forward-gradient",
        title="Forward-mode gradients by activity perturbation",
        equation="dL/dz ~ v (dL/dz . v),  v ~ N(0, 1)",
        use="Where no reverse mode is to be had at all; noisy.",
        paper="arXiv 2210.03310",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            "model": {"name": "small-cnn", "norm": "layer", "pool": "max"},
            "objective": {"name": "patch-groups", "patches": 4, "groups": 8},
            "update": "forward-gradient",
            "readouts": {"output": {"pool": 2}, "last": {}, "sum": {}},
            "optimizer": {"name": "sgd", "lr": 6e-3, "momentum": 0.9, "weight_decay": 1e-4},
            "lr_schedule": {"name": "cosine", "warmup": 0.1},
            "epochs": 200,
            "batch_size": 100,
            "augment": CROP_AND_FLIP,
        },
        for_data=BY_DATA,
        published={"mnist": 97.2, "cifar10": 69.3},
        ours=("convolutions instead of the paper's LocalMixer, and their rate",),
        equal={"model": {"norm": "layer"}},
        equal_note="layer norm instead of batch norm, so that a row's loss is its own",
    )
)
