"""Channel-wise Competitive learning, CwComp (AAAI 2024, arXiv 2312.12668), as its code does it.

Every block's channels are split into one contiguous group per class. A class's goodness is its
group's mean square, and the groups compete under a cross-entropy. Every other convolution is
grouped too, so that a class has features of its own (CFSE). Blocks learn inside windows that open
one after another or close one after another (ILT), and are frozen outside.

Test errors: MNIST 0.58, FashionMNIST 7.69, CIFAR-10 21.89, CIFAR-100 48.77 %, selected on the test
set; here validation selects. Deviations: images are normalised by the data set's own mean and
standard deviation (the code has ImageNet's on CIFAR, and 0.5 and 0.5 on FashionMNIST), batch norm's
epsilon is torch's, frozen blocks keep their batch norms still (the code leaves them in training
mode), and the softmax predictor has one softmax where the code has two, and trains with Adam from
the first epoch on (SGD .01 in the code, and from epoch 85 on CIFAR-100).

    goodness train --method cwc --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import LAYERWISE, Locality, Method, register

CWC = register(
    Method(
        name="cwc",
        title="Channel-wise competition of class groups",
        equation="G_k = mean h^2 over channel group k,  loss = -log softmax(G)_y",
        use="No head at all; K must not exceed the channels.",
        paper="arXiv 2312.12668",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            "model": {
                "name": "cnn",
                "widths": [20, 80, 240, 480],
                "pools": [2, 4],
                "order": "conv-act-pool-norm",
                "grouped": True,
                "init": "default",
            },
            "objective": "channel-groups",
            "plan": {"name": "windows", "windows": [[0, 11], [0, 16], [0, 21], [0, 25]]},
            "readouts": {"last": {}, "output": {"pool": 8}},
            "optimizer": {"name": "adam", "lr": 1e-2},
            "lr_schedule": "constant",
            "epochs": 25,
            "batch_size": 128,
        },
        for_data={
            "mnist": {"plan": {"windows": [[0, 2], [0, 3], [0, 4], [0, 5]]}, "epochs": 5},
            "fashion_mnist": {
                "plan": {"windows": [[0, 10], [0, 15], [0, 19], [0, 23]]},
                "epochs": 23,
            },
            "cifar100": {
                "model": {
                    "widths": [60, 120, 240, 400, 800, 1600],
                    "pools": [2, 4, 6],
                    "grouped": False,
                    "groups": [1, 20, 1, 20, 1, 100],
                },
                "objective": {"targets": [20, 20, 20, 20, 100, 100]},
                "plan": {"windows": [[0, 30], [0, 30], [30, 60], [30, 60], [60, 85], [60, 85]]},
                "epochs": 85,
            },
        },
        published={"mnist": 99.42, "fashion_mnist": 92.31, "cifar10": 78.11, "cifar100": 51.23},
    )
)
