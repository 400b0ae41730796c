"""The features of every block in two dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn import functional as F

from goodness.modes import evaluating
from goodness.network.network import Network

Values = NDArray[np.float64]

SIDE = 4
"""Larger maps are averaged down to so many positions a side."""
COMPONENTS = 50
PERPLEXITY = 30.0


@dataclass(frozen=True)
class Projection:
    """A block's features of N images."""

    name: str
    points: Values
    """(N, 2), so that images that are near to each other in the features are so here."""
    nearest: NDArray[np.int64]
    """(N,), to each image the nearest other one in all dimensions of the features."""


def project(
    network: Network, batches: Iterable[Tensor], blocks: Sequence[int] | None = None
) -> list[Projection]:
    """t-SNE (van der Maaten and Hinton 2008) of the blocks' features, averaged over 4 x 4 regions.

    It starts from the principal components, 50 at most, so that one network always has one picture.
    Where a method writes the label into the image, images have a neutral one.

    Args:
        network: looked at in evaluation mode; nothing is changed.
        batches: preprocessed images (n, C, H, W) each, on any device; some hundred tell enough.
        blocks: their places; None takes all.

    Returns:
        One per block whose features are finite and differ between images.
    """
    wanted = list(range(len(network)) if blocks is None else blocks)
    seen: dict[int, list[Tensor]] = {index: [] for index in wanted}
    with torch.no_grad(), evaluating(network):
        for images in batches:
            for index, value, _ in network.walk(network.neutral_rows(images.to(network.device))):
                if index in seen:
                    seen[index].append(_regions(network[index].features(value)).cpu())
    found = []
    for index, parts in seen.items():
        features = torch.cat(parts).double().numpy()
        if np.isfinite(features).all() and features.std(0).any():
            found.append(_projection(network[index].name, features))
    return found


def _regions(h: Tensor) -> Tensor:
    """Maps (n, C, H, W) as (n, D)."""
    if max(h.shape[2:]) > SIDE:
        h = F.adaptive_avg_pool2d(h, (min(SIDE, h.shape[2]), min(SIDE, h.shape[3])))
    return h.flatten(1)


def _projection(name: str, features: Values) -> Projection:
    """Of features (N, D)."""
    count = len(features)
    # Asked without points, it leaves each image itself out.
    nearest = NearestNeighbors(n_neighbors=1).fit(features).kneighbors(return_distance=False)
    few = PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features)
    start = "pca" if few.shape[1] > 1 else "random"
    tsne = TSNE(init=start, perplexity=min(PERPLEXITY, (count - 1) / 3), random_state=0)
    return Projection(name, tsne.fit_transform(few), nearest[:, 0])
