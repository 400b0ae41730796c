from __future__ import annotations

import json
import os
import shutil
import signal
import stat
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
from goodness.cli.values import output_folder
from goodness.data import open_data
from goodness.models.weights import read_weights
from goodness.training.replacing import REPLACED
from goodness.training.run_folder import RunFolder
from helpers import TINY, At, interrupt, same, saved_weights

SMALL = {"model": TINY, "boundary": {"dropout": 0.2}, "batch_size": 256, "epochs": 3}
ONE = {**SMALL, "epochs": 1}


def epochs_of(folder):
    return [row.epoch for row in RunFolder(folder).history()]


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
    assert {path.name for path in run.folder.iterdir()} >= {
        *("config.json", "environment.json", "metrics.jsonl", "result.json"),
        *("curves.png", "best", "last"),
    }
    assert json.loads((run.folder / "environment.json").read_text())["command"] == "a test"
    pickles = [p for p in run.folder.rglob("*") if p.suffix in (".pt", ".pth", ".pkl", ".ckpt")]
    assert pickles == []


def test_a_run_knows_its_configuration_and_result(run):
    stored = json.loads((run.folder / "config.json").read_text())

    assert len(stored.pop("run")) == len(stored.pop("checksum")) == 16
    assert {"schema": 2, **run.config.model_dump(mode="json")} == stored
    assert run.config.epochs == 3
    assert run.classes == [str(digit) for digit in range(10)]
    kept = json.loads((run.folder / "result.json").read_text())
    assert kept == {"checksum": kept["checksum"], **run.result.to_json()}
    assert same(run.network.state_dict(), saved_weights(run.folder, "best"))


def test_evaluate_repeats_the_result(run):
    for split in ("val", "test"):
        found, before = run.evaluate(split=split), getattr(run.result, split)

        assert {**vars(found), **vars(before), "seconds": found.seconds} == vars(found)
        assert (found.data, found.split) == ("digits", split)
        assert found.blocks == ["conv1", "conv2"]
        confusion = torch.tensor(found.confusion)
        assert confusion.shape == (10, 10)
        assert confusion.sum() == found.examples
        assert confusion.trace() == round(found.accuracy * found.examples)
        assert json.loads(json.dumps(found.to_json())) == vars(found)
    assert run.evaluate(batch_size=7).accuracy == run.result.test.accuracy


def test_predict_answers_for_every_file_in_order(run, pictures):
    paths, _ = pictures
    predictions = run.predict(paths)

    assert [prediction.file for prediction in predictions] == [str(path) for path in paths]
    for prediction in predictions:
        assert prediction.class_name == run.classes[prediction.index]
        assert 0.1 <= prediction.probability <= 1
        assert [block.name for block in prediction.blocks] == ["conv1", "conv2"]
        assert all(block.class_name in run.classes for block in prediction.blocks)
        record = json.loads(json.dumps(prediction.to_json()))
        assert set(record) == {"file", "class", "index", "probability", "blocks"}
        assert set(record["blocks"][0]) == {"name", "class", "probability"}


def test_predict_agrees_with_the_test_of_the_same_images(run, pictures):
    paths, _ = pictures
    data = open_data("digits")
    images, _ = next(data.test.batches(12, "cpu"))
    answer = run.network.evaluate(data.preprocessing(images))
    expected = answer.final(run.result.test.readout).argmax(1).tolist()

    assert [prediction.index for prediction in run.predict(paths)] == expected
    # More files than fit in one batch of answers, and one alone.
    assert [p.index for p in run.predict(paths * 6)] == expected * 6
    assert run.predict(paths[3:4])[0].index == expected[3]
    assert run.predict([]) == []


def test_predict_leaves_out_files_that_cannot_be_read_where_asked_to(run, pictures, tmp_path):
    paths, _ = pictures
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(goodness.InputError, match=r"broken\.png"):
        run.predict([broken, *paths])
    assert run.predict([broken, *paths], skip_unreadable=True) == run.predict(paths)
    assert run.predict([broken], skip_unreadable=True) == []


@pytest.mark.parametrize("method", ["asge-fast", "ff"])
def test_a_run_s_preprocessing_gives_what_its_network_takes(run, pictures, tmp_path, method):
    paths, _ = pictures
    if method == "ff":  # which takes images as they are
        run = goodness.fit(out=tmp_path / "run", method="ff", **{**ONE, "batch_size": 1000})
    images = run.preprocessing(paths)
    predictions = run.predict(paths)

    assert images.shape == (12, 1, 8, 8)
    assert run.preprocessing.normalize is (method != "ff")
    assert run.network.predict(images).tolist() == [p.index for p in predictions]
    explanation = run.explain(paths[0])
    assert explanation.answer == predictions[0].index
    assert explanation.probability == pytest.approx(predictions[0].probability)
    again = goodness.explain(run.network, images[0])
    assert torch.equal(again.blocks[0].goodness, explanation.blocks[0].goodness)


