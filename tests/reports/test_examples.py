"""Which images a report shows, and what they look like; the filters of the first layer."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from goodness.analysis.survey import Answers, Survey
from goodness.data import Split
from goodness.models.whitening import Whitening
from goodness.reports import examples
from goodness.reports.examples import choose, picture
from goodness.reports.filters import first_filters
from helpers import tiny_network


def decoded(uri: str) -> np.ndarray:
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(BytesIO(b64decode(content))).convert("RGB"))


@pytest.fixture
def found():
    """What a network might say about 60 images of 4 classes."""
    generator = torch.Generator().manual_seed(3)
    probabilities = (3 * torch.randn(60, 4, generator=generator)).softmax(1)
    y = torch.randint(0, 4, (60,), generator=generator)
    confidence, answers = probabilities.max(1)
    truth = probabilities.gather(1, y[:, None])[:, 0]
    return Survey(y, Answers(answers, confidence), truth, [])


@pytest.fixture
def split(found):
    """The pixels of image i are all i."""
    pixels = torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(60, 1, 4, 4)
    return Split(pixels.contiguous(), found.y, [], names=lambda index: f"folder/{index}.png")


def numbers(shown) -> list[int]:
    """The images by their names, which are those of their pixels."""
    for one in shown:
        assert (decoded(one.picture) == int(one.name.removesuffix(".png"))).all()
    return [int(one.name.removesuffix(".png")) for one in shown]


def test_the_worst_have_the_lowest_probability_of_the_true_class(found, split):
    worst = choose(found, split, list("abcd"), True).worst
    order = sorted(range(60), key=lambda row: float(found.truth[row]))
    assert numbers(worst) == order[: len(worst)]
    assert len(worst) == examples.SHOWN
    for one, row in zip(worst, order, strict=False):
        assert one.true == "abcd"[found.y[row]]
        assert one.answer == "abcd"[found.final.classes[row]]
        assert one.right == (one.true == one.answer)
        assert (one.confidence, one.truth) == (found.final.confidence[row], found.truth[row])


def test_the_best_are_right_and_the_surest_of_their_class(found, split):
    best = choose(found, split, list("abcd"), True).best
    expected = []
    for k in range(4):
        rows = [i for i in range(60) if found.y[i] == k == found.final.classes[i]]
        expected.append(max(rows, key=lambda row: float(found.truth[row])))
    assert sorted(numbers(best)) == sorted(expected)
    assert [one.confidence for one in best] == sorted((o.confidence for o in best), reverse=True)


def test_pairs_are_those_confused_most_with_their_surest_mistakes(found, split):
    pairs = choose(found, split, list("abcd"), True).pairs
    assert [pair.count for pair in pairs] == sorted((p.count for p in pairs), reverse=True)
    for pair in pairs:
        true, answer = "abcd".index(pair.true), "abcd".index(pair.answer)
        rows = [i for i in range(60) if found.y[i] == true and found.final.classes[i] == answer]
        assert true != answer
        assert pair.count == len(rows)
        assert pair.share == pytest.approx(len(rows) / int((found.y == true).sum()))
        surest = sorted(rows, key=lambda row: -float(found.final.confidence[row]))
        assert numbers(pair.examples) == surest[: examples.OF_A_PAIR]


def test_a_network_that_is_always_right_has_no_pairs(found, split):
    right = Survey(found.y, Answers(found.y, found.truth), found.truth, [])
    shown = choose(right, split, list("abcd"), True)
    assert not shown.pairs
    assert all(one.right for one in shown.worst)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_keep_every_pixel(channels):
    image = torch.randint(0, 256, (channels, 9, 7), dtype=torch.uint8)
    expected = image.expand(3, -1, -1).permute(1, 2, 0).numpy()
    assert np.array_equal(decoded(picture(image)), expected)
    assert np.array_equal(decoded(picture(image.float() / 255)), expected)


def test_other_images_are_shown_as_far_as_they_can_be():
    ramp = torch.linspace(-7, 5, 64).view(1, 8, 8).expand(4, 8, 8)
    shown = decoded(picture(ramp, pixels=False))
    assert (shown.min(), shown.max()) == (0, 255)
    assert decoded(picture(torch.zeros(3, 300, 200, dtype=torch.uint8))).shape == (96, 64, 3)
    assert (decoded(picture(torch.full((1, 4, 4), 7.0), pixels=False)) == 0).all()


def test_filters_lie_row_by_row_each_on_its_own_scale():
    network = tiny_network("asge-fast", (3, 8, 8), model={"name": "small-cnn", "widths": [20]})
    weight = next(p for p in network[0].body.parameters() if p.dim() == 4)
    found = first_filters(network)
    grid = np.asarray(Image.open(BytesIO(found.png)))
    assert (found.shown, found.count, found.shape, found.fixed) == (20, 20, (3, 3, 3), False)
    assert grid.shape == (2 * 4 - 1, 16 * 4 - 1, 4)
    tile = grid[4:7, 4:7]  # in the second row the second one
    own = weight[17].detach()
    expected = (own / own.abs().max() * 127.5 + 127.5).permute(1, 2, 0).numpy()
    assert np.abs(tile[..., :3] - expected).max() <= 0.51
    assert (tile[..., 3] == 255).all()
    assert (grid[3, :, 3] == 0).all()
    assert (grid[4:, 16:, 3] == 0).all()  # four filters fill no row


def test_filters_that_whiten_are_called_fixed():
    model = {"name": "small-cnn", "widths": [8, 16], "whiten": 2}
    network = tiny_network("asge-fast", (3, 8, 8), model=model)
    assert any(isinstance(part, Whitening) for part in network[0].body.modules())
    found = first_filters(network)
    assert found.fixed
    assert found.shape == (3, 2, 2)


def test_units_that_see_the_whole_image_have_its_form():
    network = tiny_network("ff", (1, 8, 6), model={"name": "mlp", "widths": [12, 12]})
    found = first_filters(network)
    assert (found.count, found.shape) == (12, (1, 8, 6))
    tile = np.asarray(Image.open(BytesIO(found.png)))[:8, :6, 0]
    own = next(p for p in network[0].body.parameters() if p.dim() == 2)[0].view(8, 6).detach()
    assert np.abs(tile - (own / own.abs().max() * 127.5 + 127.5).numpy()).max() <= 0.51


def test_channels_that_are_no_picture_have_no_filters():
    assert first_filters(tiny_network("asge-fast", (2, 8, 8))) is None
