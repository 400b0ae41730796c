from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
from contextlib import nullcontext

import pytest
import torch

from goodness.data.split import Split
from goodness.errors import InputError, Interrupted, RunError
from goodness.results import BlockTraining, EpochRow, EpochTraining, EpochValidation
from goodness.training import checkpoint
from goodness.training import trainer as trainer_module
from goodness.training.callbacks import Callback, ChanceWarning, EarlyStopping
from goodness.training.run_folder import RunFolder
from goodness.training.sampling import epoch_order
from helpers import TINY, At, copied, interrupt, same, saved_weights, without_times


@pytest.fixture
def make(digits, trainer_of):
    """``make(folder, **values)``: a trainer of a tiny network on digits, five steps an epoch."""

    def make(folder=None, *, dataset=digits, **values):
        values = {"epochs": 3, "batch_size": 256, "boundary": {"dropout": 0.2}, **values}
        return trainer_of(dataset, folder, **values)

    return make


@pytest.fixture
def whole(make):
    """``whole(**values)``: a run that went through."""

    def whole(**values):
        trainer = make("whole", **values)
        trainer.fit()
        return trainer

    return whole


def poison(trainer):
    with torch.no_grad():
        trainer.network.blocks[1].body[0].weight[0, 0, 0, 0] = float("nan")


def interrupt_hard(*_):
    raise KeyboardInterrupt


def kept_alike(one, other):
    """Whether two runs hold the same weights, the last and the best."""
    return all(
        same(saved_weights(one.run.path, which), saved_weights(other.run.path, which))
        for which in ("last", "best")
    )


def learnt(state):
    """Without the statistics of batch norms, which are measured anew before validation."""
    return {name: value for name, value in state.items() if ".running_" not in name}


def row_of(epoch, accuracy=0.5, step=0, learning_rate=0.1, blocks=()):
    train, val = EpochTraining(list(blocks)), EpochValidation(accuracy, "sum", {}, [])
    return EpochRow(epoch, step, 0.0, None, 0.0, learning_rate, train, val)


def test_a_history_row_per_epoch_with_the_agreed_fields(make):
    trained = make("run")
    trained.fit()

    lines = [json.loads(line) for line in trained.run.metrics_file.read_text().splitlines()]
    assert all(len(line.pop("checksum")) == 16 for line in lines)
    assert lines == [row.to_json() for row in trained.history]
    assert trained.run.history() == trained.history
    assert [(row.epoch, row.step) for row in trained.history] == [(1, 5), (2, 10), (3, 15)]
    numbers = {"epoch", "step", "seconds", "images_per_second", "data_share", "learning_rate"}
    assert set(lines[-1]) == {*numbers, "train", "val", "joules"}
    assert set(lines[-1]["val"]) == {"accuracy", "readout", "readouts", "per_block"}
    row = trained.history[-1]
    assert [block.name for block in row.train.blocks] == ["conv1", "conv2"]
    assert all(block.loss > 0 for block in row.train.blocks)
    assert all(0 <= block.accuracy <= 1 for block in row.train.blocks)
    assert set(row.val.readouts) == {"last", "sum", "fusion"}
    assert row.val.accuracy == max(row.val.readouts.values())
    assert len(row.val.per_block) == 2
    assert 0 <= row.data_share <= 1
    losses = [row.train.blocks[1].loss for row in trained.history]
    assert losses == sorted(losses, reverse=True)


def test_the_result_has_the_agreed_fields(make, digits):
    trained = make("run")
    result = trained.fit()

    content = json.loads(trained.run.result_file.read_text())
    assert len(content.pop("checksum")) == 16
    assert content == result.to_json()
    assert trained.run.read_result() == result
    assert set(content["train"]) == {
        *("seconds", "images_per_second", "joules", "joules_source", "parameters"),
        *("peak_memory_bytes", "data_share", "epochs", "best_epoch", "trained_parameters"),
    }
    assert (result.schema, result.method, result.data) == (1, "asge-fast", "digits")
    assert result.blocks == ["conv1", "conv2"]
    assert result.train.epochs == 3
    assert result.train.peak_memory_bytes > 1e6
    for split in ("val", "test"):
        found = getattr(result, split)
        assert found.examples == len(getattr(digits, split))
        assert 0 < found.accuracy <= found.top5 <= 1
        assert found.accuracy == found.readouts[found.readout]
    assert result.test.readout == result.val.readout


