"""Methods compared on the digits, in seconds."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess

import pytest

from goodness import InputError, api
from goodness.comparison import Study, write_report
from goodness.comparison.protocol import EQUAL, values_for
from goodness.comparison.report import commands
from goodness.comparison.study import Terms, _corrected, _length, methods_of
from goodness.comparison.summary import Row, caveats
from goodness.config import KEYS
from goodness.methods import METHODS

TINY = {"model": {"name": "small-cnn", "widths": [10, 12], "pools": [1]}, "num_threads": 1}
# Ten classes do not fit into nine channels.
NARROW = {**TINY, "model": {**TINY["model"], "widths": [9, 9]}}


def study_of(path, *methods, seeds=1, **changes):
    given = {"data": "digits", "budget": 1.0, "protocol": "equal", "values": TINY}
    return Study.create(path, Terms(**{**given, **changes}), methods, seeds)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A comparison of three methods, one of which cannot be trained, and what was said."""
    path = tmp_path_factory.mktemp("comparison")
    study = study_of(path, "backprop", "asge-fast", "cafo", "cwc")
    said = []
    for method in ("backprop", "asge-fast", "cafo"):
        study.train_method(method, said.append)
    object.__setattr__(study.terms, "values", NARROW)
    study.train_method("cwc", said.append)
    object.__setattr__(study.terms, "values", TINY)
    return study, said, write_report(study)


def test_every_method_has_three_trials_and_a_run(finished):
    study, said, _ = finished

    for method, default in (("backprop", 3e-3), ("asge-fast", 1e-2)):
        plan = json.loads((study.path / method / "plan.json").read_text())
        rates = [trial["lr"] for trial in plan["trials"]]
        assert rates == pytest.approx([default / 3, default, default * 3], rel=0.02)
        best = max(plan["trials"], key=lambda trial: trial["val_accuracy"])
        assert plan["run"]["lr"] == best["lr"]
        trial = json.loads((study.path / method / "trial-0" / "result.json").read_text())
        assert trial["test"] is None  # only validation chooses
        run = json.loads((study.path / method / "seed-0" / "config.json").read_text())
        assert run["optimizer"]["lr"] == best["lr"]
    assert len([line for line in said if line.startswith("backprop seed-0")]) == 1
    # What is solved instead of trained has none.
    plan = json.loads((study.path / "cafo" / "plan.json").read_text())
    assert (plan["trials"], plan["run"]) == ([], {})


def test_on_paper_terms_a_method_keeps_its_network_and_rate(tmp_path):
    study = study_of(tmp_path / "new", "cwc", protocol="paper", values={"val_fraction": 0.2})
    study.train_method("cwc", lambda line: None)
    (trial,) = json.loads((study.path / "cwc" / "plan.json").read_text())["trials"]
    run = json.loads((study.path / "cwc" / "seed-0" / "config.json").read_text())

    assert trial["lr"] == run["optimizer"]["lr"] == 1e-2
    assert run["model"]["widths"] == [20, 80, 240, 480]
    assert run["plan"]["name"] == "windows"
    assert "its learning rate among them" in write_report(study)["md"].read_text()


def test_a_method_that_cannot_be_trained_is_in_the_report_with_the_reason(finished):
    study, said, paths = finished

    assert "at most 9 classes" in (study.path / "cwc" / "refused.txt").read_text()
    assert any(line.startswith("cwc: left out") for line in said)
    for kind in ("md", "html"):
        assert "at most 9 classes" in paths[kind].read_text()


def test_the_report_has_a_row_per_method_best_first(finished):
    _, _, paths = finished
    record = json.loads(paths["json"].read_text())
    trained = [m for m in record["methods"] if m["accuracies"]]

    assert {m["method"] for m in trained} == {"backprop", "asge-fast", "cafo"}
    means = [m["mean"] for m in trained]
    assert means == sorted(means, reverse=True)
    (command,) = record["commands"]
    assert command.startswith("goodness compare backprop asge-fast cafo cwc --seeds=1")
    text = paths["md"].read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [m["method"] for m in trained]
    assert "Methods with one seed" in text
    assert "solved in two passes" in text  # how cafo departs from the common terms


