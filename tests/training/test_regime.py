"""Early stopping, kept epochs and mixed images of whole runs, resumed and killed."""

from __future__ import annotations

import shutil

import pytest
import torch

import goodness
from goodness import api
from goodness.errors import InputError, Interrupted
from goodness.training import checkpoint
from goodness.training.attention import attention
from helpers import TINY, At, copied, interrupt, same, saved_weights, tiny_network, without_times

VALUES = {"method": "asge-fast", "model": TINY, "epochs": 6, "batch_size": 256, "log": []}
NEVER_RISES = {"early_stopping": {"patience": 2, "min_delta": 0.9}, "lr_schedule": "constant"}
"""The first epoch alone counts as a rise, so that three are trained."""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(api, "_with_reports", list)  # for speed


@pytest.fixture
def make(digits, trainer_of):
    def make(folder=None, callbacks=(), **values):
        values = {**VALUES, "boundary": {"dropout": 0.2}, **values}
        return trainer_of(digits, folder, callbacks, **values)

    return make


def fit(folder, callbacks=(), **values):
    return goodness.fit(out=folder, callbacks=callbacks, **{**VALUES, **values})


def assert_alike(one, other):
    for which in ("last", "best"):
        assert same(saved_weights(one, which), saved_weights(other, which))
    rows = [[without_times(row) for row in api.RunFolder(run).history()] for run in (one, other)]
    assert rows[0] == rows[1]


def test_early_stopping_counts_on_after_an_interruption(tmp_path):
    whole = fit(tmp_path / "whole", **NEVER_RISES).folder
    assert len(api.RunFolder(whole).history()) == 3
    with pytest.raises(Interrupted):
        fit(tmp_path / "cut", [At(interrupt, step=12)], **NEVER_RISES)
    goodness.resume(tmp_path / "cut")

    assert_alike(tmp_path / "cut", whole)
    assert goodness.load(whole).result.train.epochs == 3


def test_a_death_after_the_last_epoch_leaves_nothing_to_train(tmp_path):
    whole = fit(tmp_path / "whole", **NEVER_RISES).folder

    def die(trainer):
        raise KeyboardInterrupt

    values = {**NEVER_RISES, "early_stopping": None}
    with pytest.raises(KeyboardInterrupt):  # saved, and nobody has decided yet
        fit(tmp_path / "dead", [At(die, epoch=3)], **values)
    goodness.resume(tmp_path / "dead", early_stopping=NEVER_RISES["early_stopping"])

    assert_alike(tmp_path / "dead", whole)


def test_a_run_that_stopped_early_has_finished_until_it_has_more_patience(tmp_path):
    run = fit(tmp_path / "run", **NEVER_RISES).folder
    with pytest.raises(InputError, match="finished, with epoch 3; give --early-stopping with more"):
        goodness.resume(run)
    with pytest.raises(InputError, match="more patience"):
        goodness.resume(run, epochs=9)
    assert goodness.resume(run, early_stopping=3).result.train.epochs == 4
    assert goodness.load(run).config.early_stopping.min_delta == 0.9


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"early_stopping": 0}, r"early_stopping\.patience: .*greater than or equal to 1"),
        ({"early_stopping": "soon"}, r"early_stopping\.patience: .*got 'soon'"),
        ({"early_stopping": {"pacience": 2}}, r"did you mean 'early_stopping\.patience'"),
        ({"early_stopping": True}, "early_stopping"),
        ({"checkpoint": {"every_seconds": -1}}, r"checkpoint\.every_seconds"),
        ({"checkpoint": {"keeps": 1}}, r"did you mean 'checkpoint\.keep'"),
        ({"checkpoint": 3}, "checkpoint: a mapping is needed"),
        ({"augment": {"mixup": -1}}, r"augment\.mixup"),
        ({"augment": {"attentive_cutmix": 64}}, r"augment\.attentive_cutmix"),
    ],
)
def test_bad_values_are_named(given, says):
    with pytest.raises(InputError, match=says):
        goodness.resolve(given)


def test_a_patience_alone_stands_for_all_its_options():
    assert goodness.resolve({"early_stopping": 7}).early_stopping.patience == 7
    assert goodness.resolve({"early_stopping": {}}).early_stopping.patience == 5
    assert goodness.resolve({}).early_stopping is None


def kept(run):
    return sorted(path.name for path in run.glob("epochs/*"))


def test_the_last_epochs_are_kept_and_answer(tmp_path):
    states = []
    values = {"epochs": 3, "ema": 0.5, "checkpoint": {"keep": 2}}

    def note(trainer):
        states.append(copied(trainer.learner.final_network.state_dict()))

    watch = [At(note, epoch=2), At(note, epoch=3)]
    run = fit(tmp_path / "run", watch, **values).folder

    assert kept(run) == ["0002", "0003"]
    for number, state in zip((2, 3), states, strict=True):
        loaded = goodness.load(run, epoch=number).network.state_dict()
        learnt = {name for name in state if ".running_" not in name}
        assert all(torch.equal(loaded[name], state[name]) for name in learnt)
    with pytest.raises(InputError, match=r"no weights of epoch 1 \(kept: 2, 3; --set checkpoint"):
        goodness.load(run, epoch=1)
    best = goodness.load(run).result.train.best_epoch
    if best in (2, 3):
        assert same(saved_weights(run, "best"), saved_weights(run, f"epochs/{best:04d}"))