def test_the_best_epoch_is_chosen_on_validation_and_the_test_split_is_seen_once(
    make, digits, monkeypatch
):
    asked = []
    batches = Split.batches

    def counted(self, *args, **options):
        asked.append(next(n for n in ("train", "val", "test") if getattr(digits, n) is self))
        return batches(self, *args, **options)

    monkeypatch.setattr(Split, "batches", counted)
    # The weights are broken after epoch 2, so that the last epoch is not the best.
    kept = {}

    def break_weights(trainer):
        kept.update(copied(trainer.network.state_dict()))
        for parameter in trainer.network.parameters():
            torch.nn.init.zeros_(parameter)

    trained = make("run", callbacks=[At(break_weights, epoch=2)])
    result = trained.fit()

    accuracies = [row.val.accuracy for row in trained.history]
    assert accuracies.index(max(accuracies)) == 1
    assert result.train.best_epoch == 2
    assert result.val.accuracy == max(accuracies)
    best = saved_weights(trained.run.path, "best")
    assert same(learnt(best), learnt(kept))
    assert same(trained.network.state_dict(), best)
    # Before validation the batch norms see training images again.
    assert asked == ["train", "train", "val"] * 3 + ["val", "test"]


TIMM = {"name": "timm/resnet10t", "args": {"channels": [4, 4, 4, 4], "stem_width": 4}}


@pytest.mark.parametrize(
    ("model", "readouts"),
    [(TINY, {"fusion"}), (TIMM, {"fusion", "head"})],
    ids=["built-in", "timm"],
)
def test_frozen_blocks_are_answered_for_by_the_readouts_that_learn(make, model, readouts):
    trained = make("run", model=model, freeze_until="head", epochs=1, steps_per_epoch=1)
    result = trained.fit()

    assert set(result.test.readouts) == readouts
    assert result.test.per_block == [None] * len(trained.network)


def test_a_fixed_readout_chooses_the_best_epoch(make):
    trained = make(readout="last")
    result = trained.fit()

    assert {row.val.readout for row in trained.history} == {"last"}
    assert result.test.readout == "last"
    for row in trained.history:
        assert row.val.accuracy == row.val.readouts["last"]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(make):
    states = []
    for seed in (0, 0, 1):
        trained = make(f"run{len(states)}", seed=seed, epochs=1)
        trained.fit()
        states.append(saved_weights(trained.run.path))

    assert same(states[0], states[1])
    assert not same(states[0], states[2])


class Pretend(Callback):
    """Gives the epochs other accuracies."""

    def __init__(self, *accuracies, **values):
        self.accuracies, self.values = accuracies, values

    def on_epoch(self, trainer, row):
        rate, accuracy = row.learning_rate, self.accuracies[row.epoch - 1]
        trainer.history[-1] = row_of(row.epoch, accuracy, learning_rate=rate, **self.values)


@pytest.mark.parametrize(
    ("schedule", "accuracies", "options", "ends"),
    [
        ("constant", (0.2, 0.5, 0.4, 0.5, 0.45, 0.9), {"patience": 2}, 4),
        # Epochs 2 and 3 are only 0.01 and 0.02 above epoch 1.
        ("constant", (0.51, 0.52, 0.53, 0.54), {"patience": 2, "min_delta": 0.05}, 3),
        # The rate is yet to fall: of 144 images' accuracy 0.03 is less than a standard error.
        ("cosine", (0.2, 0.5, 0.48, 0.5, 0.47, 0.9), {"patience": 2}, 6),
        ("cosine", (0.2, 0.5, 0.4, 0.5, 0.4, 0.4, 0.9), {"patience": 2}, 6),
    ],
)
def test_early_stopping_ends_after_epochs_without_a_rise(make, schedule, accuracies, options, ends):
    callbacks = [Pretend(*accuracies), EarlyStopping(**options)]
    trained = make(callbacks=callbacks, epochs=len(accuracies), lr_schedule=schedule)
    trained.fit()

    assert len(trained.history) == ends


