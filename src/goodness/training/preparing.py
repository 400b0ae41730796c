"""From a configuration to a training loop: its data read, its network built."""

from __future__ import annotations

from collections.abc import Sequence

from goodness.config import Config
from goodness.data import Dataset, Preprocessing, Subset, open_data
from goodness.data.given import Given
from goodness.network.build import build
from goodness.network.network import Network
from goodness.training import batch_size
from goodness.training.callbacks import Callback
from goodness.training.classes import with_class_tree
from goodness.training.ranks import Ranks
from goodness.training.run_folder import RunFolder
from goodness.training.trainer import Trainer


def prepare(
    config: Config,
    ranks: Ranks,
    run: RunFolder | None = None,
    callbacks: Sequence[Callback] = (),
    data: Given | None = None,
    default_batch: bool = False,
) -> Trainer:
    """The loop of a configuration, with its data read and its network on the ranks' device.

    Args:
        config: its ``batch_size`` may be lowered, see ``default_batch``.
        ranks: the processes.
        run: a run to be resumed.
        callbacks: of the loop.
        data: what a program gave; None: the configuration names it.
        default_batch: whether nobody has chosen the batch size, so that few images may lower it.
    """
    dataset = open_data(
        config.data if data is None else data,
        config.data_root,
        config.image_size,
        config.val_fraction,
        config.skip_unreadable,
        subset_of(config),
        config.max_pixels,
    )
    config = with_class_tree(config, dataset.train, len(dataset.classes))
    if default_batch:
        config = batch_size.filled(config, len(dataset.train))
    made = _trainer(config, dataset, run, callbacks, ranks)
    if default_batch and (config := batch_size.in_memory(made)) != made.config:
        made = _trainer(config, dataset, run, callbacks, ranks)
    return made


def _trainer(
    config: Config,
    dataset: Dataset,
    run: RunFolder | None,
    callbacks: Sequence[Callback],
    ranks: Ranks,
) -> Trainer:
    network = network_of(config, dataset.preprocessing, initial=run is None)
    return Trainer(dataset, network.to(ranks.device), run, callbacks, ranks)


def network_of(config: Config, preprocessing: Preprocessing, initial: bool) -> Network:
    """The network of a configuration for the images and classes that it is trained on.

    Args:
        config: a resolved one.
        preprocessing: tells shape and classes.
        initial: whether it starts from ``model.init_from``, or weights are put into it afterwards.
    """
    shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
    classes = len(preprocessing.classes)
    return build(config, image_shape=shape, num_classes=classes, initial=initial)


def subset_of(config: Config) -> Subset:
    """Which of the data's images a configuration takes."""
    return Subset(config.class_names, config.per_class, config.seed)
