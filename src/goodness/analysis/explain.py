"""What each block has seen in one image: goodness maps, class activation maps and class scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from goodness.modes import evaluating
from goodness.network.network import Network
from goodness.readout.linear import LinearReadout


@dataclass
class BlockView:
    """One block's view of an image; maps have the size of the block's features."""

    name: str
    goodness: Tensor
    """Mean square over the channels, (H, W)."""
    own_map: Tensor | None
    """Where the block's own score of the answer comes from, (H, W); None without scores."""
    readout_map: Tensor | None
    """Where the linear readout's score of the answer comes from, (H', W')."""
    scores: Tensor | None
    """The block's own scores, (K,); a softmax of them says how sure it is."""


@dataclass
class Explanation:
    """How the answer about one image came about."""

    answer: int
    """The class that the network answers."""
    probability: float
    """Softmax of the answering readout, 0 to 1."""
    blocks: list[BlockView]
    candidates: Tensor | None
    """For methods that write the label into the image: a row per class, (K, C, H, W)."""


def explain(network: Network, image: Tensor, readout: str | None = None) -> Explanation:
    """Look at one image with every block.

    The class activation map of a linear readout is its weights' sum over channels at every position
    (Zhou et al., arXiv 1512.04150), for each block as in arXiv 2312.14924. A block's own map is its
    score's gradient times the features, summed over channels: the same thing where the score is
    linear in the averaged features, and the first-order share of every position elsewhere.

    Args:
        network: trained.
        image: one preprocessed image (C, H, W), on any device.
        readout: which readout answers; None takes ``network.readout``.

    Raises:
        InputError: an image of another shape, or no such readout.
    """
    readout = network.chosen_readout(readout)
    images = image[None].to(network.device)
    found = network.evaluate(images, list(network.readouts))
    probability, index = found.final(readout)[0].float().softmax(0).max(0)
    k = int(index)
    asks = network.presentation.queries > 1
    linear = _linear_readout(network, readout)
    views = []
    with torch.no_grad(), evaluating(network):
        rows = network.query_rows(images)
        neutral = network.features(images) if asks else None
        for place, value, output in network.walk(rows[k : k + 1] if asks else rows):
            block = network[place]
            h = block.features(value)
            scores = found.blocks[place]
            seen = output if neutral is None else neutral[place]
            views.append(
                BlockView(
                    block.name,
                    h.square().mean(1)[0],
                    _share(network, place, h, k),
                    None if linear is None else linear.activation_map(place, seen.float(), k),
                    None if scores is None else scores[0],
                )
            )
    return Explanation(k, float(probability), views, rows if asks else None)


def _share(network: Network, place: int, h: Tensor, k: int) -> Tensor | None:
    """Gradient times features of the block's own score for class ``k``, (H, W)."""
    objective = network[place].objective
    num_classes = network[place].spec.num_classes
    if objective is None:
        return None
    with torch.enable_grad():
        features = h.clone().requires_grad_()
        scores = objective.scores(features)
        if scores.shape[1] == num_classes:
            score = scores[0, k]
        elif network.presentation.queries > 1:
            score = scores[0, 0]  # the label is in the row already
        else:
            return None
        (gradient,) = torch.autograd.grad(score, features)
    return (gradient * h).sum(1)[0]


def _linear_readout(network: Network, preferred: str) -> LinearReadout | None:
    """The answering readout if it is linear, or else another linear one."""
    names = [preferred, *network.readouts]
    found = (network.readouts[name] for name in names)
    return next((readout for readout in found if isinstance(readout, LinearReadout)), None)
