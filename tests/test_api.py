from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import goodness
from goodness import api
from goodness.data import open_data
from goodness.training import checkpoint
from goodness.training.callbacks import Callback
from goodness.models.weights import read_weights

SMALL = {
    "model": {"name": "small-cnn", "widths": [8, 16], "pools": [1]},
    "boundary": {"dropout": 0.2},
    "batch_size": 256,
    "epochs": 3,
}


class InterruptAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, trainer):
        if trainer.step == self.step:
            trainer.interrupted = signal.SIGINT


def weights(folder, which="last"):
    return checkpoint.load(folder / which, "network")[1]["network"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def epochs_of(folder):
    return [row["epoch"] for row in rows_of(folder)]


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run that no test changes."""
    return goodness.fit(out=tmp_path_factory.mktemp("api") / "run", command="a test", **SMALL)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twelve test images of digits as files, with their labels."""
    folder = tmp_path_factory.mktemp("pictures")
    images, labels = next(open_data("digits").test.batches(12, "cpu"))
    paths = [folder / f"{i}.png" for i in range(12)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[0].numpy()).save(path)
    return paths, labels.tolist()


def test_the_run_folder_has_the_agreed_files(run):
    names = {path.name for path in run.folder.iterdir()}

    assert names >= {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "curves.png",
        "result.json",
        "tensorboard",
        "best",
        "last",
    }
    assert json.loads((run.folder / "environment.json").read_text())["command"] == "a test"
    pickles = [p for p in run.folder.rglob("*") if p.suffix in (".pt", ".pth", ".pkl", ".ckpt")]
    assert pickles == []


def test_a_run_knows_its_configuration_and_result(run):
    stored = json.loads((run.folder / "config.json").read_text())

    assert run.config.model_dump(mode="json") == stored
    assert run.config.epochs == 3
    assert run.classes == [str(digit) for digit in range(10)]
    assert run.result == json.loads((run.folder / "result.json").read_text())


def test_a_run_has_the_best_weights(run):
    assert same(run.network.state_dict(), weights(run.folder, "best"))


def test_evaluate_repeats_the_result(run):
    for split in ("val", "test"):
        record = run.evaluate(split=split)

        for key in ("accuracy", "top5", "per_block", "readout", "readouts", "examples"):
            assert record[key] == run.result[split][key], key
        assert (record["data"], record["split"]) == ("digits", split)
        assert record["blocks"] == ["conv1", "conv2"]
        confusion = torch.tensor(record["confusion"])
        assert confusion.shape == (10, 10)
        assert confusion.sum() == record["examples"]
        assert confusion.trace() == round(record["accuracy"] * record["examples"])
    json.dumps(record)


def test_evaluate_does_not_depend_on_the_batch_size(run):
    assert run.evaluate(batch_size=7)["accuracy"] == run.result["test"]["accuracy"]


def test_predict_answers_for_every_file_in_order(run, pictures):
    paths, _ = pictures
    records = run.predict(paths)

    assert [record["file"] for record in records] == [str(path) for path in paths]
    for record in records:
        assert record["class"] == run.classes[record["index"]]
        assert 0.1 <= record["probability"] <= 1
        assert [block["name"] for block in record["blocks"]] == ["conv1", "conv2"]
        assert all(block["class"] in run.classes for block in record["blocks"])
    json.dumps(records)


def test_predict_agrees_with_the_test_of_the_same_images(run, pictures):
    paths, _ = pictures
    images, _ = next(open_data("digits").test.batches(12, "cpu"))
    preprocessing = open_data("digits").preprocessing
    answer = run.network.evaluate(preprocessing.apply(images, normalize=True))
    expected = answer.final(run.result["test"]["readout"]).argmax(1).tolist()

    assert [record["index"] for record in run.predict(paths)] == expected
    # More files than fit in one batch of answers, and one alone.
    assert [r["index"] for r in run.predict(paths * 6)] == expected * 6
    assert run.predict(paths[3:4])[0]["index"] == expected[3]
    assert run.predict([]) == []


def test_a_run_can_be_loaded_again(run, pictures):
    again = goodness.load(run.folder)

    assert same(again.network.state_dict(), run.network.state_dict())
    one, other = again.predict(pictures[0]), run.predict(pictures[0])
    assert one == other


def test_backprop_reports_its_blocks_through_probes(tmp_path, pictures):
    run = goodness.fit(out=tmp_path / "run", method="backprop", **{**SMALL, "epochs": 1})

    assert all(0 <= accuracy <= 1 for accuracy in run.result["test"]["per_block"])
    first, last = rows_of(run.folder)[0]["train"]["blocks"]
    assert first["loss"] is None
    assert last["loss"] > 0
    assert run.predict(pictures[0])[0]["blocks"][0]["class"] in run.classes


def test_a_block_without_scores_says_none(run, pictures):
    run.network.blocks[0].objective, kept = None, run.network.blocks[0].objective
    try:
        block = run.predict(pictures[0])[0]["blocks"][0]
    finally:
        run.network.blocks[0].objective = kept

    assert block == {"name": "conv1", "class": None, "probability": None}


@pytest.mark.parametrize("step", [2, 5])
def test_resume_goes_on_as_if_it_had_never_stopped(run, tmp_path, step):
    with pytest.raises(goodness.Interrupted) as caught:
        goodness.fit(out=tmp_path / "run", callbacks=[InterruptAt(step)], **SMALL)
    assert caught.value.signum == signal.SIGINT
    if step == 2:
        for read in (goodness.load, read_weights):
            with pytest.raises(goodness.InputError, match="no epoch has finished; go on with"):
                read(tmp_path / "run")

    resumed = goodness.resume(tmp_path / "run")

    assert same(weights(resumed.folder), weights(run.folder))
    assert same(weights(resumed.folder, "best"), weights(run.folder, "best"))
    assert resumed.result["test"]["accuracy"] == run.result["test"]["accuracy"]
    assert epochs_of(resumed.folder) == [1, 2, 3]


def test_resume_for_more_epochs(tmp_path):
    values = {**SMALL, "epochs": 1}
    first = goodness.fit(out=tmp_path / "run", **values)
    before = weights(first.folder)
    with pytest.raises(goodness.InputError, match=r"has finished, with epoch 1; .*--epochs"):
        goodness.resume(first.folder)
    assert same(weights(first.folder), before)

    more = goodness.resume(first.folder, epochs=2)

    assert more.config.epochs == 2
    assert more.result["train"]["epochs"] == 2
    assert epochs_of(more.folder) == [1, 2]
    assert not same(weights(first.folder), before)


def test_resume_needs_a_run_with_a_checkpoint(tmp_path):
    with pytest.raises(goodness.InputError, match="holds no run"):
        goodness.resume(tmp_path / "nothing")
    (tmp_path / "begun").mkdir()
    config = goodness.resolve(SMALL).model_dump(mode="json")
    (tmp_path / "begun" / "config.json").write_text(json.dumps(config))
    with pytest.raises(goodness.InputError, match="no checkpoint yet"):
        goodness.resume(tmp_path / "begun")
    with pytest.raises(goodness.InputError, match="no epoch has finished; begin again"):
        goodness.load(tmp_path / "begun")
    (tmp_path / "begun" / "config.json").write_text("{")
    with pytest.raises(goodness.InputError, match=r"config\.json' is damaged"):
        goodness.resume(tmp_path / "begun")


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    values = {**SMALL, "epochs": 1}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "datetime", SimpleNamespace(now=lambda: datetime(2026, 1, 2)))
    prepare = api._prepare

    def overtaken(*given, **options):
        monkeypatch.setattr(api, "_prepare", prepare)
        goodness.fit(seed=1, **values)  # chooses its folder after the other run has begun
        return prepare(*given, **options)

    monkeypatch.setattr(api, "_prepare", overtaken)
    second = goodness.fit(seed=0, **values)

    first, other = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert first.startswith("20260102-000000-")
    assert other == second.folder.name == f"{first}-2"
    assert (goodness.load(f"runs/{first}").config.seed, second.config.seed) == (1, 0)


