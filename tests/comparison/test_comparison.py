"""Methods compared on the digits, in seconds."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from types import SimpleNamespace

import pytest
from comparing import NARROW, TINY, read, study_of

from goodness import InputError, RunError, api
from goodness.comparison import Study
from goodness.comparison.entry import Entry, EntryFolder
from goodness.comparison.protocol import EQUAL, SEARCHED, answering, ladder, probes, values_for
from goodness.comparison.report import commands
from goodness.comparison.study import methods_of
from goodness.comparison.training import EntryTraining
from goodness.config import KEYS, resolve
from goodness.errors import Diverged
from goodness.methods import METHODS, baseline
from goodness.models.base import MADE_OF


def plan_of(study, name):
    return read(study.path / name / "plan.json")


def test_the_rate_is_searched_until_the_best_lies_inside(finished):
    study, said, *_ = finished

    for method, default in (("backprop", 3e-3), ("asge-fast", 1e-2)):
        plan = plan_of(study, method)
        rates = [trial["values"]["lr"] for trial in plan["trials"]]
        assert rates[:3] == pytest.approx([default, default / 3, default * 3], rel=0.02)
        scores = {trial["values"]["lr"]: trial["val_accuracy"] for trial in plan["trials"]}
        best = plan["run"]["lr"]
        assert scores[best] == max(scores.values())
        assert plan["found"]["lr"]["at_end"] == (best in (min(scores), max(scores)))
        trial = read(study.path / method / "trial-0" / "result.json")
        assert trial["test"] is None  # only validation chooses
        run = read(study.path / method / "seed-0" / "config.json")
        assert run["optimizer"]["lr"] == best
    assert len([line for line in said if line.startswith("backprop seed-0 lr")]) == 1
    # What is solved instead of trained has none.
    plan = plan_of(study, "cafo")
    assert (plan["trials"], plan["found"], plan["run"]) == ([], {}, {})


def test_what_every_block_of_a_run_has_learnt_is_looked_at(finished):
    study, *_, paths = finished

    for method in ("backprop", "asge-fast", "cafo"):
        run = study.path / method / "seed-0"
        blocks = read(run / "diagnosis.json")
        assert [block["name"] for block in blocks] == read(run / "result.json")["blocks"]
        assert not (study.path / method / "trial-0" / "diagnosis.json").exists()
    assert "dead channels" in paths["md"].read_text()


def test_only_what_answers_is_trained_in_timed_runs(finished):
    study, *_ = finished

    for method, every in (("backprop", {"last"}), ("asge-fast", {"last", "sum", "fusion"})):
        folder = study.path / method
        first = read(folder / "trial-0" / "result.json")
        assert set(first["val"]["readouts"]) == every  # probes are in no run at all
        best = max(plan_of(study, method)["trials"], key=lambda trial: trial["val_accuracy"])
        run = read(folder / "seed-0" / "config.json")
        result = read(folder / "seed-0" / "result.json")
        learning = {"fusion"} & set(run["readouts"])
        assert learning == {"fusion"} & {best["readout"]}
        assert set(run["readouts"]) == every - ({"fusion"} - learning)
        if learning:
            assert result["test"]["readout"] == "fusion"
    backprop = read(study.path / "backprop" / "seed-0" / "result.json")
    assert backprop["test"]["per_block"][0] is None
    assert backprop["train"]["trained_parameters"] == backprop["train"]["parameters"]


def test_which_readouts_stay():
    config = resolve({"method": "predsim"})  # output learns, last and sum do not

    assert answering(config, "output") == {"readout": "output"}
    assert answering(config, "sum") == {"readouts": {"output": None}}
    two = resolve({"method": "predsim", "readouts": {"fusion": {}}})
    assert answering(two, "output") == {"readout": "output", "readouts": {"fusion": None}}
    assert probes(resolve({"method": "backprop"}), {}) == {"readouts": {"probe": None}}
    # Not where they were asked for, nor where nothing else answers.
    asked = {"readout": "probe"}
    assert probes(resolve({"method": "backprop", **asked}), asked) == {}
    assert probes(resolve({"method": "backprop"}), {"readouts": {"probe": {"pool": 2}}}) == {}
    alone = {"method": "backprop", "readouts": {"last": None}}
    assert probes(resolve(alone), {}) == {}


def test_runs_take_the_seconds_of_the_budget(finished):
    study, *_ = finished
    for method in ("backprop", "asge-fast"):
        plan = plan_of(study, method)
        result = read(study.path / method / "seed-0" / "result.json")
        config = read(study.path / method / "seed-0" / "config.json")
        # Loose: this machine has other things to do.
        assert 0.3 < result["train"]["seconds"] < 3
        step, validation = plan["pace"]
        expected = config["epochs"] * (config["steps_per_epoch"] * step + validation)
        assert expected == pytest.approx(1.0, rel=0.05)


def test_later_runs_are_as_long_as_earlier_ones_tell(tmp_path, monkeypatch):
    """Each run takes twice as long as its trials told."""
    study = study_of(tmp_path, "sff", seeds=3, budget=30.0)
    (tmp_path / "sff").mkdir()
    study.folder(study.entries["sff"]).keep_plan(
        {"trials": [{}], "run": {"lr": 0.1}, "found": {}, "pace": [0.1, 0.5], "speed": {}}
    )
    asked = []

    def train(self, run, **values):
        asked.append(values)
        length = {key: values[key] for key in ("epochs", "steps_per_epoch")}
        monkeypatch.setattr(run, "read_config", lambda: SimpleNamespace(**length))
        seconds = 2 * values["epochs"] * (values["steps_per_epoch"] * 0.1 + 0.5)
        return SimpleNamespace(
            train=SimpleNamespace(seconds=seconds), test=SimpleNamespace(accuracy=0.5)
        )

    monkeypatch.setattr(EntryTraining, "_train", train)
    monkeypatch.setattr(EntryTraining, "_diagnose", lambda *_: None)
    study.train("sff", lambda line: None)

    assert study.folder(study.entries["sff"]).refused is None
    assert [values["seed"] for values in asked] == [0, 1, 2]
    assert {values["lr"] for values in asked} == {0.1}
    steps = [values["epochs"] * values["steps_per_epoch"] for values in asked]
    took = [
        2 * (0.1 * count + 0.5 * values["epochs"])
        for count, values in zip(steps, asked, strict=True)
    ]
    assert took == pytest.approx([60, 30, 30], rel=0.02)


def test_further_keys_are_searched_one_after_another(tmp_path, planned):
    study = study_of(tmp_path, "backprop", search=("weight_decay", "label_smoothing"))
    own = study.config(study.entries["backprop"])
    wanted = {"lr": 9e-3, "weight_decay": 0.1, "label_smoothing": 0.05}

    def values(config):
        found = {**config.optimizer, "label_smoothing": config.label_smoothing}
        return {key: found[key] for key in wanted}

    def judge(config):
        return sum(values(config)[key] == value for key, value in wanted.items()) / 3, "last"

    plan, tried = planned(study, "backprop", judge)

    assert {key: plan["run"][key] for key in wanted} == wanted
    assert all(not plan["found"][key]["at_end"] for key in wanted)
    assert plan["found"]["weight_decay"]["tried"] == pytest.approx(
        {"0.001": 1 / 3, "0.01": 1 / 3, "0.1": 2 / 3, "1": 1 / 3}
    )
    # One key at a time, and nothing twice.
    asked = [values(config) for config in tried]
    assert len({json.dumps(each) for each in asked}) == len(asked)
    settled = {"weight_decay": own.optimizer["weight_decay"], "label_smoothing": 0.0}
    for each in asked:
        changed = [key for key, value in settled.items() if each[key] != value]
        assert not changed or each["lr"] == wanted["lr"]


def test_a_key_that_a_method_does_not_heed_is_noted(tmp_path, planned):
    study = study_of(tmp_path, "cwc", search=("label_smoothing",))

    def judge(config):
        if config.label_smoothing:
            raise InputError("label_smoothing: no cross-entropy")
        return 0.5, "last"

    plan, _ = planned(study, "cwc", judge)

    assert plan["found"]["label_smoothing"] == {"refused": "label_smoothing: no cross-entropy"}
    assert "label_smoothing" not in plan["run"]


def test_a_rate_that_diverges_is_one_end_of_the_search(tmp_path, planned):
    def judge(config, most=4e-3):
        if config.optimizer["lr"] > most:
            raise Diverged("a loss", 3)
        return config.optimizer["lr"], "last"

    study = study_of(tmp_path / "one", "backprop")
    plan, _ = planned(study, "backprop", judge)
    assert (plan["run"]["lr"], plan["found"]["lr"]["at_end"]) == (3e-3, False)
    assert [trial["error"] is None for trial in plan["trials"]] == [True, True, False]
    study = study_of(tmp_path / "none", "backprop")
    with pytest.raises(RunError, match="finite losses"):
        planned(study, "backprop", lambda config: judge(config, 0.0))
    assert len(study.folder(study.entries["backprop"]).trials) == 7


def test_a_readout_that_learns_and_does_not_answer_is_left_out(tmp_path, planned):
    """Its trial tells how long steps take without it."""
    study = study_of(tmp_path / "one", "asge-fast")
    plan, tried = planned(study, "asge-fast", lambda config: (0.5, "sum"))
    assert plan["run"] == {"lr": 1e-2, "readouts": {"fusion": None}}
    assert [set(config.readouts) for config in tried] == [
        *[{"last", "sum", "fusion"}] * 3,
        {"last", "sum"},
    ]
    assert tried[-1].optimizer["lr"] == 1e-2
    # Where it answers, it alone does, and nothing is left to be found out.
    study = study_of(tmp_path / "two", "asge-fast")
    plan, tried = planned(study, "asge-fast", lambda config: (0.5, "fusion"))
    assert plan["run"] == {"lr": 1e-2, "readout": "fusion"}
    assert len(tried) == 3
    # One that the user chose answers from the beginning.
    study = study_of(tmp_path / "three", "asge-fast", values={**TINY, "readout": "sum"})
    plan, tried = planned(study, "asge-fast", lambda config: (0.5, "sum"))
    assert {tuple(config.readouts) for config in tried} == {("last", "sum")}


def test_on_paper_terms_a_method_keeps_its_network_and_rate(tmp_path, planned):
    study = study_of(tmp_path / "new", "cwc", protocol="paper", values={"val_fraction": 0.2})
    plan, (config,) = planned(study, "cwc", lambda config: (0.5, "output"))

    assert plan["run"] == {"lr": 1e-2, "readout": "output"}
    assert not plan["found"]["lr"]["at_end"]
    assert config.optimizer["lr"] == 1e-2
    assert config.model["widths"] == [20, 80, 240, 480]
    assert config.plan["name"] == "windows"


def test_keys_that_cannot_be_searched_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"unknown key for --search 'weight_decy'; did you mean"):
        study_of(tmp_path, "sff", search=("weight_decy",))
    with pytest.raises(InputError, match="search: on paper terms"):
        study_of(tmp_path, "sff", search=("weight_decay",), protocol="paper")


@pytest.mark.parametrize("key", SEARCHED)
def test_a_ladder_holds_the_method_s_own_value(key):
    for value in (0.0, 0.02, 0.07, *SEARCHED[key]):
        steps, start = ladder(key, resolve({"method": "sff", key: value}), "equal")
        assert steps[start] == value
        assert steps == sorted(set(steps))
        assert set(SEARCHED[key]) <= set(steps)


def test_a_value_for_every_block_is_not_searched():
    config = resolve({"method": "sff", "label_smoothing": [0.1, 0.0]})
    assert ladder("label_smoothing", config, "equal") is None


def test_the_baseline_has_as_many_parameters_as_a_method(finished):
    done, *_ = finished
    before = (done.path / "study.json").read_bytes()
    study = study_of(done.path, "asge-fast", matches=["asge-fast"])
    (done.path / "study.json").write_bytes(before)
    entry = study.entries["backprop-size-of-asge-fast"]
    study.folder(entry).path.mkdir()
    EntryTraining(study, entry, lambda line: None)._match()

    result = read(study.path / "asge-fast" / "seed-0" / "result.json")
    found = read(study.folder(entry).widths)
    assert found["wanted"] == result["train"]["trained_parameters"]
    assert found["found"] == pytest.approx(found["wanted"], rel=0.1)  # a channel is a large step
    own = study.config(entry).model_dump()
    common = study.config(study.entries["backprop"]).model_dump()
    assert own["model"] == {**common["model"], "widths": found["widths"]}
    assert {**own, "model": 0} == {**common, "model": 0}


def test_parameters_that_cannot_be_matched_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"^match_parameters: 'sff' is not in the comparison"):
        study_of(tmp_path, "backprop", matches=["sff"])
    with pytest.raises(InputError, match=r"^match_parameters: model 'vgg8b' has no widths"):
        study_of(tmp_path, "sff", matches=["sff"], values={"model": "vgg8b"})
    assert not list(tmp_path.iterdir())
    study = study_of(tmp_path, "sff", matches=["sff"])
    study.train("backprop-size-of-sff", lambda line: None)
    assert "no finished run" in (tmp_path / "backprop-size-of-sff" / "refused.txt").read_text()


def test_a_method_that_cannot_be_trained_is_in_the_report_with_the_reason(finished):
    study, said, _, paths = finished

    assert "at most 9 classes" in (study.path / "cwc" / "refused.txt").read_text()
    assert any(line.startswith("cwc: left out") for line in said)
    for kind in ("md", "html"):
        assert "at most 9 classes" in paths[kind].read_text()


def test_a_finished_comparison_is_not_trained_again(finished):
    study, *_ = finished
    said = []
    before = (study.path / "backprop" / "seed-0" / "result.json").stat().st_mtime_ns

    Study.open(study.path).train("backprop", said.append)

    assert (study.path / "backprop" / "seed-0" / "result.json").stat().st_mtime_ns == before
    assert len(said) == 1


def test_a_stopped_search_goes_on_with_the_trial_that_is_missing(finished, tmp_path, monkeypatch):
    study, *_ = finished
    done = study.folder(study.entries["asge-fast"])
    new = study_of(tmp_path, "asge-fast")
    folder = new.folder(new.entries["asge-fast"])
    folder.path.mkdir()
    folder.write(folder.speed, done.read(done.speed, "learns"))
    for trial in done.trials[:2]:
        folder.add_trial(trial)

    def fit(out, **values):
        raise KeyboardInterrupt(out.name, values["lr"] if "lr" in values else values["optimizer"])

    monkeypatch.setattr(api, "fit", fit)
    with pytest.raises(KeyboardInterrupt) as stopped:
        new.train("asge-fast", lambda line: None)

    assert stopped.value.args[0] == "trial-2"
    assert stopped.value.args[1]["lr"] == done.trials[2]["values"]["lr"]


@pytest.mark.parametrize("place", ["last", ".last.old"])
def test_a_stopped_run_is_continued(place, tmp_path, monkeypatch):
    """Also one that was killed between the two renames of a checkpoint's replacement."""
    study = study_of(tmp_path, "cafo")
    run = tmp_path / "cafo" / "seed-0"
    (run / place).mkdir(parents=True)
    (run / place / "state.json").write_text("{}")
    study.folder(study.entries["cafo"]).keep_plan({"run": {}, "trials": []})
    asked = []

    def resume(folder, callbacks):
        asked.append(folder)
        (folder / "result.json").write_text("{}")

    monkeypatch.setattr(api, "resume", resume)
    monkeypatch.setattr(api, "fit", None)
    result = SimpleNamespace(train=SimpleNamespace(seconds=1), test=SimpleNamespace(accuracy=0.5))
    monkeypatch.setattr("goodness.training.run_folder.RunFolder.read_result", lambda _: result)
    study.train("cafo", lambda line: None)

    assert asked == [run]


