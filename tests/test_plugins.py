"""Methods and parts of other packages and of files."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import goodness
from goodness import InputError, plugins
from goodness.config import axes
from goodness.loggers import LOGGERS
from goodness.methods import METHODS
from goodness.readout import READOUTS
from goodness.registry import Registry
from goodness.update import UPDATES

PARTS = '''
from torch import Tensor

from goodness.methods import METHODS, Locality, Method
from goodness.objective import OBJECTIVES, BlockSpec, Objective


@OBJECTIVES.register("mean-activation")
class MeanActivation(Objective):
    """Scores of class k: the mean of channel group k."""

    supports_label_smoothing = True

    def __init__(self, spec: BlockSpec, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.num_classes, self.temperature = spec.num_classes, temperature

    def scores(self, h: Tensor) -> Tensor:
        return h.unflatten(1, (self.num_classes, -1)).mean((2, 3, 4)) / self.temperature


METHODS.register("group-means")(
    Method(
        name="group-means",
        title="Mean activation per class group",
        equation="loss = -log softmax(G)_y",
        use="As an example.",
        paper="none",
        locality=Locality.LAYER,
        values={**METHODS["sff"].values, "objective": "mean-activation"},
    )
)
'''
WORDS = [
    *("compare", "group-means", "--no-baseline", "--protocol", "paper", "--budget", "1"),
    "--num-threads=1",
    *("--set", "model={name: small-cnn, widths: [10, 20], pools: [1]}", "--out", "study"),
]
LOAD = """
import goodness
run = goodness.load("{run}", device="cpu")
print(type(run.network[0].objective).__name__, run.evaluate().examples)
more = goodness.resume("{run}", epochs=run.config.epochs + 1)
print(more.result.train.epochs - run.config.epochs)
"""
INFO = """
[goodness.methods]
group-means = group_means
[goodness.objectives]
group-means = group_means
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder with an installed package that has a method and an objective."""
    site = tmp_path / "site"
    info = site / "group_means-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "group_means.py").write_text(PARTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: group-means\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(INFO)
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


def output(*words, folder):
    """What a Python process of its own prints, which finds the package."""
    how = {"capture_output": True, "text": True, "cwd": folder, "env": dict(os.environ)}
    done = subprocess.run([sys.executable, *words], **how)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_used(folder, plugin, *options):
    """Compare the method, which trains it in a worker; load and resume its run from elsewhere."""
    output("-m", "goodness", *WORDS, *options, folder=folder)
    run = folder / "study" / "group-means" / "seed-0"
    assert json.loads((run / "environment.json").read_text())["plugins"] == [plugin]
    config = json.loads((run / "config.json").read_text())
    assert config["objective"] == {"name": "mean-activation", "temperature": 1.0}
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    shown = output("-c", LOAD.format(run=run), folder=elsewhere)
    assert shown == "MeanActivation 360\n1\n"
    return config


@pytest.mark.slow
def test_a_method_of_an_installed_package_is_found_by_name(package, tmp_path):
    check_used(tmp_path, {"package": "group-means", "version": "1.2"})


def test_a_method_of_a_file_is_found_wherever_its_run_is_used(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PARTS)
    digest = hashlib.sha256(PARTS.encode()).hexdigest()

    config = check_used(tmp_path, {"file": str(file), "sha256": digest}, "--import", "mine.py")

    assert config["imports"] == [str(file)]


def test_a_package_that_cannot_be_imported_is_named(package, monkeypatch):
    (package / "group_means.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(package)
    monkeypatch.setattr(plugins, "_entry_points", entry_points)

    with pytest.raises(InputError) as caught:
        Registry("method").names()

    assert str(caught.value) == (
        "plug-in 'group-means' of package 'group-means' cannot be imported: No module named"
        " 'no_such_module' (repair or uninstall it)"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("1 +", "invalid syntax"),
        (
            "from goodness.update import UPDATES\nUPDATES.register('heads')(object)\nlist(UPDATES)",
            "two updates are called 'heads'; choose another name",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_clear_line(tmp_path, text, says):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    list(UPDATES)
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            goodness.resolve({"imports": str(file)})
    assert str(caught.value).startswith(f"imports: '{file}' cannot be imported: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("before", [False, True])
def test_a_file_is_imported_once_in_a_process(tmp_path, monkeypatch, before):
    file = tmp_path / f"once_{before}.py"
    file.write_text(
        "from pathlib import Path\n"
        "noted = Path(__file__).with_suffix('.txt')\n"
        "noted.write_text(noted.read_text() + 'x' if noted.exists() else 'x')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    if before:
        importlib.import_module(file.stem)
    for _ in range(2):
        goodness.resolve({"imports": [file]})
    assert file.with_suffix(".txt").read_text() == "x"
    assert str(file) in [plugin.get("file") for plugin in plugins.plugins()]
    with pytest.raises(InputError, match="imports: Input should be a valid list"):
        goodness.resolve({"imports": 3})


def test_the_groups_of_entry_points_are_the_axes():
    groups = [registry.plural for registry in (METHODS, READOUTS, LOGGERS, *axes().values())]
    assert sorted(groups) == [
        *("boundaries", "loggers", "lr_schedules", "methods", "models", "objectives"),
        "optimizers",
        *("partitions", "plans", "presentations", "readouts", "updates"),
    ]