def test_a_folder_that_holds_a_run_is_kept_unless_told_otherwise(tmp_path):
    values = {**SMALL, "epochs": 1}
    first = goodness.fit(out=tmp_path / "run", **values)
    before = weights(first.folder)
    with pytest.raises(goodness.InputError, match=r"already holds a run.*--overwrite"):
        goodness.fit(out=tmp_path / "run", seed=1, **values)
    assert same(weights(first.folder), before)

    second = goodness.fit(out=tmp_path / "run", seed=1, overwrite=True, **values)

    assert not same(weights(second.folder), before)
    assert epochs_of(second.folder) == [1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 5000}, "batch size 5000"),
        ({"method": "asge", "image_size": 8}, "--image-size"),
        ({"data": "digist"}, "digits"),
        ({"device": "cuda:99"}, "--device cpu"),
        ({"device": "meta"}, "only cpu and cuda"),
        ({"device": "privateuseone"}, "only cpu and cuda"),
        ({"epochs": 0}, "epochs"),
    ],
    ids=str,
)
def test_bad_input_leaves_an_existing_run_alone(tmp_path, values, words):
    existing = tmp_path / "run"
    existing.mkdir()
    precious = json.dumps(goodness.resolve({}).model_dump(mode="json"))
    (existing / "config.json").write_text(precious)

    with pytest.raises(goodness.InputError, match=words):
        goodness.fit(out=existing, overwrite=True, **values)

    assert (existing / "config.json").read_text() == precious


