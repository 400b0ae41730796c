"""DeeperForward (ICLR 2025) and HCL-FF (arXiv 2605.24797), deeper descendants of `cwc`.

DeeperForward: a class's goodness is the mean activation of its channel group, not the mean square;
groups of the output are normalised one by one, and shortcuts without parameters carry
features through 17 layers. The prediction is the summed goodness of an interval of layers; choose
its start on validation with `--set readouts.sum.skip=...`.

HCL-FF adds coarse targets for the early layers (clusters of classes; here index blocks, how the
paper clusters is not verified) and a supervised contrastive loss.

Widths, optimizer and epochs of DeeperForward are not verified and ours. HCL-FF's are Adam with
weight decay 1e-4, cosine from 8e-2 and 1000 epochs on CIFAR; ours end at 0 instead of 2e-4.

    goodness train --method deeperforward --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, CROP_AND_FLIP, LAYERWISE, Locality, Method, register

DEEP = {
    "name": "cnn",
    "widths": [80, *[160] * 4, *[320] * 6, *[640] * 6],
    "pools": [5, 11],
    "pool": "avg",
    "shortcut": True,
    "skip_pools": True,
    "init": "kaiming-out",
}
HUNDRED = {"model": {"widths": [100, *[200] * 4, *[400] * 6, *[800] * 6]}}
"""For a hundred classes, each of which needs a channel in every block."""

DEEPERFORWARD = register(
    Method(
        name="deeperforward",
        title="Mean activation per class group, 17 layers with shortcuts",
        equation="G_k = mean h over channel group k,  loss = -log softmax(G)_y",
        use="Deep chains without a head.",
        paper="ICLR 2025",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            "model": DEEP,
            "objective": {"name": "channel-groups", "goodness": "mean"},
            "boundary": "group-rms",
            "readouts": {"sum": {}, "last": {}},
            "optimizer": {"name": "adam", "lr": 1e-2, "weight_decay": 1e-4},
            "lr_schedule": "cosine",
            "epochs": 150,
            "batch_size": 128,
            "augment": CROP_AND_FLIP,
        },
        for_data={**BY_DATA, "cifar100": HUNDRED},
        published={"mnist": 99.63, "fashion_mnist": 93.13, "cifar10": 86.22, "cifar100": 53.09},
    )
)

HCL_FF = register(
    Method(
        name="hcl-ff",
        title="Coarse-to-fine class groups with a contrastive term",
        equation=(
            "loss = -log softmax(G)_c(y) + lambda SupCon(GAP(h)),  c(y) the cluster of y at this "
            "depth"
        ),
        use="Many classes: early layers need not tell all of them apart.",
        paper="arXiv 2605.24797",
        locality=Locality.LAYER,
        values={
            **DEEPERFORWARD.values,
            "objective": {
                **DEEPERFORWARD.values["objective"],
                "coarse": 0.5,
                "contrast": 1.0,
            },
            "optimizer": {"name": "adam", "lr": 8e-2, "weight_decay": 1e-4},
            "epochs": 1000,
            "augment": {**CROP_AND_FLIP, "jitter": [0.4, 0.4, 0.4, 0.1], "grayscale": 0.2},
        },
        for_data={**BY_DATA, "cifar100": HUNDRED},
        published={"mnist": 99.65, "fashion_mnist": 93.87, "cifar10": 91.68, "cifar100": 70.09},
    )
)