def test_early_stopping_leaves_a_good_run_alone(make, whole):
    """Digits come to rest while the rate is high; what its fall brings is not lost."""
    values = {"epochs": 15, "batch_size": 64, "model": {**TINY, "widths": [16, 32]}}
    stopped = make("stopped", callbacks=[EarlyStopping(patience=3)], **values)
    stopped.fit()

    accuracies = [row.val.accuracy for row in stopped.history]
    rests = [max(accuracies[:n]) >= max(accuracies[n : n + 3]) for n in range(1, 12)]
    assert any(rests)  # three epochs without a rise
    assert kept_alike(stopped, whole(**values))


@pytest.mark.parametrize(
    ("validation", "training", "warns"),
    [
        ((0.1, 0.12, 0.1, 0.1), 0.5, True),
        ((0.1, 0.12, 0.1, 0.1), 0.2, False),
        ((0.1, 0.13, 0.1, 0.1), 0.5, False),
    ],
)
def test_validation_at_chance_is_warned_of_once(make, validation, training, warns):
    blocks = [BlockTraining("conv1", 1.0, None), BlockTraining("conv2", 1.0, training)]
    warning = ChanceWarning()

    class Told(Callback):
        def on_epoch(self, trainer, row):
            warning.on_epoch(trainer, trainer.history[-1])

    trained = make(callbacks=[Pretend(*validation, blocks=blocks), Told()], epochs=4)
    if not warns:
        trained.fit()
        return
    with pytest.warns(UserWarning, match=r"at chance for 3 epochs \(10\.0%\).* 50\.0%") as told:
        trained.fit()
    assert len(told) == 1


def test_callbacks_are_told_in_order(make):
    told = []

    class Listener(Callback):
        def on_start(self, trainer):
            told.append("start")

        def on_step(self, trainer):
            told.append(trainer.step)

        def on_epoch(self, trainer, row):
            told.append(f"epoch {row.epoch}")

        def on_end(self, trainer, result):
            told.append(f"end {result.schema}")

    make(callbacks=[Listener()], epochs=2, batch_size=600).fit()

    assert told == ["start", 1, 2, "epoch 1", 3, 4, "epoch 2", "end 1"]


def test_the_status_counts_this_epoch_so_far(make):
    seen = []
    make(callbacks=[At(lambda trainer: seen.append(trainer.status()), step=3)], epochs=1).fit()

    (status,) = seen
    assert [block.name for block in status.blocks] == ["conv1", "conv2"]
    assert all(block.loss > 0 for block in status.blocks)
    assert status.images_per_second is status.eta is None  # among the first steps


def test_a_batch_larger_than_the_data_is_refused(make, digits):
    with pytest.raises(InputError, match=f"batch size 5000 .* {len(digits.train)} training images"):
        make(batch_size=5000)
    assert make(batch_size=len(digits.train)).steps_per_epoch == 1


def test_a_run_too_short_for_one_update_is_refused(make):
    with pytest.raises(InputError, match="takes 16 steps, but the run has only 15"):
        make(accumulate_steps=16, steps_per_epoch=5)
    make(accumulate_steps=15, steps_per_epoch=5)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        # The sixth and seventh step were good, the eighth (from 0: 7) is bad.
        (7, "block 'conv2' is not finite at step 7"),
        (10, "weight of block 'conv2' is not finite at step"),  # an epoch's last step
    ],
)
def test_what_is_not_finite_is_named_and_never_kept(make, step, words):
    trained = make("run", callbacks=[At(poison, step=step)])
    with pytest.raises(RunError, match=words) as caught:
        trained.fit()

    assert trained.steps_per_epoch == 5
    assert str(trained.run.last) in str(caught.value)
    assert "--lr" in str(caught.value)
    assert checkpoint.load(trained.run.last)[0]["step"] == 5
    for which in ("last", "best"):
        state = saved_weights(trained.run.path, which)
        assert all(torch.isfinite(value).all() for value in state.values())


def test_a_rate_that_explodes_is_a_run_error_and_writes_no_checkpoint(make):
    trained = make("run", method="asge", lr=1e30, boundary="identity", augment={"jitter": None})
    with pytest.raises(RunError, match="is not finite at step"):
        trained.fit()

    assert checkpoint.find(trained.run.last) is None
    assert checkpoint.find(trained.run.best) is None