def test_the_html_report_stands_alone(finished):
    _, _, paths = finished
    page = paths["html"].read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)

    assert len(pictures) == 3
    assert all(base64.b64decode(data).startswith(b"\x89PNG") for data in pictures)
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_a_finished_comparison_is_not_trained_again(finished):
    study, *_ = finished
    said = []
    before = (study.path / "backprop" / "seed-0" / "result.json").stat().st_mtime_ns

    Study.open(study.path).train_method("backprop", said.append)

    assert (study.path / "backprop" / "seed-0" / "result.json").stat().st_mtime_ns == before
    assert len(said) == 1


@pytest.mark.parametrize("place", ["last", ".last.old"])
def test_a_stopped_run_is_continued(place, tmp_path, monkeypatch):
    """Also one that was killed between the two renames of a checkpoint's replacement."""
    study = study_of(tmp_path, "cafo")
    run = tmp_path / "cafo" / "seed-0"
    (run / place).mkdir(parents=True)
    (run / place / "state.json").write_text("{}")
    (run.parent / "plan.json").write_text('{"run": {}}')
    asked = []

    def resume(folder, callbacks):
        asked.append(folder)
        result = {"test": {"accuracy": 0.5}, "train": {"seconds": 1.0}}
        (folder / "result.json").write_text(json.dumps(result))

    monkeypatch.setattr(api, "resume", resume)
    monkeypatch.setattr(api, "fit", None)
    study.train_method("cafo", lambda line: None)

    assert asked == [run]


def test_more_seeds_and_methods_join_a_comparison(finished):
    study, *_ = finished
    more = study_of(study.path, "dgl", "cafo", seeds=2)

    assert more.seeds == {"backprop": 1, "asge-fast": 1, "cafo": 2, "cwc": 1, "dgl": 2}
    assert more.methods == ("dgl", "cafo")
    assert more.finished("backprop")
    assert not more.finished("cafo")
    one, two = commands(more)
    assert one.startswith("goodness compare backprop asge-fast cafo cwc dgl --seeds=1 ")
    assert two.startswith("goodness compare cafo dgl --seeds=2 ")


def test_opening_a_comparison_writes_nothing(tmp_path):
    """Workers that start together open the same folder."""
    study_of(tmp_path, "backprop", seeds=2)
    file = tmp_path / "study.json"
    file.write_text(json.dumps(json.loads(file.read_text())))
    before = file.read_text()

    assert Study.open(tmp_path).seeds == {"backprop": 2}
    assert file.read_text() == before


def test_paths_are_kept_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    values = {"feature_cache": "cache"}
    study_of(tmp_path / "new", data="photos", data_root="root", values=values)

    terms = Study.open(tmp_path / "new").terms

    assert (terms.data, terms.data_root) == (f"{tmp_path}/photos", f"{tmp_path}/root")
    assert terms.values == {"feature_cache": f"{tmp_path}/cache"}


def test_another_comparison_does_not_mix_with_it(finished, tmp_path):
    study, *_ = finished
    with pytest.raises(InputError, match="other values of budget, protocol"):
        study_of(study.path, "backprop", budget=2.0, protocol="paper")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no comparison"):
        study_of(tmp_path, "backprop")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("final_test", False, "ends with the test split"),
        ("seed", 7, "use --seeds"),
        ("epochs", 3, "use --budget"),
        ("steps_per_epoch", 3, "use --budget"),
        ("data", "mnist", "use --data"),
        ("data_root", "/data", "use --data-root"),
        ("method", "ff", "use METHOD"),
    ],
)
def test_what_a_comparison_sets_itself_is_refused(key, value, message, tmp_path):
    with pytest.raises(InputError, match=f"^{key}: .*{message}"):
        study_of(tmp_path / "new", "backprop", values={key: value})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "text", ['{"terms"', "{}", "[]", '{"terms": 1, "seeds": {}}', '{"terms": {}, "seeds": {}}']
)
def test_a_damaged_study_is_named(text, tmp_path):
    (tmp_path / "study.json").write_text(text)
    for read in (study_of, Study.open):
        with pytest.raises(InputError, match=r"study\.json' is damaged"):
            read(tmp_path)


def test_the_command_says_where_the_data_is(tmp_path):
    (command,) = commands(study_of(tmp_path, "backprop", data_root="/my data"))

    assert "'--data-root=/my data'" in command


