"""From a run to early answers, through the library and the command line."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image

from goodness import InputError, fit, load
from goodness.checksums import write_sealed
from goodness.cli import main
from goodness.demo import answering
from goodness.exits.calibrate import exits_of
from goodness.exits.passage import answer_early
from goodness.exits.records import Calibration
from goodness.training.run_folder import RunFolder

MODEL = {"name": "small-cnn", "widths": [16, 24, 32]}


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """No time is spent on measuring times."""
    monkeypatch.setattr("goodness.exits.cost.ROUNDS", 1)
    monkeypatch.setattr("goodness.exits.cost.ALONE", 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit("digits", model=MODEL, epochs=2, val_fraction=0.3, out=folder)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A run of its own for each test."""
    return load(shutil.copytree(trained, tmp_path / "run"), device="cpu")


def test_a_run_is_calibrated_and_measured(run):
    plain = run.predict([digit(run)])[0].probability
    found = run.calibrate(support=15, tolerance=0.02)
    report = found.report

    assert load(run.folder).calibration == found
    assert 0 < report.saved < 1
    assert sum(own.left for own in report.exits) == pytest.approx(1)
    assert report.accuracy > 0.9
    assert report.exits[-1].ece_after < report.exits[-1].ece_before
    assert [own.flops for own in report.exits] == sorted(own.flops for own in report.exits)
    spent = sum(own.left * own.flops for own in report.exits)
    assert report.flops == pytest.approx(spent)
    right = sum(own.left * (own.accuracy_left or 0) for own in report.exits)
    assert report.accuracy == pytest.approx(right)
    # What a network says of itself is calibrated from then on.
    assert run.predict([digit(run)])[0].probability != plain
    # The report is that of a network run for real.
    split = run._split(None, "test", None, None)
    pixels, y = next(split.batches(len(split), "cpu"))
    exits = exits_of(found.exits, torch.device("cpu"))
    answers = answer_early(run.network, run.preprocessing.apply(pixels), exits)
    tested = run.evaluate_exits()
    assert tested.accuracy == pytest.approx(float((answers.scores.argmax(1) == y).float().mean()))
    for place, own in enumerate(found.exits):
        left = float((answers.left == own.index).float().mean())
        assert tested.exits[place].left == pytest.approx(left)
    whole = run.evaluate()
    assert tested.accuracy_full == pytest.approx(whole.accuracy)


def digit(run, place=0):
    path = run.folder / f"digit-{place}.png"
    if not path.exists():
        pixels, _ = next(run._split(None, "test", None, None).batches(place + 1, "cpu"))
        Image.fromarray(pixels[place, 0].numpy()).save(path)
    return path


def test_nothing_is_chosen_on_the_half_that_is_reported(run, monkeypatch):
    """With all labels of the other half wrong the same exits come out."""
    from goodness.seeds import mix, permutation

    found = run.calibrate(support=15)
    split = run._split(None, "val", None, None)
    other = permutation(len(split), mix(0, "exits"))[len(split) // 2 :]
    split.labels[other] = (split.labels[other] + 1) % 10
    monkeypatch.setattr(run, "_split", lambda *_: split)
    again = run.calibrate(support=15)
    assert (again.exits, again.margin) == (found.exits, found.margin)
    assert again.report.accuracy < 0.1 < found.report.accuracy


def test_an_image_leaves_as_soon_as_it_is_sure(run):
    run.calibrate(support=15, tolerance=0.02)
    names = run.network.names
    (soon,) = run.predict_early([digit(run)], threshold=0.0)
    (late,) = run.predict_early([digit(run)], threshold=1.0)
    assert (soon.exit, soon.depth) == (names[0], 1)
    assert (late.exit, late.depth) == (names[-1], len(names))
    (whole,) = run.predict([digit(run)])
    assert late.index == whole.index
    assert late.probability == pytest.approx(whole.probability, rel=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tolerance": 2}, "tolerance"),
        ({"margin": -2}, "margin"),
        ({"support": 0}, "support"),
        ({"support": 1000}, "too few for a support of 1000"),
    ],
)
def test_bad_values_are_refused(run, values, message):
    with pytest.raises(InputError, match=message):
        run.calibrate(**values)


def test_exits_are_of_the_weights_that_were_calibrated(run):
    with pytest.raises(InputError, match="goodness calibrate"):
        run.evaluate_exits()
    found = run.calibrate(support=15)
    file = run.folder / "exits.json"
    for change in ({"epoch": found.epoch + 1}, {"readout": "other"}):
        other = found.model_copy(update=change)
        RunFolder(run.folder).write_exits(other)
        assert load(run.folder).calibration is None
    content = json.loads(found.model_dump_json(by_alias=True))
    write_sealed(file, {**content, "more": 1}, RunFolder(run.folder).id)
    with pytest.raises(InputError, match="damaged, or of another version: 'more'"):
        load(run.folder).predict_early([digit(run)])
    file.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load(run.folder).evaluate_exits()
    assert load(run.folder).calibrate(support=15).exits == found.exits


