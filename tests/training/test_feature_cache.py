"""Finished blocks run once, and the others learn from what they sent as if they ran every time."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import goodness
from goodness.checksums import piece_checksums, read_sealed, write_sealed
from goodness.clock import Clock
from goodness.data.source import Files, Paths, make_source
from goodness.data.split import LazyImages, Split
from goodness.errors import InputError, Interrupted
from goodness.memory import in_units
from goodness.notes import Note
from goodness.plan import PLANS, Frozen
from goodness.training.callbacks import Callback
from goodness.training.feature_cache import Stage, stages
from helpers import At, interrupt, same, saved_weights, tiny_network, without_times

MODEL = {"name": "cnn", "widths": [8, 12, 16], "pools": [1], "norm": "batch"}
PLAIN = {"readouts": {}, "presentation": "plain", "epochs": 3, "batch_size": 128}
"""Three blocks in three epochs."""


@pytest.fixture
def some_digits(digits):
    """500 images: the last batch of a pass over them is smaller."""
    return replace(digits, train=Split(digits.train._images[:500], digits.train.labels[:500], []))


@pytest.fixture
def make(some_digits, trainer_of, tmp_path):
    """``make(folder, **values)``: a trainer that trains block after block."""

    def make(folder=None, *, cache=None, **values):
        values = {"method": "mono-forward", "model": MODEL, "plan": "sequential", **PLAIN, **values}
        values = {"augment": {"crop": 0, "flip": False}, **values}
        if cache is not None:
            values["feature_cache"] = str(tmp_path / cache)
        return trainer_of(some_digits, folder, **values)

    return make


WHOLE: dict[int, dict[str, torch.Tensor]] = {}


@pytest.fixture
def whole(make):
    """``whole(epochs)``: the last weights of a run without a cache that is never interrupted."""

    def whole(epochs=3):
        if epochs not in WHOLE:
            trainer = make(epochs=epochs)
            trainer.fit()
            WHOLE[epochs] = trainer.network.state_dict()
        return WHOLE[epochs]

    return whole


def weights(trainer):
    return saved_weights(trainer.run.path)


def runs(trainer, index):
    """How many training images block ``index`` sees, and what to ask for the number."""
    seen = SimpleNamespace(images=0, validating=False)

    def count(module, given):
        seen.images += 0 if seen.validating else len(given[0])

    def validating(asked):
        def counted(*given):
            seen.validating = True
            found = asked(*given)
            seen.validating = False
            return found

        return counted

    trainer.network[index].body.register_forward_pre_hook(count)
    trainer.evaluate = validating(trainer.evaluate)
    trainer.statistics = validating(trainer.statistics)
    return seen


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"channels_last": False},
        {"boundary": {"name": "rms", "dropout": 0.3}},
        {"amp": "bf16"},
        {"epochs": 2},  # blocks change inside an epoch
        {
            "ema": 0.9,
            "accumulate_steps": 2,
            "clip_grad_norm": 0.1,
            "optimizer": "adam",
            "class_weights": "balanced",
        },
        {"plan": {"name": "windows", "windows": [[0, 1], [0, 2], [0, 3]]}},
        {"model": {**MODEL, "norm": "layer"}, "micro_batch": 64},
        {"plan": "together", "freeze_until": "2", "readouts": {"output": {}}},
        {
            "plan": {"name": "sequential", "until": 0.5},
            "readouts": {"fusion": {"start": 0.5}},
            "epochs": 4,
        },
        {"model": {"name": "mlp", "widths": [32, 24, 16]}, "method": "cwc", "readouts": {}},
    ],
    ids=str,
)
def test_what_is_learnt_does_not_depend_on_the_cache(make, values):
    plain, cached = make("plain", **values), make("cached", cache="features", **values)
    results = [trainer.fit() for trainer in (plain, cached)]

    assert len(cached.cache.stages) > 1 or "freeze_until" in values
    assert same(weights(plain), weights(cached))
    assert same(plain.network.state_dict(), cached.network.state_dict())
    for mine, theirs in zip(cached.history, plain.history, strict=True):
        assert without_times(mine) == without_times(theirs)
    assert results[0].test.readouts == results[1].test.readouts
    assert list(cached.cache.folder.iterdir()) == []


def test_every_earlier_block_runs_once(make):
    plain, cached = make(), make(cache="features")
    counts = {trainer: [runs(trainer, index) for index in range(3)] for trainer in (plain, cached)}
    plain.fit()
    cached.fit()

    # Three batches of 128 an epoch; of 500 images the last 128 overlap with those before.
    steps, once = 3 * 128, 4 * 128
    assert [seen.images for seen in counts[plain]] == [3 * steps, 2 * steps, steps]
    assert [seen.images for seen in counts[cached]] == [steps + once, steps + once, steps]


def test_the_features_of_one_block_lie_on_the_disk_at_a_time(make):
    found = {}

    class Look(Callback):
        def on_step(self, trainer):
            files = sorted(trainer.cache.folder.glob("*")) if trainer.cache.folder.exists() else []
            found[trainer.step] = [(path.name[-6:], path.stat().st_size) for path in files]

    trainer = make(cache="features", callbacks=[Look()])
    sizes = [4 * 500 * 8 * 4 * 4, 4 * 500 * 12 * 4 * 4]
    peak = sum(sizes)
    assert trainer.cache.peak_bytes() == peak
    assert trainer.cache.peak_bytes(step=4) == peak
    assert trainer.cache.peak_bytes(step=8) == sizes[1]
    trainer.fit()

    assert found[3] == []
    assert [item for item in found[4] if item[0].endswith("bin")] == [("-1.bin", sizes[0])]
    assert [name for name, _ in found[7]] == ["-2.bin", "2.json"]
    assert found[7][0][1] == sizes[1]
    assert trainer.learner.optimizers["2"].state
    assert not trainer.learner.optimizers["0"].state


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    make, monkeypatch, tmp_path
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=600_000))
    with pytest.raises(InputError, match=r"up to 640\.0 kB.*has room for 600\.0 kB"):
        make(cache="features")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=640_000))
    make(cache="features")
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("epochs", [3, 2])
@pytest.mark.parametrize("step", [1, 2, 4, 5])
def test_an_interrupted_run_goes_on_bit_for_bit(make, whole, epochs, step):
    stopped = make("run", cache="features", epochs=epochs, callbacks=[At(interrupt, step)])
    with pytest.raises(Interrupted):
        stopped.fit()
    resumed = make("run", cache="features", epochs=epochs)
    resumed.restore()
    again = runs(resumed, 0)
    resumed.fit()

    assert same(weights(resumed), whole(epochs))
    if resumed.cache.stage(step).depth == stopped.cache.stage(step - 1).depth > 0:
        assert again.images == 0  # the features were there


@pytest.mark.parametrize("moment", ["writing", "written", "learning"])
@pytest.mark.parametrize("epochs", [3, 2])
def test_a_killed_run_goes_on_bit_for_bit(make, whole, monkeypatch, moment, epochs):
    """While the second block's features are written, just after, and at the next step."""
    killed = make("run", cache="features", epochs=epochs)
    beyond = killed.cache.stages[2].start

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "learning":
            killed.callbacks.append(At(die, beyond + 1))
        else:
            writing = killed.cache._write

            def write(depth, between):
                if depth == 2 and moment == "writing":
                    writing(depth, die)
                writing(depth, between)
                if depth == 2:
                    die()

            patch.setattr(killed.cache, "_write", write)
        with pytest.raises(KeyboardInterrupt):
            killed.fit()

    resumed = make("run", cache="features", epochs=epochs)
    resumed.restore()
    first = runs(resumed, 0)
    resumed.fit()

    assert same(weights(resumed), whole(epochs))
    if resumed.cache.stages[2].start % 3 == 0 or moment == "learning":
        assert first.images == 0  # what the first block sends on was there, or no longer needed


