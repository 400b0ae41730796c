"""The features of every block in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from goodness.modes import evaluating
from goodness.network.network import Network


@dataclass(frozen=True)
class Projection:
    """A block's features of N images, seen from where they differ most."""

    name: str
    points: NDArray[np.float64]
    """(N, 2)."""
    share: float
    """Part of the features' variance that the two dimensions hold, 0 to 1."""


def project(
    network: Network, images: Tensor, blocks: Sequence[int] | None = None
) -> list[Projection]:
    """Principal components of the blocks' features, averaged over the positions of each image.

    Where a method writes the label into the image, images have a neutral one.

    Args:
        network: looked at in evaluation mode; nothing is changed.
        images: preprocessed (N, C, H, W), on any device; some hundred tell enough.
        blocks: their places; None takes all.

    Returns:
        One per block. Features that do not differ at all, or are not finite, lie at the origin
        with a share of 0.
    """
    wanted = range(len(network)) if blocks is None else blocks
    found = []
    with torch.no_grad(), evaluating(network):
        rows = network.neutral_rows(images.to(network.device))
        for index, value, _ in network.walk(rows):
            if index in wanted:
                block = network[index]
                pooled = block.features(value).mean((2, 3)).double().cpu().numpy()
                found.append(Projection(block.name, *_components(pooled)))
    return found


def _components(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The first two principal components of (N, C), and their share of the variance."""
    points = np.zeros((len(features), 2))
    if not np.isfinite(features).all() or not features.std(0).any():
        return points, 0.0
    pca = PCA(min(2, *features.shape), svd_solver="full")
    own = pca.fit_transform(features)
    points[:, : own.shape[1]] = own
    return points, float(pca.explained_variance_ratio_.sum())
