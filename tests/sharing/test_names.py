"""Names of networks: shipped ones, and those on the Hub, whose client is replaced."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

import goodness
from goodness.cli import main
from goodness.data import open_data
from goodness.errors import InputError
from goodness.sharing.folder import FILES, SharedFolder
from goodness.sharing.locating import hub_target, locate, pretrained_names

SHIPPED = ["cifar10", "digits", "fashion_mnist", "mnist"]


@pytest.fixture
def command(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as exit_:
            main(list(map(str, words)))
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return run


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_is_small_and_answers(name):
    folder = locate(f"pretrained/{name}")
    assert SharedFolder(folder).weights_file.stat().st_size < 1e6

    run = goodness.load(f"pretrained/{name}", device="cpu")

    assert run.name == f"pretrained/{name}"
    assert run.config.data == name
    assert len(run.classes) == 10
    assert run.result.test.accuracy > 0.85
    shape = (run.preprocessing.channels, run.preprocessing.height, run.preprocessing.width)
    scores = run.network.scores(run.preprocessing(torch.zeros(2, *shape, dtype=torch.uint8)))
    assert torch.isfinite(scores).all()
    assert f'goodness.load("pretrained/{name}")' in (folder / "README.md").read_text()


def test_what_is_said_of_the_shipped_digits_is_so():
    run = goodness.load("pretrained/digits", device="cpu")
    for split in ("val", "test"):
        assert run.evaluate(split=split).accuracy == getattr(run.result, split).accuracy


def test_they_are_listed(command):
    assert pretrained_names() == goodness.list_pretrained()
    assert goodness.list_pretrained("*mnist") == ["pretrained/fashion_mnist", "pretrained/mnist"]
    code, out, _ = command("models", "pretrained")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == pretrained_names()
    assert "99.72%" in out
    (row,) = json.loads(command("models", "pretrained", "--like", "*digits", "--json")[1])
    assert row == {
        **{"schema": 1, "name": "pretrained/digits", "data": "digits", "method": "spectral-local"},
        **{"accuracy": pytest.approx(0.9972, abs=1e-4), "parameters": 103_496, "bytes": 421_752},
    }
    assert "no pretrained network is like 'x'" in command("models", "pretrained", "--like", "x")[2]


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'pretrained/mnist'"):
        goodness.load("pretrained/mnits")
    with pytest.raises(InputError, match="hf:USER/NAME is needed"):
        goodness.load("hf:alone")
    with pytest.raises(InputError, match="there is no such folder"):
        goodness.load(Path("pretrained/mnist"))  # a path is a folder


def test_a_shipped_network_is_where_a_run_is_taken_and_stays_as_it_is(
    command, tmp_path, monkeypatch
):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    images, labels = next(open_data("digits").test.batches(1, "cpu"))
    Image.fromarray(images[0, 0].numpy()).save("digit.png")
    before = {path: path.stat().st_mtime_ns for path in locate("pretrained/digits").iterdir()}

    assert str(int(labels[0])) in command("predict", "pretrained/digits", "digit.png")[1]
    assert command("evaluate", "pretrained/digits", "--json")[0] == 0
    assert command("explain", "pretrained/digits", "digit.png")[0] == 0
    assert command("export", "pretrained/digits")[0] == 0
    assert command("train", "--resume", "pretrained/digits")[0] == 2
    out = tmp_path / "runs" / "of-pretrained-digits"
    made = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert made == {"confusion-test.png", "explained/digit.png", "model.safetensors"}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert goodness.resolve({"init_from": "pretrained/digits"}).init_from == "pretrained/digits"


@pytest.mark.parametrize(
    ("target", "repo"),
    [
        ("user/name", "user/name"),
        ("hf:user/name", "user/name"),
        ("hf:here/name", "here/name"),
        ("here/name", None),
        ("./user/name", None),
        ("/user/name", None),
        ("~/name", None),
        ("name", None),
        ("a/b/c", None),
        ("user/", None),
    ],
)
def test_where_a_network_is_pushed(tmp_path, monkeypatch, target, repo):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert hub_target(target) == repo


class Hub:
    """What the Hub's client is asked, and a Hub that is a folder."""

    def __init__(self, root):
        self.root, self.private, self.asked = root, None, []

    def create_repo(self, repo, *, private, exist_ok):
        assert exist_ok
        self.private = private
        return f"https://hub.example/{repo}"

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, self.root / repo_id)

    def snapshot_download(self, repo, *, revision, allow_patterns):
        self.asked.append((repo, revision, sorted(allow_patterns)))
        return str(self.root / repo)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


def test_there_and_back_by_the_hub(hub, command):
    run = goodness.load("pretrained/digits", device="cpu")

    code, out, _ = command("push", "pretrained/digits", "me/digits", "--private")
    assert (code, out) == (0, "https://hub.example/me/digits\n")
    assert hub.private is True
    again = goodness.load("hf:me/digits@main", device="cpu")

    assert hub.asked == [("me/digits", "main", sorted(FILES))]
    assert again.name == "hf:me/digits@main"
    x = run.preprocessing(next(open_data("digits").test.batches(8, "cpu"))[0])
    assert torch.equal(again.network.scores(x), run.network.scores(x))
    assert 'goodness.load("hf:me/digits")' in (again.folder / "README.md").read_text()


def test_a_repository_of_something_else_is_refused(hub, tmp_path):
    (tmp_path / "hub" / "me" / "bert").mkdir(parents=True)
    (tmp_path / "hub" / "me" / "bert" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is no network of goodness: it has no preprocessor"):
        goodness.load("hf:me/bert")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.OfflineModeIsEnabled("no"), "the Hub cannot be reached"),
        (errors.LocalEntryNotFoundError("no"), "the Hub cannot be reached"),
        (errors.LocalTokenNotFoundError("no"), "log in first"),
        (errors.HFValidationError("a bad name\nsecond line"), "a bad name"),
        (OSError("no space left"), "no space left"),
    ],
)
def test_what_the_hub_says_becomes_one_line(hub, monkeypatch, command, error, says):
    def fail(*args, **values):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(hub, "create_repo", fail)
    for words in (("predict", "hf:me/x", "a.png"), ("push", "pretrained/digits", "me/x")):
        code, out, err = command(*words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert says in err


def test_offline_is_said_by_the_real_client():
    """The tests run with HF_HUB_OFFLINE."""
    with pytest.raises(InputError, match="'hf:me/x' cannot be had: the Hub cannot be reached"):
        goodness.load("hf:me/x")


def test_without_the_client_the_extra_is_named(monkeypatch, tmp_path, command):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for words in (
        ("predict", "hf:me/x", "a.png"),
        ("push", "pretrained/digits", "me/x"),
        ("push", "pretrained/digits", tmp_path / "x"),
    ):
        code, _, err = command(*words)
        assert (code, "pip install 'goodness[hub]'" in err) == (2, True)
    assert not (tmp_path / "x").exists()


def test_private_is_for_the_hub(command, tmp_path):
    assert (
        "--private is for the Hub" in command("push", "pretrained/digits", tmp_path, "--private")[2]
    )