DAMAGES = {
    "zeros": lambda content: bytes(len(content)),
    "short": lambda content: content[:-1],
    "bit": lambda content: content[:777] + bytes([content[777] ^ 1]) + content[778:],
}


@pytest.mark.parametrize("damage", ["weights", "source", "json", "facts", *DAMAGES])
def test_features_that_are_stale_or_damaged_are_computed_anew(make, whole, damage, tmp_path):
    stopped = make("run", cache="features", callbacks=[At(interrupt, 4)])
    with pytest.raises(Interrupted):
        stopped.fit()
    (stored,) = (tmp_path / "features").glob("*.bin")
    facts = stored.with_suffix(".json")
    owner = stopped.cache._source
    if damage in DAMAGES:
        stored.write_bytes(DAMAGES[damage](stored.read_bytes()))
    elif damage == "json":
        facts.write_text("{")
    elif damage == "facts":
        facts.write_text(facts.read_text().replace('"axes"', '"axis"'))
    else:
        write_sealed(facts, {**read_sealed(facts, owner), damage: "others"}, owner)
        stored.write_bytes(bytes(stored.stat().st_size))
    (tmp_path / "features" / f".{stored.stem}.1.new").touch()  # of a process that was killed
    (tmp_path / "features" / "notes.txt").touch()
    resumed = make("run", cache="features")
    resumed.restore()
    told = damage not in ("weights", "source")
    with pytest.warns(Note, match=f"{stored.stem}.*is damaged") if told else nullcontext():
        resumed.fit()

    assert same(weights(resumed), whole())
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["notes.txt"]


