"""What resembles what among the classes of a data set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from goodness.config import Config, changed
from goodness.data.split import Split
from goodness.objective.hierarchy import class_tree

IMAGES = 5000
"""So many images, the first ones of each class, tell its mean."""
SIDE = 32
"""Larger ones are averaged down."""
COMPONENTS = 50


def with_class_tree(config: Config, train: Split, num_classes: int) -> Config:
    """A configuration whose objective has the tree that it wants of the training images.

    Args:
        config: returned as it is where ``objective.tree`` is not ``"images"``.
        train: the training images.
        num_classes: K.
    """
    if config.objective.get("tree") != "images":
        return config
    tree = class_tree(class_means(train, num_classes))
    return changed(config, {"objective": {**config.objective, "tree": tree}})


def class_means(train: Split, num_classes: int) -> Tensor:
    """Class means of the first 50 principal components of standardised pixels, (K, 50).

    So HCL-FF's released code describes the classes of MNIST and FashionMNIST.
    """
    from sklearn.decomposition import PCA

    each = max(1, IMAGES // num_classes)
    places = [torch.nonzero(train.labels == k).flatten()[:each] for k in range(num_classes)]
    order = torch.cat(places)
    batches = train.batches(500, "cpu", order=order)
    pixels = torch.cat([_small(images).flatten(1) for images, _ in batches])
    pixels = (pixels - pixels.mean(0)) / pixels.std(0).clamp(min=1e-6)
    count = min(COMPONENTS, *pixels.shape)
    found = PCA(count, svd_solver="randomized", random_state=0).fit_transform(pixels.numpy())
    labels = train.labels[order]
    return torch.stack([torch.from_numpy(found)[labels == k].mean(0) for k in range(num_classes)])


def _small(images: Tensor) -> Tensor:
    """uint8 (n, C, H, W) to float32 of at most 32 x 32 pixels."""
    height, width = images.shape[2:]
    return F.adaptive_avg_pool2d(images.float(), (min(SIDE, height), min(SIDE, width)))
