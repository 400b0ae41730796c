"""BTS-EE and CalexNet (arXiv 2509.08318): early exits that learn from what earlier ones leave.

An exit is asked about the images alone that no exit before it has answered. Trained on all images
it learns from the wrong ones. So the exits learn one after another: each on the survivors D_k of
those before it, and its thresholds are set before the next one begins. With z_k the scores at exit
k, z_L those of the last block, and sg the stop of the gradient:

    L_k = (1 - a) CE_e(z_k, y) + a T^2 KL(softmax(sg z_L / T) || softmax(z_k / T)),  x in D_k
    tau_(k,c) = min t: precision of {p_k >= t, answer c} on D_k >= Pr_c - m
    D_(k+1) = D_k without {p_k >= tau_(k, answer)}

Pr_c is the last block's precision on class c. The paper (version 1) has the survivors, version 2
weighs images by their survival and adds the distillation; its T was not found, 2 is ours.

Deviations. The paper's backbone is a trained ResNet18: `--set plan.backbone=end-to-end` trains the
blocks by backpropagation first. By default they learn locally here, all together, each with its own
head; in the rest of the run they are frozen and the heads go on one by one. Survival is yes or no,
as in version 1. While training, thresholds are judged on the training images of an epoch instead of
validation; those that `goodness calibrate` sets afterwards are of validation. Heads are those of
`spectral-local`, not the paper's one-dimensional convolutions. The heads hear the last block by its
answers, so that the method is not local in the strict sense; with `--set objective.distill=0` they
still need its precision.

    goodness train --method bts-ee --data cifar10
    goodness calibrate RUN --tolerance 0.005
"""

from __future__ import annotations

from goodness.methods.base import Locality, Method, register
from goodness.methods.spectral_local import SPECTRAL_LOCAL

BTS_EE = register(
    Method(
        name="bts-ee",
        title="Early exits, each boosted on the images that earlier ones leave",
        equation="loss_k = (1 - a) CE(z_k, y) + a T^2 KL(z_L || z_k) on the survivors of exits < k",
        use="Answers before the last block, with `goodness calibrate`.",
        paper="arXiv 2509.08318",
        locality=Locality.BROADCAST,
        values={
            **SPECTRAL_LOCAL.values,
            "objective": {"name": "boosted", "grid": 4, "widths": [128]},
            "plan": "boosted",
        },
        for_data=SPECTRAL_LOCAL.for_data,
    )
)