def test_a_piece_is_looked_at_once_until_the_file_changes(make, monkeypatch):
    looked = []

    def counted(path):
        looked.append(path)
        return piece_checksums(path)

    monkeypatch.setattr("goodness.training.feature_cache.piece_checksums", counted)
    cache = make(cache="features").cache
    first = cache.open(1, lambda: None)
    cache.open(1, lambda: None)
    assert len(looked) == 1
    path = looked[0]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 128]))
    os.utime(path, ns=(1, 1))
    with pytest.warns(Note, match=r"is damaged \(piece 1 of 1\); it is made again"):
        again = cache.open(1, lambda: None)
    assert path.read_bytes() == content
    assert torch.equal(again._stored, first._stored)


def test_other_data_or_values_are_another_source(make, some_digits):
    source = make(cache="features").cache._source
    free = {"epochs": 6, "device": "cuda:7", "num_threads": 3, "num_workers": 2}
    assert make(cache="elsewhere", **free).cache._source == source
    assert make(cache="features", seed=1).cache._source != source
    kept = some_digits.train._images.clone()
    try:
        some_digits.train._images[7, 0, 3, 3] += 1
        assert make(cache="features").cache._source != source
    finally:
        some_digits.train._images.copy_(kept)


def test_other_weights_or_statistics_of_frozen_blocks_make_features_stale(make):
    trainer = make(cache="features")
    cache, first = trainer.cache, trainer.network[0]
    assert cache.open(1, lambda: None) is not None
    changes = [first.body[0].weight, first.body[1].running_mean, first.objective.linear.weight]
    stale = []
    for tensor in (*changes, trainer.network[1].body[0].weight):
        with torch.no_grad():
            tensor[0] += 1e-3
            stale.append(cache._found(1) is None)
            cache.open(1, lambda: None)

    assert stale == [True, True, False, False]


@pytest.mark.parametrize("channels_last", [True, False])
def test_features_lie_in_memory_as_the_block_sends_them(make, some_digits, channels_last):
    trainer = make(cache="features", channels_last=channels_last)
    features = trainer.cache.open(1, lambda: None)
    order = torch.tensor([3, 499, 0, 3])
    (rows, labels), (last, _) = features.batches(3, torch.device("cpu"), order=order)
    images = some_digits.preprocessing.apply(some_digits.train._images[order])
    trainer.network.eval()
    with torch.no_grad():
        sent = trainer.network.features(images)[0]

    torch.testing.assert_close(torch.cat([rows, last]), sent)
    assert torch.equal(labels, some_digits.train.labels[order[:3]])
    assert rows.stride()[1:] == sent.stride()[1:]
    assert rows.is_contiguous(memory_format=torch.channels_last) is channels_last


def interrupt_while_writing(trainer, monkeypatch):
    writing = trainer.cache._write

    def write(depth, between):
        interrupt(trainer)
        writing(depth, between)

    monkeypatch.setattr(trainer.cache, "_write", write)


def test_a_signal_ends_the_run_while_features_are_computed(make, monkeypatch):
    trainer = make("run", cache="features")
    interrupt_while_writing(trainer, monkeypatch)
    with pytest.raises(Interrupted, match="after step 3"):
        trainer.fit()
    assert not any(trainer.cache.folder.iterdir())


