"""What the page shows, asked without the page."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

import goodness
from goodness.data import open_data
from goodness.demo import answering
from goodness.demo.answering import answer, check_image, drawing, taken, to_pil
from goodness.errors import InputError
from helpers import TINY


@pytest.fixture(scope="module")
def run():
    return goodness.load("pretrained/digits", device="cpu")


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    """A test image as a file, and as the network takes it."""
    path = tmp_path_factory.mktemp("digit") / "digit.png"
    images, _ = next(open_data("digits").test.batches(1, "cpu"))
    Image.fromarray(images[0, 0].numpy()).save(path)
    return path, images


def test_at_threshold_one_the_answer_is_that_of_predict(run, digit):
    path, images = digit
    found, predicted = answer(run, path), run.predict([path])[0]

    assert max(found.probabilities, key=found.probabilities.__getitem__) == predicted.class_name
    assert max(found.probabilities.values()) == pytest.approx(predicted.probability)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert [belief.exits for belief in found.beliefs] == [False, False, False, True]
    assert found.skipped == 0
    for belief, block in zip(found.beliefs, predicted.blocks, strict=True):
        assert (belief.block, belief.own) == (block.name, block.class_name)
        assert belief.own_probability == pytest.approx(block.probability)
    assert torch.equal(run.preprocessing.load(found.seen), images[0])
    assert found.picture.width > 500


@pytest.fixture
def undrawn(monkeypatch):
    """Answers without their picture, which takes most of the time."""
    monkeypatch.setattr(answering, "draw_explanation", lambda *given: blank_at(given[-1]))


def blank_at(path):
    Image.new("L", (8, 8)).save(path)


@pytest.mark.usefixtures("undrawn")
def test_the_first_block_that_is_sure_enough_answers(run, digit):
    path, images = digit
    with torch.no_grad():
        shares = run.network.exits(run.preprocessing(images))[:, 0].softmax(1)
    sure = shares.max(1).values.tolist()
    for threshold in (0.0, *sure):
        found = answer(run, path, threshold)
        place = next(index for index, share in enumerate(sure) if share >= threshold)
        assert [belief.exits for belief in found.beliefs].index(True) == place
        assert found.skipped == len(sure) - 1 - place
        assert list(found.probabilities.values()) == pytest.approx(shares[place].tolist())


@pytest.mark.parametrize(
    ("best", "threshold", "place"),
    [
        ([0.5, 0.9, 0.95], 0.9, 1),
        ([0.5, 0.9, 0.95], 0.0, 0),
        ([0.5, 0.9, 0.8], 1.0, 2),
        ([float("nan"), 0.6, 0.9], 0.0, 1),  # no answer yet behind the first block
    ],
)
def test_where_an_answer_is_taken(best, threshold, place):
    shares = torch.tensor(best)[:, None] * torch.tensor([[1.0, 0.1]])
    assert taken(shares, torch.full_like(shares, threshold)) == place
    unsure = torch.tensor([[float("inf"), 0.0]]).expand_as(shares)  # of the other class
    assert taken(shares, unsure) == len(shares) - 1


@pytest.mark.usefixtures("undrawn")
def test_a_block_without_an_answer_says_none(tmp_path, digit):
    values = {"model": TINY, "batch_size": 1000, "readouts": {"probe": None}}
    run = goodness.fit("digits", method="backprop", epochs=1, out=tmp_path / "run", **values)

    first, last = answer(run, digit[0], threshold=0.0).beliefs

    assert (first.own, first.answer, first.probability, first.exits) == (None, None, None, False)
    assert last.answer in run.classes
    assert last.exits


def png(width, height):
    data = io.BytesIO()
    Image.new("L", (width, height)).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no image that can be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image that can be read"),
        (b"%PDF-1.7", "no image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "no image that can be read"),
        (png(8000, 8000), "8000 x 8000 pixels; at most 40 million"),
        (png(14_000, 14_000), "too many pixels; at most 40 million"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused_by_its_header(run, tmp_path, content, says):
    path = tmp_path / "file.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        answer(run, path)


def test_a_large_file_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "file.png"
    path.write_bytes(png(8, 8))
    check_image(path)
    monkeypatch.setattr(answering, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="MB; at most 20 MB"):
        check_image(path)
    with pytest.raises(InputError, match="no image"):
        check_image(tmp_path / "missing.png")


def test_a_truncated_image_is_refused(run, digit, tmp_path):
    path = tmp_path / "half.png"
    path.write_bytes(digit[0].read_bytes()[:60])
    with pytest.raises(InputError):
        answer(run, path)


def sketch(mode="RGBA"):
    paper = Image.new("RGBA", (280, 280), (255, 255, 255, 0))
    ImageDraw.Draw(paper).line([(200, 100), (200, 250)], fill=(0, 0, 0, 255), width=20)
    if mode == "RGB":
        paper = Image.alpha_composite(Image.new("RGBA", paper.size, "white"), paper).convert(mode)
    return paper


@pytest.mark.parametrize("mode", ["RGBA", "RGB"])
def test_a_drawing_becomes_light_on_dark_and_stands_in_the_middle(run, mode):
    image = drawing(run, sketch(mode))

    assert image.size[0] == image.size[1]
    left, top, right, bottom = image.getbbox()
    side = image.size[0]
    assert left + right == pytest.approx(side, abs=2)
    assert top + bottom == pytest.approx(side, abs=2)
    assert (bottom - top) / side == pytest.approx(20 / 28, abs=0.02)
    assert image.getpixel((side // 2, side // 2)) == 255
    assert image.getpixel((0, 0)) == 0


def test_it_stays_dark_on_light_where_the_training_images_are_light(run, monkeypatch):
    light = run.preprocessing.model_copy(update={"mean": [0.8]})
    dark = drawing(run, sketch())
    monkeypatch.setattr(run, "preprocessing", light)
    assert drawing(run, sketch()).tobytes() == ImageOps.invert(dark).tobytes()


def test_nothing_drawn_is_said(run):
    for empty in (None, Image.new("RGBA", (280, 280), (255, 255, 255, 0))):
        with pytest.raises(InputError, match="nothing is drawn yet"):
            drawing(run, empty)


def test_colour_pixels_become_a_colour_image():
    pixels = torch.zeros(3, 4, 5, dtype=torch.uint8)
    pixels[0] = 255
    image = to_pil(pixels)
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (5, 4), (255, 0, 0))