def test_methods_run_in_processes_of_their_own(tmp_path):
    said = []

    study_of(tmp_path / "new", "cafo").run(said.append)

    assert len(said) == 1
    assert said[0].startswith("cafo seed-0")


def test_a_process_that_starts_while_all_are_stopped_is_stopped_too(tmp_path, monkeypatch):
    study = study_of(tmp_path, "cafo")
    started = []

    class Late(subprocess.Popen):
        def __init__(self, command, **how):
            super().__init__(["sleep", "5"], **how)
            started.append(self)
            study._stop()

    monkeypatch.setattr(subprocess, "Popen", Late)
    study._start("cafo", lambda line: None)

    (process,) = started
    assert process.returncode == -signal.SIGTERM


def test_a_comparison_in_which_nothing_could_be_trained_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"every method was left out: .* at most 9 classes"):
        study_of(tmp_path, "cwc", values=NARROW).run(lambda line: None)


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_equal_terms_fit_every_method(method, data, tmp_path):
    config = study_of(tmp_path, method, data=data, values={}).config(method)

    assert config.model["name"] == "small-cnn"
    assert config.model["widths"] == EQUAL["model"]["widths"]
    assert config.augment.crop == (2 if data == "mnist" else 4)
    assert config.augment.jitter is None
    kept = METHODS[method].equal
    assert bool(kept) == bool(METHODS[method].equal_note)
    for key in EQUAL.keys() - kept.keys() - {"model", "lr_schedule"}:
        assert getattr(config, key) == EQUAL[key]
    assert config.lr_schedule["warmup"] == EQUAL["lr_schedule"]["warmup"]
    assert EQUAL.keys() < KEYS.keys()


def test_an_option_of_the_common_network_leaves_its_others():
    # On paper terms there is none.
    assert values_for("cwc", "cifar10", "paper", {"num_threads": 1}) == {"num_threads": 1}
    widths = {"model": {"widths": [8]}}

    assert values_for("sff", "mnist", "equal", widths)["model"] == {**EQUAL["model"], "widths": [8]}
    assert values_for("ff", "mnist", "equal", widths)["model"]["norm"] == "none"
    # Another one has a shape of its own; what its layers are made of is equal all the same.
    other = values_for("sff", "mnist", "equal", {"model": "vgg8"})["model"]
    assert other == {"name": "vgg8", "norm": "batch", "pool": "max"}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (24.0, {"epochs": 2, "steps_per_epoch": 100}),
        (27.0, {"epochs": 3, "steps_per_epoch": 70}),
        (7.0, {"epochs": 1, "steps_per_epoch": 50}),
        (0.5, {"epochs": 1, "steps_per_epoch": 20}),
    ],
)
def test_epochs_that_fit_into_the_time(seconds, expected):
    speed = {"step": 0.1, "validation": 2.0, "steps_per_epoch": 100}

    assert _length(speed, seconds) == expected


def test_a_run_is_planned_with_the_speed_that_its_trials_had():
    speed = {"step": 0.1, "validation": 2.0, "steps_per_epoch": 100}

    assert _corrected(speed, {"epochs": 2, "steps_per_epoch": 100}, 12.0) == {
        "step": 0.05,
        "validation": 1.0,
        "steps_per_epoch": 100,
    }
    assert _corrected(speed, {"epochs": 1, "steps_per_epoch": 20}, 8.0)["step"] == 0.2


def test_names():
    assert methods_of(["all"]) == tuple(METHODS)
    assert methods_of(["ff", "asge"]) == ("ff", "asge")
    with pytest.raises(InputError, match="named twice"):
        methods_of(["ff", "ff"])
    with pytest.raises(InputError, match="'asge'"):
        methods_of(["asgee"])


def test_overlapping_seeds_are_said_to_overlap():
    rows = [
        Row(name, "", "", "", accuracies=values)
        for name, values in (
            ("a", [0.9, 0.95]),
            ("b", [0.89, 0.91]),
            ("c", [0.5, 0.6]),
            ("d", [0.55]),
        )
    ]
    one_seed, overlap = caveats(rows)

    assert one_seed.startswith("Methods with one seed")
    assert overlap.startswith("a and b overlap")