def test_a_run_interrupted_before_its_first_step_has_no_best_weights(make, monkeypatch):
    values = {"cache": "features", "plan": "together", "freeze_until": "2"}
    values["readouts"] = {"output": {}}
    trainer = make("run", **values)
    interrupt_while_writing(trainer, monkeypatch)
    with pytest.raises(Interrupted, match="after step 0"):
        trainer.fit()
    resumed = make("run", **values)
    resumed.restore()

    assert not resumed.run.best.exists()
    resumed.fit()
    assert resumed.run.best.exists()


AUGMENTED = {"augment": {"crop": 2, "jitter": [0.1, 0.1, 0.1, 0]}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"plan": "together"},
            "plan 'together' no block has finished.*plan=sequential",
        ),
        (AUGMENTED, r"use --set augment\.crop=0 --set augment\.jitter=null\)"),
        (
            {"method": "ff", "presentation": "label-pixels"},
            "presentation 'label-pixels' draws rows",
        ),
        (
            {"method": "scff", "presentation": "image-pairs"},
            "presentation 'image-pairs' draws rows",
        ),
        ({"method": "cafo-dfa"}, "objective 'direct-feedback' asks the whole network"),
        ({"method": "infopro", "partition": "layer"}, "objective 'information' needs the images"),
        ({"readouts": {"fusion": {}}}, r"readout 'fusion' learns.*readouts\.fusion\.start=0\.8"),
        ({"readouts": {"probe": {"skip": 1}}}, "readout 'probe' learns"),
    ],
)
def test_what_cannot_do_with_features_alone_is_refused(make, values, message):
    with pytest.raises(InputError, match=message):
        make(cache="features", **values)


def test_a_loop_of_one_s_own_has_no_cache(tmp_path):
    network = tiny_network("mono-forward", feature_cache=str(tmp_path))
    with pytest.raises(InputError, match="feature_cache: here there is none"):
        goodness.Learner(network)


def test_stages_are_where_blocks_finish():
    sequential = PLANS.make(PLANS.resolve({"name": "sequential", "until": 0.5}), 2)
    assert stages(sequential, Clock(0, 10, 4)) == [
        Stage(0, 0, 10),
        Stage(1, 10, 20),
        Stage(0, 20, 40),
    ]
    together = PLANS.make(PLANS.resolve({"name": "together"}), 3)
    assert stages(together, Clock(0, 10, 4)) == [Stage(0, 0, 40)]
    assert stages(Frozen(together, 1), Clock(0, 10, 4)) == [Stage(1, 0, 40)]
    # The second block finishes first, but the first one still changes what it is given.
    late = PLANS.make(PLANS.resolve({"name": "windows", "windows": [[1, 2], [0, 1]]}), 2)
    assert stages(late, Clock(0, 10, 4)) == [Stage(0, 0, 40)]


def test_sizes_in_words():
    found = [in_units(size) for size in (12, 1500, 2.5e6, 3.2e9, 4e12)]
    assert found == ["12 bytes", "1.5 kB", "2.5 MB", "3.2 GB", "4.0 TB"]


def test_a_plan_tells_the_size_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = {**PLAIN, "augment": {"crop": 0, "flip": False}, "plan": "sequential"}
    values = {"method": "mono-forward", "model": MODEL, **plain}
    plan = goodness.dry_run(feature_cache="features", **values)

    images = plan.train_examples
    assert plan.cache_bytes == 4 * images * (8 + 12) * 4 * 4
    assert goodness.dry_run(**values).cache_bytes is None
    assert not any(tmp_path.iterdir())
    assert in_units(plan.cache_bytes).endswith("MB")


def test_images_that_are_not_in_memory_go_by_their_names():
    def digest(*names, labels=(0, 1)):
        source = make_source(Files(Paths(names)), labels, ["a", "b"])
        return Split(LazyImages(source, (1, 8, 8)), torch.tensor(labels), []).digest()

    assert digest("x.png", "y.png") == digest("x.png", "y.png")
    others = {digest("y.png", "x.png"), digest("x.png", "y.png", labels=(1, 0))}
    assert len(others | {digest("x.png", "y.png")}) == 3
