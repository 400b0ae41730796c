from __future__ import annotations

from types import SimpleNamespace

import pytest
from comparing import NARROW, TINY, study_of

from goodness import api, resolve
from goodness.comparison import write_report
from goodness.comparison.training import EntryTraining
from goodness.training.run_folder import RunFolder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A comparison of four methods, one of which cannot be trained, what was said, its report."""
    path = tmp_path_factory.mktemp("comparison")
    study = study_of(path, "asge-fast", "cafo", "cwc", "backprop", target=0.3)
    said = []
    for name in ("backprop", "asge-fast", "cafo"):
        study.train(name, said.append)
    object.__setattr__(study.terms, "values", NARROW)
    study.train("cwc", said.append)
    object.__setattr__(study.terms, "values", TINY)
    return study, said, *write_report(study)


@pytest.fixture
def planned(monkeypatch):
    """``planned(study, name, judge)``: what the search finds, and the configurations it tried.

    Nothing is trained: ``judge`` gives the validation accuracy of a configuration and the readout
    that answers, or raises.
    """

    def plan(study, name, judge):
        tried, results = [], {}

        def fit(out, overwrite, callbacks, **values):
            config = resolve(values)
            tried.append(config)
            accuracy, readout = judge(config)
            results[out] = SimpleNamespace(
                val=SimpleNamespace(accuracy=accuracy, readout=readout),
                train=SimpleNamespace(seconds=1.0),
            )

        monkeypatch.setattr(api, "fit", fit)
        monkeypatch.setattr(RunFolder, "read_result", lambda run: results[run.path])
        training = EntryTraining(study, study.entries[name], lambda line: None)
        training.folder.path.mkdir(parents=True)
        speed = {"learns": True, "step": 0.01, "validation": 0.1, "steps_per_epoch": 9}
        training.folder.write(training.folder.speed, speed)
        return training._planned(), tried

    return plan
