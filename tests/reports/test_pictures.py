from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from goodness.reports import confusion, curves
from goodness.reports.confusion import draw_confusion
from goodness.reports.curves import Curves, draw_curves
from goodness.results import EpochTraining


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def inked(pixels) -> float:
    """Share of the pixels that are not white."""
    return float((pixels < 250).any(axis=2).mean())


@pytest.fixture
def figures(monkeypatch):
    """The figures that would have been written."""
    kept: list[Figure] = []
    for module in (confusion, curves):
        monkeypatch.setattr(module, "save_figure", lambda figure, *_, **__: kept.append(figure))
    return kept


@pytest.mark.parametrize("epochs", [1, 5])
def test_curves_are_drawn_also_without_some_values(tmp_path, make_row, epochs):
    draw_curves([make_row(epoch) for epoch in range(1, epochs + 1)], tmp_path / "curves.png")
    pixels = read(tmp_path / "curves.png")
    assert pixels.shape == (480, 1320, 3)
    left, right = pixels[60:400, 90:520], pixels[60:400, 600:1050]
    for panel in (left, right):
        coloured = panel.max(axis=2).astype(int) - panel.min(axis=2) > 60
        assert coloured.sum() > 20


def test_a_block_without_any_value_draws_no_curve(tmp_path, make_row):
    empty = [make_row(epoch, blocks=1) for epoch in (1, 2)]
    draw_curves(empty, tmp_path / "curves.png")
    left = read(tmp_path / "curves.png")[60:400, 90:520]
    assert (left.max(axis=2).astype(int) - left.min(axis=2) < 20).all()  # the grid is grey


def test_only_the_finished_picture_is_left(tmp_path, make_row):
    (tmp_path / "curves.png").write_bytes(b"old")
    draw_curves([make_row(1)], tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    assert inked(read(tmp_path / "curves.png")) > 0.01


def test_drawing_takes_a_tenth_of_the_time_and_never_misses_the_end(
    trainer, finish_epoch, monkeypatch
):
    now, drawn = [0.0], []

    def draw(history, path, title, readout):
        assert readout == "sum"
        drawn.append(len(history))
        now[0] += 1.0

    monkeypatch.setattr(curves, "draw_curves", draw)
    monkeypatch.setattr(curves.time, "monotonic", lambda: now[0])
    reports = Curves()
    for seconds in (5.0, 5.0, 5.0, 1.0):
        now[0] += seconds
        finish_epoch(reports)
    assert drawn == [1, 3]
    reports.on_end(trainer, {})
    assert drawn == [1, 3, 4]


def test_without_a_run_folder_nothing_is_drawn(trainer, finish_epoch, monkeypatch):
    monkeypatch.setattr(curves, "draw_curves", lambda *_: pytest.fail("drawn"))
    trainer.run = None
    finish_epoch(Curves())


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 12, 200])
def test_ticks_of_the_epochs_are_whole_numbers(tmp_path, make_row, figures, epochs):
    draw_curves([make_row(epoch) for epoch in range(1, epochs + 1)], tmp_path / "curves.png")
    (figure,) = figures
    for axes in figure.axes:
        low, high = axes.get_xlim()
        seen = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert seen
        assert all(tick == round(tick) for tick in seen)


@pytest.mark.parametrize(
    ("count", "name", "named"),
    [
        (3, "conv{}", ["conv1", "conv2", "conv3"]),
        (23, "conv{}", [f"conv{2 + round(i * 21 / 13)}" for i in range(14)]),
        (
            11,
            "a_module_of_a_long_name.conv{:02}",
            [f"…_long_name.conv{i:02}" for i in range(2, 12)],
        ),
    ],
)
def test_the_legend_lies_in_the_picture(tmp_path, make_row, figures, count, name, named):
    rows = [make_row(epoch, count, name=name) for epoch in (1, 2)]
    draw_curves(rows, tmp_path / "curves.png", readout="last")
    (figure,) = figures
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= figure.axes[1].get_window_extent().x1
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.y1
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:-3] == named
    assert labels[-3:] == ["last readout", "validation", "training"]
    assert list(figure.axes[1].lines[-1].get_ydata()) == [0.5, 0.5]  # the readout that is named
    assert len(figure.axes[0].lines) == (count if count < 11 else count - 1)