@pytest.mark.parametrize("method", ["asge-fast", "backprop"])
@pytest.mark.parametrize(
    "moment", [{"step": 2}, {"step": 5}, {"step": 9}, {"epoch": 1}, {"epoch": 2}], ids=str
)
def test_an_interrupted_run_goes_on_bit_for_bit(make, whole, method, moment):
    through = whole(method=method)
    stopped = make("stopped", method=method, callbacks=[At(interrupt, **moment)])
    with pytest.raises(Interrupted, match="SIGTERM") as caught:
        stopped.fit()
    assert caught.value.signum == signal.SIGTERM
    assert f"--resume {stopped.run.path}" in str(caught.value)
    assert stopped.step < 15
    assert not stopped.run.result_file.exists()

    resumed = make("stopped", method=method)
    resumed.restore()
    assert resumed.step == stopped.step
    resumed.fit()

    assert kept_alike(resumed, through)
    optimizers = [checkpoint.load(r.run.last, "optimizers")[1] for r in (resumed, through)]
    assert same(optimizers[0]["optimizers"], optimizers[1]["optimizers"])
    rows = [[without_times(row) for row in r.run.history()] for r in (resumed, through)]
    assert rows[0] == rows[1]
    assert [row.epoch for row in rows[0]] == [1, 2, 3]


def stop_after_two(trainer):
    trainer.stop = True


@pytest.mark.parametrize(
    ("callbacks", "epochs"),
    [
        ([At(interrupt, epoch=3)], 3),  # as the run ends anyhow
        ([At(stop_after_two, epoch=2), At(interrupt, epoch=2)], 2),
    ],
)
def test_an_interruption_where_the_run_ends_ends_it(make, callbacks, epochs):
    trained = make("run", callbacks=callbacks)
    trained.fit()

    assert [row.epoch for row in trained.run.history()] == list(range(1, epochs + 1))
    assert trained.run.result_file.exists()


@pytest.mark.parametrize(("where", "kept"), [("metrics", 5), ("last", 5), ("best", 10)])
def test_a_crash_while_an_epoch_is_closed_loses_nothing(make, whole, monkeypatch, where, kept):
    through = whole()
    trained = make("run")
    save, append = checkpoint.save, RunFolder.append

    def dying_save(folder, *args):
        if folder.name == where and trained.step == 10:
            interrupt_hard()
        save(folder, *args)

    def dying_append(self, row):
        if where == "metrics" and trained.step == 10:
            with self.metrics_file.open("a") as file:
                file.write('{"epoch": 2, "st')
            interrupt_hard()
        return append(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dying_save)
        patch.setattr(RunFolder, "append", dying_append)
        with pytest.raises(KeyboardInterrupt):
            trained.fit()
    resumed = make("run")
    resumed.restore()
    assert resumed.step == kept
    resumed.fit()

    assert kept_alike(resumed, through)
    assert [row.epoch for row in resumed.run.history()] == [1, 2, 3]


def test_a_death_between_last_and_best_is_mended(make, whole, monkeypatch):
    through = whole(epochs=1)
    trained = make("run", epochs=1)
    monkeypatch.setattr(trained, "_save_best", interrupt_hard)
    with pytest.raises(KeyboardInterrupt):
        trained.fit()
    assert checkpoint.find(trained.run.best) is None

    resumed = make("run", epochs=1)
    resumed.restore()

    assert kept_alike(resumed, through)


def test_a_full_disk_keeps_the_last_checkpoint(make, monkeypatch):
    trained = make("run")
    save_file = checkpoint.save_file

    def full(tensors, path):
        if trained.step > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises((OSError, RunError), match="No space left"):
        trained.fit()

    assert checkpoint.load(trained.run.last, "network")[0]["step"] == 5


def test_inside_a_long_epoch_the_state_is_saved(make, monkeypatch):
    saved = []
    trained = make("run", epochs=1, checkpoint={"every_seconds": 0})
    save = checkpoint.save

    def counted(folder, *args):
        saved.append((folder.name, trained.step))
        save(folder, *args)

    monkeypatch.setattr(checkpoint, "save", counted)
    trained.fit()

    assert [step for name, step in saved if name == "last"] == [1, 2, 3, 4, 5]


def test_what_has_changed_since_a_checkpoint_is_refused(make, digits):
    make("run", epochs=1).fit()

    with pytest.raises(InputError, match=r"another model: .*conv2"):
        make("run", model={**TINY, "widths": [8, 12]}).restore()
    shorter = Split(digits.train._images[:600], digits.train.labels[:600], [])
    with pytest.raises(InputError, match="training data has changed"):
        make("run", dataset=dataclasses.replace(digits, train=shorter)).restore()