def test_more_seeds_and_methods_join_a_comparison(finished):
    study, *_ = finished
    before = (study.path / "study.json").read_bytes()
    more = study_of(study.path, "dgl", "cafo", seeds=2, matches=["cafo"])
    (study.path / "study.json").write_bytes(before)

    seeds = {name: entry.seeds for name, entry in more.entries.items()}
    assert seeds == {
        **{"backprop": 1, "backprop-size-of-cafo": 2, "asge-fast": 1},
        **{"cafo": 2, "cwc": 1, "dgl": 2},
    }
    assert list(seeds)[:2] == ["backprop", "backprop-size-of-cafo"]
    assert [entry.name for entry in more.asked] == ["backprop-size-of-cafo", "cafo", "dgl"]
    assert more.target == 0.3  # kept from before
    assert more.folder(more.entries["backprop"]).finished
    assert not more.folder(more.entries["cafo"]).finished
    one, two = commands(more)
    matched = "--match-parameters=cafo --data=digits"
    assert one.startswith(f"goodness compare backprop asge-fast cafo cwc dgl --seeds=1 {matched}")
    assert two.startswith(f"goodness compare cafo dgl --seeds=2 {matched}")
    assert "--target=0.3" in one


def test_opening_a_comparison_writes_nothing(tmp_path):
    """Workers that start together open the same folder."""
    study_of(tmp_path, "backprop", seeds=2, search=("weight_decay",))
    file = tmp_path / "study.json"
    file.write_text(json.dumps(json.loads(file.read_text())))
    before = file.read_text()

    opened = Study.open(tmp_path)
    assert opened.entries == {"backprop": Entry("backprop", 2)}
    assert opened.terms.search == ("weight_decay",)
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
    with pytest.raises(InputError, match="other values of search"):
        study_of(study.path, "backprop", search=("weight_decay",))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no comparison"):
        study_of(tmp_path, "backprop")


