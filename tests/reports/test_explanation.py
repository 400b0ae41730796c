from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from goodness.analysis.explain import BlockView, Explanation
from goodness.reports import explanation as explanation_module
from goodness.reports.explanation import draw_explanation


def explanation(classes: int, size: int = 8, asks: bool = False) -> Explanation:
    """Two blocks' views; both believe in class 7 most and hardly in the answer, class 3."""
    torch.manual_seed(0)
    scores = torch.randn(2, classes)
    scores[:, 3], scores[:, 7] = -9, 9
    blocks = [
        BlockView(f"conv{place}", *torch.rand(3, size, size), block)
        for place, block in enumerate(scores, 1)
    ]
    return Explanation(3, 0.5, blocks, torch.rand(classes, 1, 28, 28) if asks else None)


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """The figure of an explanation of a grey image, laid out but not written."""

    def drawn(what: Explanation, names: list[str]):
        figures = []
        monkeypatch.setattr(
            explanation_module, "save_figure", lambda figure, *_, **__: figures.append(figure)
        )
        pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
        draw_explanation(what, pixels, names, tmp_path / "picture.png")
        figures[0].draw_without_rendering()
        return figures[0]

    return drawn


def bars(figure) -> list[list[str]]:
    """The classes of every set of bars, from the top down."""
    return [[label.get_text() for label in a.get_yticklabels()] for a in figure.axes if a.patches]


@pytest.mark.parametrize("asks", [False, True])
def test_of_many_classes_every_row_shows_the_same_best_ones(draw, asks):
    names = [f"a very long name of class {k}" for k in range(100)]
    rows = bars(draw(explanation(100, asks=asks), names))
    assert len(rows) == 2 + asks
    assert all(row == rows[0] for row in rows)
    assert len(set(rows[0])) == 8
    assert [label.split()[0] for label in rows[0][:2]] == ["#3", "#7"]
    assert all(len(label) <= 18 and label.endswith("…") for label in rows[0])


def test_ten_classes_are_all_shown_in_their_order(draw):
    assert bars(draw(explanation(10), list("0123456789"))) == [list("0123456789")] * 2


@pytest.mark.parametrize("asks", [False, True])
def test_long_names_leave_the_images_their_size(draw, asks):
    figure = draw(explanation(100, asks=asks), ["a name that is much too long"] * 100)
    maps = [axes for axes in figure.axes if len(axes.images) == 2]
    assert len(maps) == 6
    assert min(axes.get_window_extent().height / figure.dpi for axes in maps) > 1.4  # inches


def test_the_titles_of_candidates_do_not_overlap(draw):
    figure = draw(explanation(100, asks=True), ["a name that is much too long"] * 100)
    boxes = [a.title.get_window_extent() for a in figure.axes if a.get_title().startswith("#")]
    assert len(boxes) == 8
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_single_position_is_a_number_and_not_laid_over_the_image(draw):
    what = explanation(10, size=1)
    what.blocks[0].goodness.fill_(0.42)
    figure = draw(what, list("0123456789"))
    assert [len(axes.images) for axes in figure.axes].count(1) == 1  # the image itself
    assert not [axes for axes in figure.axes if len(axes.images) > 1]
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said[0] == "one position: 0.42"
    assert len(said) == 6
    assert figure.get_supxlabel() == ""  # nothing is coloured


def test_the_key_names_the_colours_that_are_drawn(draw):
    figure = draw(explanation(10, asks=True), list("0123456789"))
    unsigned, signed = (axes.images[1] for axes in figure.axes[1:3])
    red, _, blue, _ = signed.to_rgba(signed.norm.vmax)
    assert red > blue
    red, _, blue, _ = signed.to_rgba(signed.norm.vmin)
    assert red < blue
    assert sum(unsigned.to_rgba(0)[:3]) < sum(unsigned.to_rgba(unsigned.norm.vmax)[:3])
    key = figure.get_supxlabel()
    assert "red: for the answer, blue: against it" in key
    assert "dark is little" in key
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    assert figure._supxlabel.get_window_extent().y1 <= lowest