def test_a_damaged_checkpoint_is_refused(make):
    trained = make("run", epochs=1)
    trained.fit()
    path = trained.run.last / "optimizers.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"optimizers\.safetensors' is damaged: its checksum"):
        make("run").restore()

    for meta in ({"schema": "x"}, {"schema": 1}, []):
        (trained.run.last / "state.json").write_text(json.dumps(meta))
        with pytest.raises(InputError, match="damaged"):
            make("run", epochs=1).restore()


def test_the_evaluation_agrees_with_a_slow_count(make, digits):
    trained = make(epochs=1)
    trained.fit()
    counts = trained.evaluate("val")

    right, top5 = 0, 0
    confusion = torch.zeros(10, 10, dtype=torch.long)
    for images, labels in digits.val.batches(1, "cpu"):
        answer = trained.network.evaluate(digits.preprocessing.apply(images))
        order = answer.final("sum")[0].argsort(descending=True).tolist()
        right += order[0] == labels.item()
        top5 += labels.item() in order[:5]
        confusion[labels.item(), order[0]] += 1

    found = counts.result("sum")
    assert found.examples == len(digits.val)
    assert found.accuracy == right / len(digits.val)
    assert found.top5 == top5 / len(digits.val)
    assert torch.equal(counts.confusion["sum"], confusion)


