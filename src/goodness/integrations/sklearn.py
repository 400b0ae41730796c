"""A scikit-learn classifier."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from goodness.config import KEYS, merge
from goodness.errors import InputError
from goodness.learning import Learner
from goodness.methods import METHODS
from goodness.network.build import is_count, is_image_shape
from goodness.network.localize import localize
from goodness.network.network import Network
from goodness.seeds import mix, permutation
from goodness.training.machine import choose_device

LEAST_SIDE = 8
"""Fewer pixels a side are taken as features without neighbours."""


class GoodnessClassifier(ClassifierMixin, BaseEstimator):
    """Any method of this package as a scikit-learn estimator.

    X may have the shape (N, C, H, W), (N, H, W), or (N, F): F = 64, 81, 100, ... numbers are taken
    as a square grey image, other ones as features without neighbours. Each channel is standardised.

    Args:
        method: a name from ``goodness methods``.
        model: a name from ``goodness models``, or an ``nn.Module``, of which a copy is trained;
            None takes the method's for images, and two layers of 128 units for features.
        partition: ``"layer"``, ``"block"``, ``"stage"`` or a number of blocks; None takes the
            method's.
        epochs: passes over the data.
        batch_size: images per step, or all if there are fewer.
        lr: learning rate; None takes the method's.
        readout: which one answers; None takes the method's first.
        image_shape: the shape (C, H, W) of a row of X, where the above is not what is meant.
        options: further configuration values, e.g. ``{"objective": {"alpha": 1.0}}``; those that
            have a parameter here, or concern a data set, are refused.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        random_state: seed of weights and order; None draws one.

    Attributes:
        classes_: class labels, in the order of the scores.
        network_: the trained `goodness.Network`.
        loss_curve_: mean loss of every epoch.
    """

    def __init__(
        self,
        method: str = "spectral-local",
        model: str | nn.Module | None = None,
        partition: str | int | None = None,
        epochs: int = 20,
        batch_size: int = 64,
        lr: float | None = None,
        readout: str | None = None,
        image_shape: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.method = method
        self.model = model
        self.partition = partition
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.readout = readout
        self.image_shape = image_shape
        self.options = options
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> GoodnessClassifier:
        """Train from scratch, or from the weights of the module that was given.

        Raises:
            ValueError: bad input, in one line.
        """
        given, y = validate_data(self, X, y, allow_nd=True, dtype=np.float32, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y has one class; a classifier needs at least 2")
        images = self._images(given)
        self.mean_ = images.mean((0, 2, 3), keepdim=True)
        std = images.std((0, 2, 3), keepdim=True, correction=0)
        self.std_ = torch.where(std > 0, std, 1.0)
        images = (images - self.mean_) / self.std_
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        epochs = _count("epochs", self.epochs)
        batch_size = min(_count("batch_size", self.batch_size), len(images))
        steps = len(images) // batch_size
        try:
            self.network_ = self._network(images, seed, epochs, steps)
            self.network_.chosen_readout(self.readout)  # an unknown one is refused before training
            self._train(images, torch.as_tensor(labels), seed, epochs, batch_size, steps)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def _network(self, images: Tensor, seed: int, epochs: int, steps: int) -> Network:
        for key in self.options or {}:
            if key in PARAMETERS:
                raise InputError(f"options: {key} has a parameter of its own, {PARAMETERS[key]}")
            if key in UNUSED:
                raise InputError(f"options: {key} has no meaning for arrays; leave it out")
        options = merge(self.options or {})
        if self.lr is not None and "lr" in options.get("optimizer", {}):
            raise InputError("options: optimizer.lr and the parameter lr are one; leave one out")
        model: Any = copy.deepcopy(self.model)
        if model is None and images.shape[2:] == (1, 1):
            model = {"name": "mlp", "widths": [128, 128], "norm": "batch"}
        elif model is None:
            model = METHODS[self.method].values["model"]
        values: dict[str, Any] = {"epochs": epochs, "steps_per_epoch": steps, "seed": seed}
        if self.lr is not None:
            values["lr"] = self.lr
        network = localize(
            model,
            self.method,
            self.partition,
            num_classes=len(self.classes_),
            image_shape=tuple(images.shape[1:]),
            **values,
            **options,
        )
        return network.to(choose_device(self.device))

    def _train(
        self, images: Tensor, labels: Tensor, seed: int, epochs: int, batch: int, steps: int
    ) -> None:
        self.loss_curve_ = []
        learner = Learner(self.network_)
        for epoch in range(epochs):
            order = permutation(len(images), mix(seed, "order", epoch))[: steps * batch]
            losses = [learner.step(images[rows], labels[rows]).loss for rows in order.split(batch)]
            self.loss_curve_.append(float(torch.stack(losses).mean()))
        learner.finish()

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """The softmax of the class scores, (N, K).

        Raises:
            ValueError: images of another shape than those of `fit`.
        """
        check_is_fitted(self)
        given = validate_data(self, X, allow_nd=True, dtype=np.float32, reset=False)
        images = (self._images(given) - self.mean_) / self.std_
        try:
            scores = [self.network_.scores(part, self.readout) for part in images.split(256)]
        except InputError as error:
            raise ValueError(str(error)) from None
        found: NDArray[np.float32] = torch.cat(scores).softmax(1).cpu().numpy()
        return found

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class labels (N,)."""
        best = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[best])

    def _images(self, X: NDArray[np.float32]) -> Tensor:
        """(N, C, H, W)."""
        x = torch.as_tensor(np.ascontiguousarray(X))
        count = math.prod(x.shape[1:])
        if self.image_shape is not None:
            if not is_image_shape(self.image_shape):
                raise ValueError(
                    "image_shape: the shape (C, H, W) of a row of X is needed, such as (1, 8, 8)"
                    f" (got {self.image_shape!r})"
                )
            if math.prod(self.image_shape) != count:
                raise ValueError(f"image_shape {tuple(self.image_shape)} is not {count} numbers")
            return x.reshape(len(x), *self.image_shape)
        if x.dim() == 2:
            side = math.isqrt(count)
            if side >= LEAST_SIDE and side**2 == count:
                return x.reshape(len(x), 1, side, side)
            return x[:, :, None, None]
        if x.dim() == 3:
            return x[:, None]
        if x.dim() == 4:
            return x
        raise ValueError(f"X has {x.dim()} dimensions; (N, F), (N, H, W) or (N, C, H, W) is needed")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.random_state is None
        tags.input_tags.three_d_array = True
        return tags


PARAMETERS = {"seed": "random_state"} | {
    name: name for name in signature(GoodnessClassifier).parameters if name in KEYS
}
"""Configuration keys, and the parameters that give them here."""
UNUSED = {"image_shape", "num_classes"} | {
    name for name, key in KEYS.items() if key.scope in ("data", "run") or key.resume
}
"""Keys of no meaning for arrays that are learnt from as they are, unless they are parameters."""


def _count(name: str, value: Any) -> int:
    if not is_count(value):
        raise ValueError(f"{name}: a whole number from 1 on is needed (got {value!r})")
    return int(value)
