"""Look-ahead heads: a copy of the next block's first layers judges a block. Our own.

Cut into few blocks a network loses little to local learning, if what judges a block resembles what
the next one does with it: gradients have the rank of convolutions, and label information is not
squeezed out early. Each block but the last has as head T, a trained copy of the next block's first
residual block or layer, and a linear map. T sees the features at half their height and width, which
costs a quarter of that layer. The last block has the model's own classifier.

MAN without its moving average, so that nothing of later blocks reaches earlier ones;
``objective.average`` adds it, and information then flows back (`broadcast`). ``partition`` is the
number of blocks, which keep about as many bytes each for their backward pass
(``partition.by=flops``: which take about as long).

    goodness train --method lookahead --model torchvision/resnet18 --partition 2 --data cifar10
"""

from __future__ import annotations

from goodness.methods.backprop import BACKPROP
from goodness.methods.base import Locality, Method, register

LOOKAHEAD = register(
    Method(
        name="lookahead",
        title="Blocks judged by a trained copy of the next block's first layer",
        equation="loss = CE(W GAP(T(h)), y),  T a copy of the next block's first layers",
        use="Real backbones in two to four blocks.",
        paper="none",
        locality=Locality.BLOCK,
        values={
            **BACKPROP.values,
            "partition": {"name": "count", "blocks": 2, "by": "memory"},
            "objective": "look-ahead",
            "plan": "together",
            "readouts": {"last": {}},
        },
        for_data=BACKPROP.for_data,
    )
)
