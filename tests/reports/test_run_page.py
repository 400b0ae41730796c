"""The page about a run: whole, without anything that runs, and honest about what it lacks."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import goodness
from goodness.analysis import projection
from goodness.config import resolve
from goodness.data import Preprocessing, Split
from goodness.errors import InputError
from goodness.methods import METHODS
from goodness.reports import page as page_module
from goodness.reports.html import page_bytes, templates
from goodness.reports.page import Page, write_page
from helpers import TINY, tiny_network

CLASSES = ["<script>alert(1)", '"><img src=x onerror=alert(2)>', "a&b 'c' $x$_"]
DATA = "photos <script>alert(3)"
FILE = "<b onclick=alert(4)> {}.png"
LIMIT = 3_000_000
SECTIONS = [
    *("configuration", "blocks", "answers", "examples", "calibration", "exits", "features"),
    *("cost", "again"),
]


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.levels: list[int] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.add(tag)
        self.attributes |= found.keys()
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        if tag == "section" and "id" in found:
            self.ids.append(found["id"])
        if tag == "img":
            self.images.append(found)
        if tag[0] == "h" and tag[1:].isdigit():
            self.levels.append(int(tag[1:]))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def check(path: Path) -> Reader:
    """What holds of every page."""
    assert path.stat().st_size < LIMIT
    text = path.read_text()
    found = Reader(text)
    assert "default-src 'none'" in text
    assert not found.tags & {"script", "link", "iframe", "object", "form", "b1"}
    assert not [name for name in found.attributes if name.startswith("on")]
    assert all(address.startswith(("data:", "#")) for address in found.addresses)
    assert {address[1:] for address in found.addresses if address[0] == "#"} == set(found.ids)
    assert all(image["alt"] for image in found.images)
    assert found.levels[0] == 1
    assert found.levels.count(1) == 1
    steps = zip(found.levels, found.levels[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)
    return found


@pytest.fixture(autouse=True)
def _few_points(monkeypatch):
    """Little time is spent on t-SNE."""
    monkeypatch.setattr(page_module, "POINTS", 12)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of small pictures with hostile names."""
    root, draws = tmp_path_factory.mktemp("data") / DATA, np.random.default_rng(0)
    for k, name in enumerate(CLASSES):
        for number in range(12):
            pixels = draws.integers(0, 120, (8, 8, 3), dtype=np.uint8)
            pixels[..., k] += 60
            path = root / name / FILE.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="module")
