"""Cascaded Forward, CaFo (arXiv 2303.09728): random blocks, a predictor on each.

The released code never trains its convolutions. `cafo` solves each predictor's least squares in
closed form from streamed sums; `cafo-ce` trains them by cross-entropy (or sparsemax, with
`--set objective.loss=sparsemax --set readouts.sum.of=sparsemax`); `cafo-dfa` trains the blocks too,
by direct feedback alignment, which the paper describes and the code lacks. The prediction is the
sum of the blocks' softmax.

CIFAR-10 test errors in the code's comments: .3486 (MSE), .3257 (CE), .3365 (sparsemax).
Deviations: images are normalised by the data set's own mean and standard deviation (the code has
0.5 and 0.5 on CIFAR-10); batch norm has torch's epsilon, and its running statistics from a first
pass over the training images instead of those of the whole split as one batch: with a momentum of
0.1 the last 20 or so batches count, and of a shorter pass some of the start values remain; a small
ridge instead of the pseudo-inverse; CE by minibatches of Adam instead of 5000 full-batch steps.

    goodness train --method cafo --data mnist
"""

from __future__ import annotations

from goodness.methods.base import LAYERWISE, Locality, Method, register

CAFO = register(
    Method(
        name="cafo",
        title="Cascaded Forward, random blocks and least squares",
        equation="W = argmin |F W - Y|^2 + r |W|^2,  F the features of a random block",
        use="A baseline in two passes over the data, and a check that training does anything.",
        paper="arXiv 2303.09728",
        locality=Locality.READOUT_ONLY,
        values={
            **LAYERWISE,
            "model": {
                "name": "cnn",
                "widths": [32, 128, 512],
                "order": "conv-act-pool-norm",
                "skip_pools": True,
                "init": "default",
            },
            "objective": "least-squares",
            "update": "heads",
            "plan": "calibrated",
            "readouts": {"sum": {"of": "softmax"}, "last": {}},
            "optimizer": {"name": "adam", "lr": 1e-3},
            "lr_schedule": "constant",
            "epochs": 2,
            "batch_size": 500,
        },
        for_data={"digits": {"batch_size": 100}},
        published={"cifar10": 65.14},
        equal={"batch_size": 500},
        equal_note="solved in two passes over the images: no learning rate, no use for more time",
    )
)

CAFO_CE = register(
    Method(
        name="cafo-ce",
        title="Cascaded Forward, random blocks and trained predictors",
        equation="loss = -log softmax(F W)_y,  F the features of a random block",
        use="The same where least squares would take too much memory.",
        paper=CAFO.paper,
        locality=Locality.READOUT_ONLY,
        values={
            **CAFO.values,
            "objective": {"name": "classifier", "pool": None, "bias": False, "init": "ones"},
            "lr_schedule": "cosine",
            "epochs": 20,
        },
        for_data=CAFO.for_data,
        published={"mnist": 98.80, "cifar10": 67.43, "cifar100": 40.76},
    )
)

CAFO_DFA = register(
    Method(
        name="cafo-dfa",
        title="Cascaded Forward, blocks trained by direct feedback alignment",
        equation="dL/dh_l = B_l^T (softmax(a_L) - y)",
        use="To compare with feedback alignment.",
        paper=CAFO.paper,
        locality=Locality.BROADCAST,
        values={
            **CAFO_CE.values,
            "objective": "direct-feedback",
            "update": "gradient",
            "plan": "together",
            "batch_size": 128,
        },
        for_data={"digits": {"batch_size": 64}},
        ours=(
            "the formula: the last block's error through a fixed random matrix to each block's map",
            "blocks and predictors learn together, by Adam, in minibatches",
        ),
    )
)