def test_a_comparison_of_an_earlier_version_is_refused(tmp_path):
    """Its runs had other learning rates tried, and trained readouts that did not answer."""
    terms = {"data": "digits", "budget": 1.0, "protocol": "equal", "data_root": None, "values": {}}
    old = {"terms": terms, "seeds": {"backprop": 1}}
    (tmp_path / "study.json").write_text(json.dumps(old))
    for read_it in (study_of, Study.open):
        with pytest.raises(InputError, match=r"another version of goodness.* choose another --out"):
            read_it(tmp_path)


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
    "text",
    [
        '{"terms"',
        "{}",
        "[]",
        '{"schema": 2, "terms": 1, "entries": []}',
        '{"schema": 2, "terms": {"search": []}, "entries": [], "target": null}',
    ],
)
def test_a_damaged_study_is_named(text, tmp_path):
    (tmp_path / "study.json").write_text(text)
    for read_it in (study_of, Study.open):
        with pytest.raises(InputError, match=r"study\.json' is damaged"):
            read_it(tmp_path)


def test_files_of_an_entry_that_traded_names_are_refused(tmp_path):
    """Their checksums fit: both are of this entry."""
    entry = EntryFolder(tmp_path, 1, "study")
    entry.add_trial({"values": {"lr": 0.1}})
    entry.keep_plan({"run": {"lr": 0.1}})
    assert entry.trials == [{"values": {"lr": 0.1}}]
    assert entry.plan == {"run": {"lr": 0.1}}
    (tmp_path / "plan.json").rename(tmp_path / "spare")
    (tmp_path / "trials.json").rename(tmp_path / "plan.json")
    (tmp_path / "spare").rename(tmp_path / "trials.json")
    for name in ("trials", "plan"):
        with pytest.raises(InputError, match=rf"{name}\.json' is damaged: it holds another file's"):
            getattr(entry, name)


