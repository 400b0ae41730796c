"""Forward-Forward for CNNs with labels all over the image (Scodellaro et al., arXiv 2312.14924).

A convolution has a label in the corner in few of its fields. Here every field has it: a plane wave
of the class's own is mixed into the image (`ff-cnn`), or the image itself is transformed as the
class demands (`ff-cnn-morphology`), which leaves no shortcut past the image. Each layer's goodness,
the sum of its squared activities, is high where the label is true.

Test accuracy on MNIST: 99.16 % with 128 filters of 7x7 per layer, batches of 50, 200 epochs,
learning rate 5e-5 and label intensity 35 %. The paper's code cannot be had; it is based on that of
`ff`.

    goodness train --method ff-cnn --data mnist
    goodness train --method ff-cnn --data mnist --set 'model.widths=[32,32,32]' --epochs 20
"""

from __future__ import annotations

from goodness.methods.base import Locality, Method, register
from goodness.methods.ff import EQUAL, FF

OURS = (
    "convolutions keep the size, by zeros around the map, and nothing is pooled",
    "ReLUs are plain, and activities are not pulled towards their peers' as in `ff`",
    "Adam, at a constant rate",
)
MIXED = "the label is mixed in, (1 - K) x + K times the label's picture, and not added"

FF_CNN = register(
    Method(
        name="ff-cnn",
        title="Forward-Forward CNN, Fourier labels over the whole image",
        equation="x' = (1 - K) x + K (0.5 + 0.5 cos(2 pi (u_c i / H + v_c j / W))),  loss as `ff`",
        use="Forward-Forward on grey images of few classes.",
        paper="arXiv 2312.14924",
        locality=Locality.LAYER,
        values={
            **FF.values,
            "model": {"name": "cnn", "widths": [128] * 3, "pools": [], "norm": "none", "kernel": 7},
            "presentation": "fourier",
            "objective": "pair-goodness",
            "boundary": "layer-norm",
            "readouts": {
                "sum": {"skip": 1},
                "fusion": {"skip": 1, "pool": 4, "init": "zero", "lr": 1e-3},
            },
            "optimizer": {"name": "adam", "lr": 5e-5},
            "lr_schedule": "constant",
            "epochs": 200,
            "batch_size": 50,
        },
        published={"mnist": 99.16},
        ours=(
            *OURS,
            MIXED,
            "the waves, which are a third-party implementation's for the first ten classes",
        ),
        **EQUAL,
    )
)

FF_CNN_MORPHOLOGY = register(
    Method(
        name="ff-cnn-morphology",
        title="Forward-Forward CNN, the label as a morphological transform",
        equation=(
            "x' = (1 - K) x + K M_c(x) with a morphological operator M_c per class,  loss as `ff`"
        ),
        use="Where Fourier labels invite a shortcut past the image.",
        paper=FF_CNN.paper,
        locality=Locality.LAYER,
        values={**FF_CNN.values, "presentation": "morphology"},
        ours=(*OURS, MIXED, "which operator stands for which class"),
        **EQUAL,
    )
)

FF_CNN_CORNER = register(
    Method(
        name="ff-cnn-corner",
        title="Forward-Forward CNN, the label in the corner, a control",
        equation="x' = x with the label's one-hot code in its first pixels,  loss as `ff`",
        use="To see why labels have to be spread: at most positions this one is outside the field.",
        paper=FF_CNN.paper,
        locality=Locality.LAYER,
        values={**FF_CNN.values, "presentation": {"name": "label-pixels", "norm": "layer"}},
        ours=OURS,
        **EQUAL,
    )
)