def test_a_network_with_one_answer_has_no_exits(tmp_path):
    values = {"method": "backprop", "model": MODEL, "epochs": 1, "val_fraction": 0.3}
    alone = fit("digits", **values, readouts={"probe": None}, out=tmp_path / "one")
    with pytest.raises(InputError, match="'backprop' answers behind its last block alone"):
        alone.calibrate(support=5)
    probed = fit("digits", **values, out=tmp_path / "probed")
    assert len(probed.calibrate(support=5).exits) == 3


def test_methods_that_ask_about_every_class_answer_early(tmp_path):
    values = {"method": "ff", "model": MODEL, "epochs": 1, "val_fraction": 0.3}
    run = fit("digits", **values, per_class=40, readout="sum", out=tmp_path / "ff")
    found = run.calibrate(support=5, margin=1.0)
    assert len(found.exits) > 1
    assert found.report.flops < found.report.flops_full
    (answer,) = run.predict_early([digit(run)], threshold=0.0)
    assert answer.exit == found.exits[0].block


def call(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, words)))
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


def test_the_commands(run, capsys):
    code, out, err = call(capsys, "calibrate", run.folder, "--support", 15, "--tolerance", 0.02)
    assert code == 0
    assert "of the FLOPs saved" in out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == run.network.names
    assert str(run.folder / "exits.png") in err
    with Image.open(run.folder / "exits.png") as picture:
        assert picture.size[0] > 1000

    code, out, err = call(capsys, "calibrate", run.folder, "--support", 15, "--json")
    assert (code, err) == (0, "")
    assert Calibration.model_validate_json(out) == load(run.folder).calibration

    code, out, err = call(capsys, "evaluate", run.folder, "--exits", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["schema"], report["split"]) == (1, "test")
    assert len(report["exits"]) == 3
    assert not (run.folder / "confusion-test.png").exists()
    code, out, _ = call(capsys, "evaluate", run.folder, "--exits", "--split", "val")
    assert "digits val: accuracy" in out

    image = digit(run)
    code, out, _ = call(capsys, "predict", run.folder, image, "--exit", "--json")
    (answer,) = json.loads(out)
    assert list(answer) == ["schema", "file", "class", "index", "probability", "exit", "depth"]
    code, out, _ = call(capsys, "predict", run.folder, image, "--exit", "--format", "csv")
    header, line = out.splitlines()
    assert header == "file,class,index,probability,exit,depth"
    assert line == ",".join(map(str, list(answer.values())[1:]))
    code, out, _ = call(capsys, "predict", run.folder, image, "--threshold", 0)
    assert out.split()[-1] == run.network.names[0]


def test_a_calibration_without_exits_says_so(run, capsys, monkeypatch):
    monkeypatch.setattr("goodness.exits.calibrate.MARGINS", ())
    code, _, err = call(capsys, "calibrate", run.folder, "--support", 15)
    assert (code, load(run.folder).calibration.margin) == (0, None)
    assert "try a larger --tolerance" in err
    assert load(run.folder).calibration.report.saved < 0.01


def test_exits_go_with_a_shared_network_and_to_the_page(run, tmp_path, monkeypatch):
    blank = Image.new("L", (8, 8))
    monkeypatch.setattr(answering, "draw_explanation", lambda *given: blank.save(given[-1]))
    images = [digit(run, place) for place in range(6)]
    assert answering.answer(run, images[0], None).skipped == 0  # nothing is calibrated yet
    run.calibrate(support=15, tolerance=0.02)
    early = run.predict_early(images)
    again = load(run.save_pretrained(tmp_path / "shared"), device="cpu")

    assert again.calibration == run.calibration
    foreign = json.loads((again.folder / "exits.json").read_text())
    for exits in ([], foreign["exits"][:-1], [{**own, "index": 9} for own in foreign["exits"]]):
        (again.folder / "exits.json").write_text(json.dumps({**foreign, "exits": exits}))
        with pytest.raises(InputError, match="its exits are of another network"):
            load(again.folder).predict(images[:1])
    assert again.predict_early(images) == early
    assert "of the FLOPs saved" in (tmp_path / "shared" / "README.md").read_text()
    for image, expected in zip(images, early, strict=True):
        found = answering.answer(again, image, None)
        (taken,) = (belief for belief in found.beliefs if belief.exits)
        assert (taken.block, taken.answer) == (expected.exit, expected.class_name)
        assert taken.probability == pytest.approx(expected.probability, abs=1e-5)


def test_nothing_of_an_earlier_network_stays_in_a_shared_folder(run, tmp_path):
    run.calibrate(support=15)
    shared = run.save_pretrained(tmp_path / "shared")
    assert (shared / "exits.json").exists()
    (run.folder / "exits.json").unlink()
    again = load(run.folder, device="cpu").save_pretrained(shared, overwrite=True)
    assert not (again / "exits.json").exists()
    with pytest.raises(InputError, match="shared without calibrated exits"):
        load(again).predict_early([digit(run)])