def test_the_commands_say_what_was_asked_for(tmp_path):
    (command,) = commands(study_of(tmp_path, "sff", data_root="/my data", search=("weight_decay",)))

    assert "'--data-root=/my data'" in command
    assert "--no-baseline" in command
    assert "--search=weight_decay" in command


def test_entries_run_in_processes_of_their_own(tmp_path):
    said = []
    study_of(tmp_path / "new", "cafo").run(said.append)

    (line,) = said
    assert re.fullmatch(r"run 1 of 1, about 0 s left: cafo seed-0: test .*", line)


def test_lines_say_how_far_it_is_and_those_that_match_follow(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("goodness.comparison.progress.time.monotonic", lambda: now[0])
    study = study_of(tmp_path, "backprop", "sff", matches=["sff"], seeds=2, budget=100.0)

    def start(entry, log):
        folder = study.folder(entry)
        folder.path.mkdir()
        for number in range(4):  # one more than the least
            now[0] += 40.0  # twice a trial's time
            folder.add_trial({"number": number})
            log(f"{entry.name} trial-{number}")
        folder.keep_plan({"run": {}})
        for run in folder.runs:
            now[0] += 200.0
            run.path.mkdir()
            run.result_file.write_text("{}")
            log(f"{entry.name} {run.path.name}")

    monkeypatch.setattr(study, "_start", start)
    said = []
    study.run(said.append)

    assert said[0] == "run 1 of 15, about 25 min left: backprop trial-0"
    assert said[3] == "run 4 of 16, about 24 min left: backprop trial-3"
    assert [line.split(": ")[1] for line in said[-1:]] == ["backprop-size-of-sff seed-1"]
    assert said[-1].startswith("run 18 of 18, about 0 s left")
    names = [line.split(": ")[1].split()[0] for line in said]
    assert names == ["backprop"] * 6 + ["sff"] * 6 + ["backprop-size-of-sff"] * 6


def test_a_process_that_starts_while_all_are_stopped_is_stopped_too(tmp_path, monkeypatch):
    study = study_of(tmp_path, "cafo")
    started = []

    class Late(subprocess.Popen):
        def __init__(self, command, **how):
            super().__init__(["sleep", "5"], **how)
            started.append(self)
            study._stop()

    monkeypatch.setattr(subprocess, "Popen", Late)
    study._start(study.entries["cafo"], lambda line: None)

    (process,) = started
    assert process.returncode == -signal.SIGTERM


def test_a_comparison_in_which_nothing_but_the_baseline_could_be_trained_is_an_error(
    tmp_path, monkeypatch
):
    study = study_of(tmp_path, "backprop", "cwc", values=NARROW)
    monkeypatch.setattr(study, "_start", lambda entry, log: study.train(entry.name, log))
    (tmp_path / "backprop").mkdir()
    study.folder(study.entries["backprop"]).keep_plan({"trials": [], "run": {"epochs": 1}})
    with pytest.raises(InputError, match=r"every method was left out: .* at most 9 classes"):
        study.run(lambda line: None)
    assert (tmp_path / "backprop" / "seed-0" / "result.json").exists()


def test_a_process_that_ends_without_a_word_is_an_error(tmp_path, monkeypatch):
    study = study_of(tmp_path, "cafo")
    monkeypatch.setattr("goodness.comparison.study.sys.executable", "false")
    with pytest.raises(RunError, match="training 'cafo' ended with exit code 1"):
        study.run(lambda line: None)


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_equal_terms_fit_every_method(method, data, tmp_path):
    study = study_of(tmp_path, method, data=data, values={})
    config = study.config(study.entries[method])

    assert config.model["name"] == "small-cnn"
    assert config.model["widths"] == EQUAL["model"]["widths"]
    assert config.augment.crop == (2 if data == "mnist" else 4)
    assert config.augment.jitter is None
    assert "probe" not in config.readouts
    assert config.readouts
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
    assert other == {"name": "vgg8", **{name: EQUAL["model"][name] for name in MADE_OF}}


def test_names_and_the_baseline():
    assert methods_of(["all"]) == tuple(METHODS)
    assert set(METHODS) - set(methods_of(["all"], with_baseline=False)) == {baseline()}
    assert methods_of(["ff", "asge"]) == (baseline(), "ff", "asge")
    assert methods_of(["ff", baseline()]) == ("ff", baseline())
    assert methods_of(["ff", "asge"], with_baseline=False) == ("ff", "asge")
    with pytest.raises(InputError, match="named twice"):
        methods_of(["ff", "ff"])
    with pytest.raises(InputError, match="'asge'"):
        methods_of(["asgee"])