@pytest.mark.parametrize(("count", "drawn"), [(10, 10), (11, 1)])
def test_of_many_blocks_those_without_a_loss_are_left_out(
    tmp_path, make_row, figures, count, drawn
):
    row = make_row(1, count)
    blocks = [replace(block, loss=None) for block in row.train.blocks[:-1]]
    row = replace(row, train=EpochTraining([*blocks, row.train.blocks[-1]]))
    draw_curves([row], tmp_path / "curves.png")
    (figure,) = figures
    assert len(figure.axes[0].lines) == drawn
    assert len(figure.axes[1].lines) == 2 * drawn + 1


@pytest.mark.parametrize("epochs", [1, 5, 6])
def test_few_epochs_have_markers_and_those_of_training_are_hollow(
    tmp_path, make_row, figures, epochs
):
    draw_curves([make_row(epoch) for epoch in range(1, epochs + 1)], tmp_path / "curves.png")
    (figure,) = figures
    lines = [line for axes in figure.axes for line in axes.lines]
    lines += [line for line in figure.legends[0].get_lines() if line.get_label()[-4:] == "tion"]
    for line in lines:
        dashed = line.get_linestyle() == "--"
        assert line.get_marker() == ("o" if epochs < 6 else "None")
        assert line.get_fillstyle() == ("none" if dashed and epochs < 6 else "full")
    assert {line.get_linestyle() for line in lines} == {"-", "--"}


@pytest.mark.parametrize("count", [2, 10, 100])
def test_confusion_is_drawn_with_its_diagonal_dark(tmp_path, count, monkeypatch):
    texts = []
    text = Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda *given, **more: (texts.append(given[3]), text(*given, **more))[1]
    )
    counts = np.eye(count, dtype=int) * 40
    counts[0, 1] = 10
    names = [f"[class] {number}" for number in range(count)]
    draw_confusion(counts.tolist(), names, tmp_path / "confusion.png", "digits")
    pixels = read(tmp_path / "confusion.png")
    assert min(pixels.shape[:2]) > 500
    assert inked(pixels) > 0.2
    # Numbers are written where they can be read: every count but the zeros, up to 20 classes.
    written = sorted(entry for entry in texts if str(entry).isdigit())
    assert written == (["10"] + ["40"] * count if count <= 20 else [])


def test_many_classes_are_numbers_and_the_worst_pairs_a_list(tmp_path, figures):
    counts = np.eye(100, dtype=int) * 40
    counts[3, 5], counts[70, 71], counts[71, 70] = 12, 30, 2
    names = [f"class {number}" for number in range(99)] + ["a long name" * 20]
    draw_confusion(counts.tolist(), names, tmp_path / "confusion.png")
    (figure,) = figures
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == [str(k) for k in range(0, 100, 10)]
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    assert figure.get_supxlabel().splitlines()[1:] == [
        "class 70 -> class 71: 30",
        "class 3 -> class 5: 12",
        "class 71 -> class 70: 2",
    ]
    assert max(figure.get_size_inches()) <= 10


def test_the_list_of_the_worst_pairs_has_ten_lines_that_fit(tmp_path, figures):
    names = [f"{number} a long name" * 20 for number in range(100)]
    draw_confusion([[1] * 100] * 100, names, tmp_path / "confusion.png")
    (figure,) = figures
    figure.draw_without_rendering()
    assert len(figure.get_supxlabel().splitlines()) == 11
    box = figure._supxlabel.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 < figure.axes[0].get_tightbbox().y0


@pytest.mark.parametrize("name", ["$x$", r"$\frac$", "a$b", "caf\udce9"])
def test_names_are_no_formulas_and_need_not_be_utf_8(tmp_path, name):
    draw_confusion([[3, 1], [0, 4]], [name, "dog"], tmp_path / "confusion.png", name)
    assert inked(read(tmp_path / "confusion.png")) > 0.05


def test_a_class_without_examples_is_white_and_no_division_by_zero(tmp_path):
    draw_confusion([[3, 1], [0, 0]], ["cat", "dog"], tmp_path / "confusion.png")
    assert inked(read(tmp_path / "confusion.png")) > 0.05