def test_nothing_is_kept_by_default(make):
    trained = make("run", epochs=1)
    trained.fit()
    assert not trained.run.epochs.exists()
    with pytest.raises(InputError, match=r"kept: none"):
        trained.run.epoch_checkpoint(1)


@pytest.mark.parametrize("where", ["best", "before", "renaming", "dropping"])
def test_a_death_while_epochs_are_kept_loses_none(make, monkeypatch, where):
    values = {"epochs": 3, "checkpoint": {"keep": 1}}
    whole = make("whole", **values)
    whole.fit()
    trained = make("cut", **values)
    save, rmtree = checkpoint.save, shutil.rmtree

    def dying_save(folder, *given):
        if folder.name == {"best": "best", "before": "0002"}.get(where) and trained.step == 10:
            raise KeyboardInterrupt
        save(folder, *given)
        if where == "renaming" and folder.name == "0002":  # before the first name is given
            folder.rename(folder.with_name(".0002.new"))
            raise KeyboardInterrupt

    def dying_rmtree(path, *given, **options):
        if where == "dropping" and path.name == "0001":
            raise KeyboardInterrupt
        rmtree(path, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dying_save)
        patch.setattr(shutil, "rmtree", dying_rmtree)
        with pytest.raises(KeyboardInterrupt):
            trained.fit()
    resumed = make("cut", **values)
    resumed.restore()
    assert kept(resumed.run.path) == ["0002"]
    resumed.fit()

    assert kept(resumed.run.path) == kept(whole.run.path) == ["0003"]
    for which in ("epochs/0003", "last", "best"):
        assert same(saved_weights(resumed.run.path, which), saved_weights(whole.run.path, which))


MIXED = {"crop": 1, "mixup": 0.4, "cutmix": 1.0, "attentive_cutmix": 8}


@pytest.mark.parametrize(
    ("method", "step", "ema"), [("spectral-local", 4, None), ("backprop", 9, 0.9)]
)
def test_mixed_images_are_the_same_after_an_interruption(tmp_path, method, step, ema):
    values = {"method": method, "augment": MIXED, "epochs": 2, "ema": ema}
    whole = fit(tmp_path / "whole", **values).folder
    with pytest.raises(Interrupted):
        fit(tmp_path / "cut", [At(interrupt, step=step)], **values)
    goodness.resume(tmp_path / "cut")

    assert_alike(tmp_path / "cut", whole)
    plain = fit(tmp_path / "plain", **{**values, "augment": {"crop": 1}}).folder
    assert not same(saved_weights(plain), saved_weights(whole))


def test_labels_follow_the_images_and_need_none(make):
    trained = make(augment=MIXED)
    images = torch.rand(32, 1, 8, 8)
    labels = torch.arange(32) % 10
    ways = set()
    for step in range(12):
        trained.learner.steps = step
        mixed, soft = trained.mixed(images, labels)
        nothing, alone = trained.mixed(images.to("meta"), labels)
        assert torch.equal(soft, alone)
        assert nothing.is_meta
        ways.add(trained._mixing.draw(step, 32).way)
        # What an image has of the one before it, and so has its label.
        assert not torch.equal(mixed, images)
        assert ((soft > 0).sum(1) <= 2).all()
    assert ways == {"mixup", "cutmix", "attentive_cutmix"}


def test_accuracy_in_training_is_the_share_of_the_answer(make):
    trained = make(augment={"mixup": 1.0}, steps_per_epoch=1, epochs=1)
    seen = []
    learn = trained.learner.step

    def step(images, labels, first):
        result = learn(images, labels, first)
        seen.append((result, labels))
        return result

    trained.learner.step = step
    trained.fit()
    ((result, labels),) = seen
    for block, scores in zip(trained.history[0].train.blocks, result.scores, strict=True):
        shares = [float(labels[n, k]) for n, k in enumerate(scores.argmax(1).tolist())]
        assert block.accuracy == pytest.approx(sum(shares) / len(shares))


def test_attention_is_the_first_blocks_mean_magnitude_and_changes_nothing():
    network = tiny_network(boundary={"dropout": 0.5})
    images = torch.randn(5, 1, 8, 8)
    state, draws = copied(network.state_dict()), torch.get_rng_state()
    network.train()
    found = attention(network, images)

    assert network.training
    assert same(network.state_dict(), state)
    assert torch.equal(torch.get_rng_state(), draws)
    network.eval()
    with torch.no_grad():
        features = network[0].body(network.neutral_rows(images))
    torch.testing.assert_close(found, features.abs().mean(1))


def test_attention_needs_a_map(make):
    flat = {"name": "mlp", "widths": [8, 8]}
    with pytest.raises(InputError, match=r"block 'dense1' gives no map to look at"):
        make(method="mono-forward", model=flat, augment={"attentive_cutmix": 8})


def test_a_dry_run_times_mixed_images():
    assert goodness.dry_run(**{**VALUES, "augment": MIXED}).seconds_per_epoch > 0
