"""A damaged file of a run is named, with what can still be read; the rest of the run is used."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import goodness
from goodness import InputError
from goodness.notes import Note
from goodness.training.run_folder import RunFolder
from helpers import TINY, same, saved_weights

VALUES = {
    **{"method": "asge-fast", "model": TINY, "per_class": 12, "batch_size": 60, "log": []},
    **{"checkpoint": {"keep": 3}, "device": "cpu", "num_threads": 1, "final_test": False},
}
IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of three epochs."""
    folder = tmp_path_factory.mktemp("damage") / "run"
    goodness.fit("digits", out=folder, epochs=3, **VALUES)
    return folder


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def flip(file, place=-20):
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


def predicted(run, **options):
    return goodness.load(run.path, device="cpu", **options).predict([IMAGE])[0].class_name


def test_a_damaged_line_of_the_metrics_costs_no_other_and_is_taken_from_the_checkpoint(run):
    rows, text = run.history(), run.metrics_file.read_text()
    flip(run.metrics_file, place=12)  # in the first line
    with pytest.warns(Note, match=r"metrics\.jsonl' is damaged or of another run: .*last"):
        assert run.history() == rows
    with pytest.warns(Note, match="damaged"):
        run.cut_history(until_step=rows[-1].step)
    assert run.metrics_file.read_text() == text

    # As of an earlier version, whose checkpoints have no copy.
    shutil.rmtree(run.last)
    flip(run.metrics_file, place=12)
    with pytest.warns(Note, match="line 1, left out"):
        assert run.history() == rows[1:]


def test_metrics_and_result_of_another_run_are_found(run, tmp_path):
    goodness.fit("digits", out=tmp_path / "other", epochs=3, seed=1, **VALUES)
    for name in ("metrics.jsonl", "result.json"):
        shutil.copy(tmp_path / "other" / name, run.path / name)
    with pytest.warns(Note, match="of another run"):
        assert [row.epoch for row in run.history()] == [1, 2, 3]
    loaded = goodness.load(run.path, device="cpu")
    loaded.predict([IMAGE])  # needs none of them
    with pytest.raises(InputError, match=r"result\.json' .*another run .*answers without it"):
        print(loaded.result)

    shutil.rmtree(run.best)
    shutil.copytree(tmp_path / "other" / "best", run.best)
    with pytest.raises(InputError, match="best' is of another run than config"):
        predicted(run)


def test_damaged_weights_leave_the_others(run):
    best = json.loads((run.best / "state.json").read_text())["best"]["epoch"]
    flip(run.best / "network.safetensors")
    with pytest.raises(InputError) as refused:
        predicted(run)
    said = str(refused.value)
    assert "best/network.safetensors' is damaged" in said
    assert "those of epoch 1, 2, 3 (goodness.load(run, epoch=N))" in said
    assert "go on with --resume" in said
    assert predicted(run, epoch=2)
    if best != 3:  # else its weights are written again
        with pytest.raises(InputError, match=r"best/network\.safetensors' is damaged"):
            goodness.resume(run.path, epochs=4)

    flip(run.last / "optimizers.safetensors")
    with pytest.raises(InputError, match=r"optimizers\.safetensors' is damaged.*those of epoch 1"):
        goodness.resume(run.path, epochs=4)
    shutil.rmtree(run.epochs)
    with pytest.raises(InputError, match="no others are whole"):
        predicted(run)


def test_epochs_that_traded_places_are_found(run):
    for old, new in (("0001", "x"), ("0002", "0001"), ("x", "0002")):
        (run.epochs / old).rename(run.epochs / new)
    with pytest.raises(InputError, match="0001' is of epoch 2"):
        predicted(run, epoch=1)


def test_an_edited_configuration_is_refused_until_its_checksum_is_out(run):
    content = json.loads(run.config_file.read_text())
    content["data_root"] = "/elsewhere"
    run.config_file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r'config\.json\' .* remove "checksum".*has a copy'):
        predicted(run)
    del content["checksum"]
    run.config_file.write_text(json.dumps(content))
    assert predicted(run)


@pytest.fixture
def photos(tmp_path):
    """A run of one epoch on two classes of 16 images."""
    pixels = np.random.default_rng(0)
    for name in ("ant", "bee"):
        place = tmp_path / "photos" / name
        place.mkdir(parents=True)
        for image in range(16):
            drawn = pixels.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(drawn).save(place / f"{image:03d}.bmp")
    values = {key: value for key, value in VALUES.items() if key not in ("per_class", "batch_size")}
    goodness.fit(str(tmp_path / "photos"), out=tmp_path / "on", epochs=1, batch_size=5, **values)
    return tmp_path / "photos"


def test_changed_data_is_refused_unless_it_is_wanted(photos):
    run = photos.parent / "on"
    shutil.copytree(run, photos.parent / "untouched")
    steps = json.loads((run / "last" / "state.json").read_text())["steps_per_epoch"]
    for number in range(9):
        shutil.copy(photos / "ant" / "001.bmp", photos / "ant" / f"new{number}.bmp")
    (photos / "bee").rename(photos / "wasp")
    what = r"class 'bee' is now called 'wasp'; class 'ant' in 'train' had 16 images, here are 25"
    with pytest.raises(InputError, match=rf"'.*on' has changed: {what} \(.*--changed-data\)"):
        goodness.resume(run, epochs=3)

    with pytest.warns(Note, match=what):
        resumed = goodness.resume(run, epochs=3, changed_data=True)
    assert resumed.classes == ["ant", "wasp"]
    assert resumed.config.steps_per_epoch == steps
    assert [row.step for row in RunFolder(run).history()] == [steps, 2 * steps, 3 * steps]
    goodness.resume(run, epochs=4)  # of the new data now

    shutil.copytree(photos / "ant", photos / "cow")
    with pytest.raises(InputError, match=r"class 'cow' is new .*--init-from"):
        goodness.resume(run, epochs=5, changed_data=True)


def test_saying_that_data_may_have_changed_changes_nothing_else(photos):
    run = photos.parent / "on"
    shutil.copytree(run, photos.parent / "other")
    goodness.resume(run, epochs=2)
    goodness.resume(photos.parent / "other", epochs=2, changed_data=True)
    assert same(saved_weights(run), saved_weights(photos.parent / "other"))


def test_a_run_without_a_fingerprint_goes_on_as_before(photos):
    state = photos.parent / "on" / "last" / "state.json"
    content = json.loads(state.read_text())
    del content["data"], content["checksum"]
    state.write_text(json.dumps(content))
    (photos / "ant").rename(photos / "asp")
    assert goodness.resume(photos.parent / "on", epochs=2).classes == ["asp", "bee"]
