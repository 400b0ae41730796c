"""Runs that earlier versions saved still load, answer alike and go on."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

import goodness
from goodness import InputError, build
from goodness.config import Config, changed
from goodness.models import MODELS
from goodness.training.run_folder import RunFolder
from helpers import same, saved_weights

FOLDER = Path(__file__).parent / "old_runs" / "0.1.0"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
IMAGES = sorted(FOLDER.glob("*.png"))
RESUMED = [name for name, record in EXPECTED.items() if "resumed_to_9_epochs" in record]


def without(record, *keys):
    return {key: value for key, value in record.items() if key not in keys}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_old_run_answers_as_it_did(name):
    run = goodness.load(FOLDER / name, device="cpu")

    found = run.evaluate().to_json()
    recorded = without(EXPECTED[name]["evaluate"], "schema", "seconds")
    assert {key: found[key] for key in recorded} == recorded
    for now, before in zip(run.predict(IMAGES), EXPECTED[name]["predict"], strict=True):
        assert (Path(now.file).name, now.class_name, now.index) == (
            *(before["file"], before["class"], before["index"]),
        )
        assert now.probability == pytest.approx(before["probability"], abs=1e-5)
        for block, old in zip(now.blocks, before["blocks"], strict=True):
            assert (block.name, block.class_name) == (old["name"], old["class"])
            assert block.probability == pytest.approx(old["probability"], abs=1e-5)
    assert run.result is not None
    assert run.result.test is not None
    assert run.result.test.accuracy == found["accuracy"]


@pytest.mark.parametrize("name", RESUMED)
def test_an_old_run_goes_on_as_it_would_have(name, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(FOLDER / name, folder)

    run = goodness.resume(folder, epochs=9, device="cpu")

    recorded = EXPECTED[name]["resumed_to_9_epochs"]
    assert run.result is not None
    assert run.result.test is not None
    # Not of every block: batch norms' statistics are now taken anew before an evaluation.
    for key in ("accuracy", "readout", "examples"):
        assert getattr(run.result.test, key) == recorded["test"][key]
    last = saved_weights(folder)
    weights = b"".join(key.encode() + last[key].numpy().tobytes() for key in sorted(last))
    assert hashlib.sha256(weights).hexdigest() == recorded["last_weights_sha256"]
    assert [row.epoch for row in RunFolder(folder).history()] == list(range(1, 10))
    kept = json.loads((folder / "config.json").read_text())
    assert kept.keys() == {"checksum", "schema", "run", *Config.model_fields}


@pytest.mark.parametrize("name", [path.parent.name for path in FOLDER.glob("*/model.safetensors")])
def test_an_old_export_fits_the_plain_model(name):
    run = goodness.load(FOLDER / name, device="cpu")
    exported = FOLDER / name / "model.safetensors"
    plain = MODELS.make(run.config.model, run.network.image_shape, run.network.num_classes)

    plain.load_state_dict(load_file(exported))

    assert same(plain.state_dict(), run.network.backbone_state())
    again = build(
        changed(run.config, {"init_from": str(exported)}),
        image_shape=run.network.image_shape,
        num_classes=run.network.num_classes,
    )
    assert same(again.backbone_state(), plain.state_dict())


@pytest.fixture
def copied_run(tmp_path):
    """Writes another ``config.json`` into a copy of a run; gives its folder."""

    def write(**changes):
        shutil.copytree(FOLDER / "windows", tmp_path / "run")
        file = tmp_path / "run" / "config.json"
        content = {**json.loads(file.read_text()), **changes}
        kept = {key: value for key, value in content.items() if value is not GONE}
        file.write_text(json.dumps(kept))
        return tmp_path / "run"

    return write


GONE = object()


def test_a_missing_key_takes_its_default(copied_run):
    run = goodness.load(copied_run(ema=GONE, val_fraction=GONE, augment=GONE))
    assert (run.config.ema, run.config.val_fraction) == (None, 0.1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": 3}, r"config\.json' has schema 3, this goodness reads up to 2; upgrade"),
        ({"hue": 1}, r"config\.json' has an unknown key, 'hue': another version of goodness"),
        ({"model": GONE}, r"config\.json' is damaged: 'model' is missing"),
    ],
    ids=["newer", "unknown", "missing"],
)
def test_what_cannot_be_read_is_refused_and_never_replaced(copied_run, changes, says):
    folder = copied_run(**changes)
    with pytest.raises(InputError, match=says):
        goodness.load(folder)
    with pytest.raises(InputError, match="holds no run"):
        RunFolder.check(folder, overwrite=True)


def test_a_run_of_an_earlier_version_may_be_replaced(copied_run):
    folder = copied_run()
    with pytest.raises(InputError, match="already holds a run"):
        RunFolder.check(folder)
    RunFolder.check(folder, overwrite=True)
