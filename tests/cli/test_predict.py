"""What ``goodness predict`` is asked about, and how it writes its answers."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of empty files, which the run of these tests does not open; we are above it."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "deep/c.webp", "notes.txt", ".hidden.jpg"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "photos"


@pytest.fixture
def asked(goodness, calls, monkeypatch):
    """``asked(*words, stdin=b"")``: the files that the run was asked about."""

    def ask(*words, stdin=b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code, out, err = goodness("predict", calls.run.folder, *words, "--format", "jsonl")
        assert (code, err) == (0, "")
        return [json.loads(line)["file"] for line in out.splitlines()]

    return ask


def test_files_folders_and_patterns(asked, photos):
    assert asked("photos") == ["photos/a.PNG", "photos/b.jpg", "photos/deep/c.webp"]
    assert asked("photos/*.jpg", "x.png") == ["photos/b.jpg", "x.png"]
    assert asked("photos/**/c.*") == ["photos/deep/c.webp"]
    (photos / "odd[1].png").touch()  # a name, although it looks like a pattern
    assert asked("photos/odd[1].png") == ["photos/odd[1].png"]


@pytest.mark.parametrize(
    "names", [b"photos/b.jpg\nx y.png\n", b"photos/b.jpg\n\nx y.png", b"photos/b.jpg\0x y.png\0"]
)
def test_names_on_standard_input(asked, photos, names):
    assert asked("-", stdin=names) == ["photos/b.jpg", "x y.png"]
    assert asked("-", "z.png", stdin=names)[2] == "z.png"


def test_a_name_on_standard_input_may_have_a_line_break(asked, photos):
    assert asked("-", stdin=b"a\nb.png\0c.png\0") == ["a\nb.png", "c.png"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none*.jpg"], "there is no file like 'none*.jpg'"),
        (["empty"], "the folder 'empty' holds no image"),
        (["-"], "no file names on standard input"),
        (["x.png", "--json", "--format", "csv"], "--json and --format csv are two formats"),
        (["x.png", "--out", "there.csv"], "'there.csv' is there already; --overwrite replaces it"),
        (["x.png", "--out", "empty"], "'empty' is a folder; --out needs a file"),
    ],
)
def test_what_cannot_be_asked(refused, calls, photos, monkeypatch, words, says):
    (photos.parent / "empty").mkdir()
    (photos.parent / "there.csv").touch()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    assert says in refused("predict", calls.run.folder, *words)


def test_csv_holds_every_name_as_it_is(goodness, calls):
    names = ["a,b.png", 'say "x".png', "line\nbreak.png", "ü" * 300 + ".png"]
    _, out, _ = goodness("predict", calls.run.folder, *names, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["file"] for row in rows] == names
    assert rows[0] == {
        **{"file": "a,b.png", "class": "dog", "index": "1", "probability": "0.75"},
        **{"conv1": "", "conv1 probability": "", "conv2": "cat", "conv2 probability": "0.5"},
    }


def test_json_lines_are_those_of_json(goodness, calls):
    names = ["a.png", "caf\udce9.png"]
    _, lines, _ = goodness("predict", calls.run.folder, *names, "--format", "jsonl")
    _, whole, _ = goodness("predict", calls.run.folder, *names, "--json")
    assert [json.loads(line) for line in lines.splitlines()] == json.loads(whole)


def test_a_table_cuts_no_name(goodness, calls):
    name = "photographs/" + "long/" * 60 + "image.png"
    _, out, _ = goodness("predict", calls.run.folder, name)
    assert [name, "dog", "75.00%", "–", "cat"] in [line.split() for line in out.splitlines()]


@pytest.mark.parametrize("name", ["found.csv", "found.jsonl", "found.json", "found.txt"])
def test_out_takes_what_standard_output_would_get(goodness, calls, tmp_path, name):
    formats = {"csv": ["--format", "csv"], "jsonl": ["--format", "jsonl"], "json": ["--json"]}
    words = ["predict", calls.run.folder, "a.png", "b.png"]
    _, expected, _ = goodness(*words, *formats.get(name.partition(".")[2], []))
    code, out, err = goodness(*words, "--out", tmp_path / name)
    assert (code, out, err) == (0, f"{tmp_path / name}\n", "")
    assert (tmp_path / name).read_text() == expected


def test_nothing_is_left_where_predicting_fails(goodness, calls, tmp_path, monkeypatch):
    def broken(files, **_):
        yield from ()
        raise OSError("the disk is full")

    monkeypatch.setattr(calls.run, "predict_iter", broken)
    code, _, _ = goodness("predict", calls.run.folder, "a.png", "--out", tmp_path / "a.csv")
    assert code == 1
    assert not list(tmp_path.glob("*a.csv*"))


def test_files_left_out_are_counted(goodness, calls, monkeypatch):
    predict_iter = calls.run.predict_iter
    monkeypatch.setattr(calls.run, "predict_iter", lambda files, **_: predict_iter(list(files)[1:]))
    _, _, err = goodness("predict", calls.run.folder, "a", "b", "c", "--skip-unreadable")
    assert err == "note: 1 files cannot be read and are left out\n"


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path):
    program = (
        "import sys\n"
        "from goodness.cli import app\n"
        "from goodness.cli.predict import _standard_output\n"
        "from goodness.reports.predictions import write_jsonl\n"
        "from goodness.results import Prediction\n"
        "many = (Prediction('a.png', 'cat', 0, 0.5, []) for _ in range(100_000))\n"
        "app.app.command('write')(lambda: write_jsonl(many, _standard_output()))\n"
        "app.main(['write'])\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout.readline().startswith(b'{"schema": 1, "file": "a.png"')
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 1