@pytest.mark.parametrize(
    "config",
    [
        None,
        b'{"architectures": ["ResNet"], "model_type": "resnet", "epochs": 3}',
        b'{"method": "asge", "data": "digits"}',
        b"{",
        b"[]",
        b"\xff\xfe",
    ],
)
def test_a_run_folder_that_holds_something_else_is_never_touched(tmp_path, config):
    (tmp_path / "notes.txt").write_text("mine")
    if config is not None:  # as of another program
        (tmp_path / "config.json").write_bytes(config)

    for overwrite in (False, True):
        with pytest.raises(InputError, match="not empty and holds no run"):
            RunFolder.create(tmp_path, overwrite)
    with pytest.raises(InputError, match="is a file"):
        RunFolder.create(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


class Closed(Callback):
    def __init__(self):
        self.seen = []

    def on_end(self, trainer, result):
        self.seen.append("end")

    def on_close(self, trainer):
        self.seen.append("close")


@pytest.mark.parametrize(
    ("ending", "error", "seen"),
    [
        (lambda trainer: None, None, ["end", "close"]),
        (interrupt, Interrupted, ["close"]),
        (poison, RunError, ["close"]),
        (interrupt_hard, KeyboardInterrupt, ["close"]),
    ],
)
def test_callbacks_are_closed_however_a_run_ends(make, ending, error, seen):
    closed = Closed()
    trained = make(epochs=1, callbacks=[closed, At(ending, step=2)])
    with nullcontext() if error is None else pytest.raises(error):
        trained.fit()

    assert closed.seen == seen


def test_reading_the_history_of_a_run_leaves_it_alone(tmp_path):
    run = RunFolder.create(tmp_path)
    rows = [row_of(epoch, step=5 * epoch) for epoch in (1, 2)]
    for row in rows:
        run.append(row)
    with run.metrics_file.open("a") as file:
        file.write('{"step": 1')  # of a killed process
    before = run.metrics_file.read_text()

    assert run.history() == rows
    assert run.metrics_file.read_text() == before
    assert run.cut_history(until_step=5) == run.history() == rows[:1]


def test_a_run_without_a_folder_keeps_nothing(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(epochs=1).fit()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{}", "[]", '{"method": "x"}', "{"])
def test_a_configuration_of_another_shape_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(InputError, match=r"config\.json' is damaged"):
        RunFolder.open(tmp_path).read_config()


def test_a_configuration_is_read_as_it_was_written(make):
    trained = make("run")

    assert trained.run.read_config() == trained.network.config


def test_an_epoch_may_see_every_image_several_times(make, monkeypatch):
    """With few images and many steps, validation does not follow every pass."""
    orders = []
    batches = Split.batches

    def noting(self, *args, order=None, **values):
        if order is not None:
            orders.append(order)
        return batches(self, *args, order=order, **values)

    monkeypatch.setattr(Split, "batches", noting)
    trainer = make(epochs=1, steps_per_epoch=11)
    trainer.fit()

    assert trainer.step == 11
    indices = orders[0]  # the others are of the batch norms' statistics
    assert len(indices) == 11 * 256
    passes = indices[: 10 * 256].chunk(2)
    for part in passes:
        assert len(set(part.tolist())) == 5 * 256
    assert not torch.equal(*passes)


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 11])
def test_epochs_of_any_length_show_every_image_once_before_the_next_shuffle(steps):
    images, size = 23, 4  # five batches; three images are left out of every shuffle
    seen = torch.cat([epoch_order(images, size, steps, epoch, seed=7) for epoch in range(20)])
    assert len(seen) == 20 * steps * size

    passes = seen.split(5 * size)
    assert all(len(set(part.tolist())) == len(part) for part in passes)
    assert torch.equal(passes[0], torch.cat([epoch_order(images, size, 5, 0, seed=7)])[: len(seen)])
    if steps > 1:
        assert not torch.equal(passes[0], passes[1])


def test_saving_and_reports_take_no_time_of_training(make, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("goodness.training.throughput.time.perf_counter", lambda: now[0])

    class Slow(Callback):
        def on_start(self, trainer):
            now[0] += 1000

        def on_step(self, trainer):
            now[0] += 1

        def on_epoch(self, trainer, row):
            now[0] += 1000

    trained = make("run", callbacks=[Slow()])
    evaluate = trained.evaluate

    def slowly(split):
        now[0] += {"val": 2, "test": 1000}[split]
        return evaluate(split)

    monkeypatch.setattr(trained, "evaluate", slowly)
    result = trained.fit()

    assert [row.seconds for row in trained.history] == [7, 14, 21]  # five steps and a validation
    assert result.train.seconds == 21
    meta = json.loads((trained.run.last / "state.json").read_text())
    assert meta["seconds"] == 21


def test_trained_parameters_are_those_that_an_optimizer_updates(make):
    whole = make(epochs=1, steps_per_epoch=1)
    frozen = make(epochs=1, steps_per_epoch=1, freeze_until="1")
    first = sum(p.numel() for p in whole.network[0].parameters())

    assert whole.fit().train.trained_parameters == sum(
        p.numel() for p in whole.network.parameters() if p.requires_grad
    )
    assert whole.fit().train.trained_parameters - frozen.fit().train.trained_parameters >= first


def test_balanced_class_weights_are_the_inverse_shares(make, digits):
    weights = make(class_weights="balanced").learner._class_weights
    counts = torch.bincount(digits.train.labels)
    assert torch.allclose(weights, len(digits.train) / (10 * counts))
    with pytest.raises(InputError, match="class_weights: 2 for 10 classes"):
        make(class_weights=[1, 2])

    # A class without an image has weight one.
    others = digits.train.labels != 3
    fewer = Split(digits.train._images[others], digits.train.labels[others], [])
    changed = dataclasses.replace(digits, train=fewer)
    weights = make(dataset=changed, class_weights="balanced").learner._class_weights
    expected = len(fewer) / (9 * counts)
    expected[3] = 1
    assert torch.allclose(weights, expected)


def test_the_moving_average_is_validated_kept_and_tested(make):
    trainer = make("run", ema=0.9, epochs=1)
    trainer.fit()

    kept, last = (saved_weights(trainer.run.path, which) for which in ("best", "last"))
    assert same(learnt(kept), learnt(trainer.learner.final_network.state_dict()))
    assert not same(learnt(last), learnt(kept))


@pytest.mark.parametrize(
    ("values", "side", "images"),
    [
        ({"batch_size": 8}, 8, 256),
        ({"batch_size": 300}, 8, 300),
        ({"batch_size": 8, "micro_batch": 2, "model": {**TINY, "norm": "none"}}, 8, 2),
        ({"batch_size": 8}, 128, 16),
        ({"batch_size": 8}, 1024, 8),
    ],
)
def test_validation_takes_no_more_images_at_a_time_than_memory_was_asked_for(
    make, monkeypatch, values, side, images
):
    asked = []
    monkeypatch.setattr(trainer_module, "evaluate", lambda *_, batch_size: asked.append(batch_size))
    monkeypatch.setattr(Split, "image_shape", (1, side, side))
    monkeypatch.setattr(trainer_module, "Augmentation", lambda *_: None)
    make(**values).evaluate("val")

    assert asked == [images]
