"""AugLocal (Ma et al., ICLR 2024, arXiv 2402.17318): heads made of what the network goes on with.

A block's auxiliary network is made of d layers that are sampled evenly from all later ones, with
weights of its own, and a pooled linear map. d falls with depth, since less remains to be told.

Released code: d = 2 for ResNet-32 and up to 6 for ResNet-110, falling by half; SGD .8 Nesterov,
batch 1024, 400 epochs. Sampled layers are fresh residual blocks there, whose stride follows the
channels; here they are copies, before which maps are averaged down to the size that they take and
channels adapted by a 1x1 convolution with a batch norm. No batch norm before the linear map where d
is 1; our optimizer and schedule. Error with 55 modules, CIFAR-10, ResNet-110: 6.04 % (backprop
5.42, InfoPro 13.22).

    goodness train --method auglocal --model torchvision/resnet18 --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import Locality, Method, register
from goodness.methods.lookahead import LOOKAHEAD

AUGLOCAL = register(
    Method(
        name="auglocal",
        title="Auxiliary networks of layers sampled from the rest of the network",
        equation="loss = CE(W GAP(T_d(... T_1(h))), y),  T_i copies of d later layers",
        use="Many blocks with accuracy first; the heads cost time and memory.",
        paper="arXiv 2402.17318",
        locality=Locality.BLOCK,
        values={**LOOKAHEAD.values, "partition": "block", "objective": "sampled-layers"},
        for_data=LOOKAHEAD.for_data,
        published={"cifar10": 93.96},
    )
)