def test_plan_tells_what_fit_would_do_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = goodness.dry_run(**SMALL)

    assert list(tmp_path.iterdir()) == []
    assert plan["config"]["batch_size"] == 256
    assert plan["train_examples"] == len(open_data("digits").train)
    assert plan["epochs"] == 3
    assert plan["seconds_per_epoch"] > 0
    assert [(b["name"], b["features"], b["output"]) for b in plan["blocks"]] == [
        ("conv1", [8, 8, 8], [8, 4, 4]),
        ("conv2", [16, 4, 4], [16, 4, 4]),
    ]
    # conv without bias, batch norm, and a fusion map of block 2 alone.
    assert [b["parameters"] for b in plan["blocks"]] == [72 + 16, 1152 + 32]
    assert plan["parameters"] == 72 + 16 + 1152 + 32 + 170
    json.dumps(plan)


def test_without_out_every_run_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {**SMALL, "epochs": 1}
    folders = {goodness.fit(**values).folder for _ in range(2)}

    assert len(folders) == 2
    assert all(folder.parent == Path("runs") for folder in folders)
    assert all(folder.name.endswith(("asge-fast-digits", "-2")) for folder in folders)


DRIVER = """
    import os, random, signal, sys
    import torch
    import torch._dynamo  # as torch's optimizers do; once here, not in every child
    import goodness
    from goodness import api
    from goodness.training import trainer as module
    from goodness.training.callbacks import Callback

    torch.set_num_threads(1)
    module.SAVE_SECONDS = 0.0  # after every step
    api._with_reports = list  # no pictures, for speed
    api.open_data("digits")  # imports what it needs
    folder, values = sys.argv[1], eval(sys.argv[2])
    generator = random.Random(0)

    class Kill(Callback):
        def __init__(self, step):
            self.at = step

        def on_step(self, trainer):
            if trainer.step == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def child(work):
        # Forked, so that torch is imported once.
        pid = os.fork()
        if pid == 0:
            work()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    first, second, third = sorted(generator.sample(range(2, 15), 3))
    ended = [child(lambda: goodness.fit(out=folder, callbacks=[Kill(first)], **values))]
    for step in (second, third):
        ended.append(child(lambda: goodness.resume(folder, callbacks=[Kill(step)])))
    ended.append(child(lambda: goodness.resume(folder)))
    assert ended == [-signal.SIGKILL] * 3 + [0], ended
"""


def test_a_run_killed_three_times_ends_as_if_it_had_never_been(run, tmp_path):
    folder = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRIVER), str(folder), repr(SMALL)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )

    assert done.returncode == 0, done.stderr
    assert same(weights(folder), weights(run.folder))
    assert same(weights(folder, "best"), weights(run.folder, "best"))
    assert epochs_of(folder) == [1, 2, 3]
