"""The Lightning module."""

from __future__ import annotations

import warnings

import pytest
import timm
import torch
from torch.utils.data import DataLoader, TensorDataset

from goodness import localize
from helpers import random_batch, same

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecated parts of what Lightning imports
    import lightning

    from goodness.integrations.lightning import GoodnessModule

pytestmark = pytest.mark.filterwarnings("ignore")


def make(**options):
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4, channels=[4, 4, 8, 8], stem_width=4)
    shape = {"image_shape": (3, 16, 16), "num_classes": 4}
    return GoodnessModule(localize(model, "sff", "block", lr=3e-3, **shape, **options))


@pytest.fixture
def loader():
    return DataLoader(TensorDataset(*random_batch(64, (3, 16, 16))), batch_size=16)


def trainer(folder, epochs):
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_it_trains_validates_and_predicts(loader, tmp_path):
    module = make()
    run = trainer(tmp_path, 40)
    run.fit(module, loader, loader)

    assert run.callback_metrics["val_accuracy"] > 0.9
    assert run.global_step == 160
    labels = torch.cat([y for _, y in loader])
    guesses = torch.cat(run.predict(module, loader))
    assert (guesses == labels).float().mean() > 0.9
    assert run.test(module, loader, verbose=False)[0]["test_accuracy"] > 0.9


def test_going_on_from_a_checkpoint_equals_never_having_stopped(loader, tmp_path):
    whole = make(accumulate_steps=3, ema=0.9)
    trainer(tmp_path / "whole", 4).fit(whole, loader)

    first = trainer(tmp_path / "first", 2)
    first.fit(make(accumulate_steps=3, ema=0.9), loader)
    first.save_checkpoint(tmp_path / "half.ckpt")
    again = make(accumulate_steps=3, ema=0.9)
    trainer(tmp_path / "again", 4).fit(
        again, loader, ckpt_path=tmp_path / "half.ckpt", weights_only=False
    )

    assert whole.learner.steps == again.learner.steps == 16
    assert same(whole.state_dict(), again.state_dict())