def test_a_run_can_be_loaded_again(run, pictures):
    again = goodness.load(run.folder)

    assert same(again.network.state_dict(), run.network.state_dict())
    assert again.predict(pictures[0]) == run.predict(pictures[0])
    assert again.preprocessing == run.preprocessing


def test_backprop_reports_its_blocks_through_probes(tmp_path, pictures):
    run = goodness.fit(out=tmp_path / "run", method="backprop", **ONE)

    assert all(0 <= accuracy <= 1 for accuracy in run.result.test.per_block)
    first, last = RunFolder(run.folder).history()[0].train.blocks
    assert first.loss is None
    assert last.loss > 0
    assert run.predict(pictures[0])[0].blocks[0].class_name in run.classes


def test_a_block_without_scores_says_none(run, pictures):
    run.network.blocks[0].objective, kept = None, run.network.blocks[0].objective
    try:
        block = run.predict(pictures[0])[0].blocks[0]
    finally:
        run.network.blocks[0].objective = kept

    assert block.to_json() == {"name": "conv1", "class": None, "probability": None}


@pytest.mark.parametrize("step", [2, 5])
def test_resume_goes_on_as_if_it_had_never_stopped(run, tmp_path, step):
    with pytest.raises(goodness.Interrupted) as caught:
        goodness.fit(out=tmp_path / "run", callbacks=[At(interrupt, step=step)], **SMALL)
    assert caught.value.signum == signal.SIGTERM
    if step == 2:
        for read in (goodness.load, read_weights):
            with pytest.raises(goodness.InputError, match="no epoch has finished; go on with"):
                read(tmp_path / "run")

    resumed = goodness.resume(tmp_path / "run")

    assert same(saved_weights(resumed.folder), saved_weights(run.folder))
    assert same(saved_weights(resumed.folder, "best"), saved_weights(run.folder, "best"))
    assert resumed.result.test.accuracy == run.result.test.accuracy
    assert epochs_of(resumed.folder) == [1, 2, 3]


def test_resume_for_more_epochs(tmp_path):
    first = goodness.fit(out=tmp_path / "run", **ONE)
    before = saved_weights(first.folder)
    with pytest.raises(goodness.InputError, match=r"has finished, with epoch 1; .*--epochs"):
        goodness.resume(first.folder)
    assert same(saved_weights(first.folder), before)

    more = goodness.resume(first.folder, epochs=2)

    assert more.config.epochs == 2
    assert more.result.train.epochs == 2
    assert epochs_of(more.folder) == [1, 2]
    assert not same(saved_weights(first.folder), before)


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(goodness.InputError, match="holds no run"):
        goodness.resume(tmp_path / "nothing")
    (tmp_path / "begun").mkdir()
    config = goodness.resolve(SMALL).model_dump(mode="json")
    (tmp_path / "begun" / "config.json").write_text(json.dumps(config))
    with pytest.raises(goodness.InputError, match="no epoch has finished; go on with --resume"):
        goodness.load(tmp_path / "begun")
    (tmp_path / "begun" / "config.json").write_text("{")
    with pytest.raises(goodness.InputError, match=r"config\.json' is damaged"):
        goodness.resume(tmp_path / "begun")


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "datetime", SimpleNamespace(now=lambda: datetime(2026, 1, 2)))
    prepare = api.prepare

    def overtaken(*given, **options):
        monkeypatch.setattr(api, "prepare", prepare)
        goodness.fit(seed=1, **ONE)  # chooses its folder after the other run has begun
        return prepare(*given, **options)

    monkeypatch.setattr(api, "prepare", overtaken)
    second = goodness.fit(seed=0, **ONE)

    first, other = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert first.startswith("20260102-000000-")
    assert other == second.folder.name == f"{first}-2"
    assert (goodness.load(f"runs/{first}").config.seed, second.config.seed) == (1, 0)


def test_what_is_made_of_a_run_that_is_being_replaced_goes_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = goodness.fit(out="run", **ONE)
    assert run.own_folder == output_folder(run) == Path("run")
    new = RunFolder.create("run", overwrite=True)
    new.write_config(run.config)
    shutil.copytree(Path("run", REPLACED, "last"), new.last)
    with pytest.warns(goodness.Note, match="the one that it replaces answers"):
        old = goodness.load("run")
    assert old.own_folder is None
    with pytest.raises(goodness.InputError, match="being replaced: give out a path"):
        old.export()
    assert output_folder(old) == Path("runs", "of-run")


