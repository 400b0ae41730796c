"""HPFF (Su et al., ECCV 2024, arXiv 2407.05638): every block learns in a window of two.

Its weights get the gradient of its own head's loss, and of the next block's through that block, at
every step; plan `pairs` alternates instead. In two blocks it is backprop with one more loss.

Released code: three forward passes of every block, alone and as either half of a pair; the heads of
the pairs weigh .999, the block's own one .001; one optimizer for all, SGD .8 Nesterov, batch 1024,
400 epochs; heads have InfoPro's loss, on patches that are averaged (PFF, to save memory). Here a
block has one head, of equal weight alone and through the block before; it runs twice, the second
time as the next one's window without learning, and is updated in its own turn; cross-entropy of
InfoPro's classifier without decoder and patches; our optimizer and schedule. Errors with 16 / 55
modules, CIFAR-10, ResNet-32 / 110: 8.94 / 8.74 % (backprop 6.37 / 5.42); ImageNet top 1 with
ResNeXt-101 in few modules 80.06 % (backprop 79.36).

    goodness train --method hpff --model torchvision/resnet18 --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import Locality, Method, register
from goodness.methods.lookahead import LOOKAHEAD

HPFF = register(
    Method(
        name="hpff",
        title="A window of two: its own loss and the next block's through that block",
        equation="loss = CE(A_l(h_l), y) + CE(A_{l+1}(f_{l+1}(h_l)), y)",
        use="Many blocks, where neighbours may share a graph.",
        paper="arXiv 2407.05638",
        locality=Locality.OVERLAPPING,
        values={
            **LOOKAHEAD.values,
            "partition": "layer",
            "objective": {"name": "look-ahead", "depth": 0, "head": "1c2f"},
            "plan": "overlapping",
        },
        for_data=LOOKAHEAD.for_data,
        published={"cifar10": 91.26},
    )
)