def hostile(photos, tmp_path_factory):
    """A run on them."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return goodness.fit(
        str(photos), model=TINY, epochs=1, batch_size=8, device="cpu", out=folder,
        command="goodness train --data '<script>'",
    )  # fmt: skip


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A run with exits."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    model = {"name": "small-cnn", "widths": [16, 24]}
    run = goodness.fit("digits", model=model, epochs=1, val_fraction=0.3, device="cpu", out=folder)
    run.calibrate(support=15, tolerance=0.02)
    return run


def test_every_name_is_text_and_nothing_else(hostile, tmp_path):
    path = hostile.report(tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    found = check(path)
    for name in CLASSES:
        assert name in found.text
    assert DATA in found.text
    assert FILE.partition("{")[0] in found.text
    assert "goodness train --data '<script>'" in found.text
    assert found.ids == [name for name in SECTIONS if name != "exits"]
    assert "Early exits: these weights are not calibrated" in found.text


def test_all_sections_are_there_with_the_numbers_that_the_run_has(calibrated, tmp_path):
    found = check(calibrated.report(tmp_path / "page.html"))
    assert found.ids == SECTIONS
    assert "Left out" not in found.text
    result, test = calibrated.result, calibrated.evaluate()
    report = calibrated.calibration.report
    for number in (test.accuracy, result.val.accuracy, test.f1, report.saved, report.accuracy):
        assert f"{number:.2%}" in found.text
    for name, own in zip(calibrated.network.names, test.per_block, strict=True):
        assert name in found.text
        assert f"{own:.2%}" in found.text
    assert f"{calibrated.calibration.exits[-1].temperature:.3g}" in found.text


def test_its_configuration_trains_the_same_again(calibrated):
    again = Page(calibrated, "", "digits", "test").context()["again"]
    assert resolve(yaml.safe_load(again["yaml"])) == calibrated.config


def test_a_readout_that_was_left_out_stays_out(tmp_path):
    run, images = fake_run(tmp_path, "backprop", readouts={"probe": None})
    assert "probe" not in run.config.readouts
    values = yaml.safe_load(Page(run, images, "", "").context()["again"]["yaml"])
    assert resolve(values) == run.config


@pytest.mark.parametrize("split", ["val", "train"])
def test_another_part_of_the_data(hostile, tmp_path, split):
    found = check(hostile.report(tmp_path / "page.html", split=split))
    expected = hostile.evaluate(split=split)
    assert f"{expected.accuracy:.2%} of {expected.examples} images are right" in found.text
    with pytest.raises(InputError, match="unknown split"):
        hostile.report(tmp_path / "other.html", split="tset")


def test_where_the_data_is_gone_the_page_says_so_and_has_the_rest(
    hostile, photos, tmp_path, monkeypatch
):
    folder = shutil.copytree(hostile.folder, tmp_path / "run")
    values = json.loads((folder / "config.json").read_text())
    del values["checksum"]
    (folder / "config.json").write_text(json.dumps({**values, "data": str(tmp_path / "gone")}))
    run = goodness.load(folder, device="cpu")
    with pytest.warns(goodness.Note, match="tells nothing about images"):
        path = run.report(tmp_path / "page.html")
    found = check(path)
    assert found.ids == ["configuration", "blocks", "features", "cost", "again"]
    assert "Answers, examples, calibration and features: " in found.text
    assert f"{run.result.test.accuracy:.2%} right of {run.result.test.examples}" in found.text
    assert all(f"{own:.2%}" in found.text for own in run.result.test.per_block)
    # Images that somebody names are to be there.
    with pytest.raises(InputError, match="nowhere"):
        run.report(tmp_path / "nowhere.html", data=str(tmp_path / "nowhere"))
    check(run.report(tmp_path / "photos.html", data=str(photos)))


def test_a_shared_network_has_what_its_folder_brings(tmp_path):
    run = goodness.load("pretrained/digits", device="cpu")
    found = check(run.report(tmp_path / "val.html", split="val"))
    assert "Early exits: it was shared without calibrated exits" in found.text
    assert "Machine and versions: the folder has no environment.json" in found.text
    assert any("Loss and accuracy" in image["alt"] for image in found.images)


def test_a_run_without_an_end_or_a_history(hostile, tmp_path):
    folder = shutil.copytree(hostile.folder, tmp_path / "run")
    for name in ("result.json", "metrics.jsonl", "last/metrics.jsonl", "curves.png"):
        (folder / name).unlink()
    run = goodness.load(folder, device="cpu")
    found = check(run.report(tmp_path / "page.html"))
    assert "Time and memory: the run has not ended" in found.text
    assert "Curves: the folder has no metrics.jsonl" in found.text


def fake_run(tmp_path, method, shape=(1, 8, 8), **values):
    """An untrained network with what a page asks of a run, and images."""
    network = tiny_network(method, shape, **values)
    form = Preprocessing(
        channels=shape[0], height=shape[1], width=shape[2], mean=[0.5] * shape[0],
        std=[0.3] * shape[0], classes=list("abcd"),
    )  # fmt: skip
    run = SimpleNamespace(
        network=network, config=network.config, preprocessing=form, classes=form.classes,
        folder=tmp_path, name="run", calibration=None, result=None,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, *shape), dtype=torch.uint8, generator=generator)
    return run, Split(pixels, torch.arange(12) % 4, [])


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_has_a_page_and_a_configuration_to_run_again(tmp_path, monkeypatch, method):
    # Drawing and projecting are the same for all.
    monkeypatch.setattr(page_module, "png", lambda figure, dpi: b"")
    monkeypatch.setattr(
        projection, "_projection",
        lambda name, h: projection.Projection(name, h[:, :2], np.zeros(len(h), np.int64)),
    )  # fmt: skip
    run, images = fake_run(tmp_path, method)
    found = check(write_page(run, tmp_path / "page.html", images, data="digits", split="test"))
    assert "answers" in found.ids
    shown = [run.network.names[place] for place in Page(run, images, "", "")._shown]
    assert all(name in found.text for name in shown)
    values = yaml.safe_load(Page(run, images, "", "").context()["again"]["yaml"])
    assert resolve(values) == run.config


def test_images_of_other_channels_have_a_page_too(tmp_path):
    run, images = fake_run(tmp_path, "asge-fast", (2, 8, 8))
    found = check(write_page(run, tmp_path / "page.html", images, data="d", split="test"))
    assert "First filters: the first layer has no weights over the image" in found.text


def test_a_page_that_cannot_be_written_is_refused_before_any_work(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "Page", None)
    with pytest.raises(InputError, match="there is no folder"):
        hostile.report(tmp_path / "nowhere" / "page.html")


def test_names_in_no_utf_8_do_not_stop_a_page():
    environment = templates("goodness.reports")
    environment.loader = type(environment.loader)([])
    environment.cache.clear()
    made = environment.from_string("{{ name }}")
    environment.get_template = lambda _: made
    assert page_bytes(environment, "any", {"name": "caf\udce9"}) == b"caf?"