def test_a_page_replaces_a_file_only_when_told(tmp_path):
    run = goodness.fit(out=tmp_path / "run", **ONE)
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(goodness.InputError, match=r"mine\.html' is there already"):
        run.report(tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "mine"
    run.report(tmp_path / "mine.html", overwrite=True)
    assert (tmp_path / "mine.html").read_text().startswith("<!")


def test_a_folder_that_holds_a_run_is_kept_unless_told_otherwise(tmp_path):
    first = goodness.fit(out=tmp_path / "run", **ONE)
    before = saved_weights(first.folder)
    with pytest.raises(goodness.InputError, match=r"already holds a run.*--overwrite"):
        goodness.fit(out=tmp_path / "run", seed=1, **ONE)
    assert same(saved_weights(first.folder), before)

    second = goodness.fit(out=tmp_path / "run", seed=1, overwrite=True, **ONE)

    assert not same(saved_weights(second.folder), before)
    assert epochs_of(second.folder) == [1]


def test_a_run_that_fails_in_its_first_epoch_leaves_the_one_it_was_to_replace(tmp_path):
    first = goodness.fit(out=tmp_path / "run", seed=5, **ONE)
    (first.folder / "notes.md").write_text("mine")
    before = saved_weights(first.folder)
    with pytest.raises(goodness.RunError, match="not finite"):
        goodness.fit(out=first.folder, overwrite=True, lr=1e30, **ONE)

    assert goodness.load(first.folder).config.seed == 5
    assert same(saved_weights(first.folder), before)
    assert (first.folder / "notes.md").read_text() == "mine"
    assert not [path for path in first.folder.iterdir() if "replac" in path.name]


def test_nobody_else_trains_a_run_meanwhile(tmp_path):
    folder = tmp_path / "run"
    said = []

    def meanwhile(trainer):
        for begin in (
            lambda: goodness.fit(out=folder, overwrite=True, **ONE),
            lambda: goodness.resume(folder, epochs=9),
        ):
            with pytest.raises(goodness.InputError, match="in use by this very process") as error:
                begin()
            said.append(str(error.value))

    goodness.fit(out=folder, callbacks=[At(meanwhile, epoch=1)], **ONE)
    assert len(said) == 2
    assert goodness.resume(folder, epochs=2).result.train.epochs == 2


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(tmp_path):
    whole = goodness.fit(out=tmp_path / "whole", **ONE)
    begun = RunFolder(tmp_path / "begun")
    begun.path.mkdir()
    begun.write_config(whole.config)
    rows = RunFolder(whole.folder).history()
    begun.append(rows[0])  # what stands there when it is killed before its checkpoint is whole
    assert same(saved_weights(goodness.resume(begun.path).folder), saved_weights(whole.folder))
    assert [row.epoch for row in begun.history()] == [row.epoch for row in rows]


def test_files_have_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        folder = goodness.fit(out=tmp_path / "run", **ONE).folder
    finally:
        os.umask(before)
    rights = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert rights == {0o640}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 5000}, "batch size 5000"),
        ({"method": "asge", "image_size": 8}, "--image-size"),
        ({"data": "digist"}, "digits"),
        ({"device": "cuda:99"}, "--device cpu"),
        ({"device": "meta"}, "only cpu, cuda, mps"),
        ({"device": "privateuseone"}, "only cpu, cuda, mps"),
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


def test_a_dry_run_tells_what_fit_would_do_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = goodness.dry_run(**SMALL, method="asge-fast")

    assert list(tmp_path.iterdir()) == []
    assert plan.config["batch_size"] == 256
    assert plan.train_examples == len(open_data("digits").train)
    assert plan.epochs == 3
    assert plan.seconds_per_epoch > 0
    assert [(b["name"], b["features"], b["output"]) for b in plan.blocks] == [
        ("conv1", [8, 8, 8], [8, 4, 4]),
        ("conv2", [16, 4, 4], [16, 4, 4]),
    ]
    # conv without bias, batch norm, and a fusion map of block 2 alone.
    assert [b["parameters"] for b in plan.blocks] == [72 + 16, 1152 + 32]
    assert plan.parameters == 72 + 16 + 1152 + 32 + 170
    json.dumps(plan.to_json())


def test_without_out_every_run_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {goodness.fit(**ONE).folder for _ in range(2)}

    assert len(folders) == 2
    assert all(folder.parent == Path("runs") for folder in folders)
    assert all(folder.name.endswith(("spectral-local-digits", "-2")) for folder in folders)


DRIVER = """
    import os, random, signal, sys
    import torch
    import torch._dynamo  # as torch's optimizers do; once here, not in every child
    import goodness
    from goodness import api
    from goodness.training.callbacks import Callback

    torch.set_num_threads(1)
    api._with_reports = list  # no pictures, for speed
    goodness.open_data("digits")  # imports what it needs
    folder, values = sys.argv[1], eval(sys.argv[2])
    values |= {"log": [], "checkpoint": {"every_seconds": 0}}  # after every step
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
    assert same(saved_weights(folder), saved_weights(run.folder))
    assert same(saved_weights(folder, "best"), saved_weights(run.folder, "best"))
    assert epochs_of(folder) == [1, 2, 3]
