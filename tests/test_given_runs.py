"""Runs on data that a program gives: the same training, checkpoints and answers as by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset

import goodness
from goodness.notes import Note
from helpers import TINY, At, interrupt, same, saved_weights

X, Y = load_digits(return_X_y=True)
PIXELS = np.round(X.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
VALUES = {
    **{"method": "asge-fast", "model": TINY, "batch_size": 64, "epochs": 2},
    "augment": {"crop": 1, "flip": True},
}


class Noisy(Dataset):
    """A hundred digits in another range, with a random transform."""

    def __init__(self, count=100):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        return torch.tensor(X[row].reshape(1, 8, 8)) - 8 + torch.rand(1, 8, 8), int(Y[row])


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """A run on arrays that no test changes."""
    return goodness.fit((PIXELS, Y), out=tmp_path_factory.mktemp("given") / "run", **VALUES)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A run on a loader that no test changes."""
    values = {key: value for key, value in VALUES.items() if key != "batch_size"}
    out = tmp_path_factory.mktemp("given") / "run"
    return goodness.fit(DataLoader(Noisy(), 16, shuffle=True), out=out, **values)


def test_arrays_train_as_the_same_images_by_name_do(arrays, tmp_path):
    named = goodness.fit("digits", out=tmp_path / "run", **VALUES)
    assert same(saved_weights(arrays.folder), saved_weights(named.folder))
    assert arrays.result.test.readouts == named.result.test.readouts
    assert arrays.config.data == "given/arrays"
    assert json.loads((arrays.folder / "result.json").read_text())["data"] == "arrays"


def test_a_loader_gives_its_batch_size_unless_another_is_asked_for(noisy):
    assert (noisy.config.data, noisy.config.batch_size) == ("given/dataset", 16)
    plan = goodness.dry_run(DataLoader(Noisy(), 16), **VALUES)
    assert plan.config["batch_size"] == 64
    assert plan.train_examples == 70


@pytest.mark.parametrize("step", [3, 6])
def test_a_run_is_resumed_on_the_data_given_again(noisy, tmp_path, step):
    values = {key: value for key, value in VALUES.items() if key != "batch_size"}
    loader = DataLoader(Noisy(), 16, shuffle=True)
    said = r"go on with: goodness.resume\('.*run', data=\.\.\.\)"
    given = {"out": tmp_path / "run", "callbacks": [At(interrupt, step=step)], **values}
    with pytest.raises(goodness.Interrupted, match=said):
        goodness.fit(loader, **given)
    resumed = goodness.resume(tmp_path / "run", data=loader)
    assert same(saved_weights(resumed.folder), saved_weights(noisy.folder))
    assert same(saved_weights(resumed.folder, "best"), saved_weights(noisy.folder, "best"))


def test_other_data_is_refused(arrays, noisy, tmp_path):
    def refused(run, data, says):
        before = saved_weights(run.folder)
        with pytest.raises(goodness.InputError, match=says):
            goodness.resume(run.folder, data=data, epochs=3)
        assert same(saved_weights(run.folder), before)

    refused(arrays, None, r"a program gave, which is not kept: give it again")
    refused(arrays, (PIXELS[:-9], Y[:-9]), r"class '.' in 'train' had \d+ images, here are \d+")
    refused(noisy, Noisy(90), r"its train part had 70 images, here are 62")
    other = PIXELS.copy()
    other[:, 0, 0] += 1
    refused(arrays, (other, Y), r"class '.' in 'train' has other images than before")
    named = goodness.fit(out=tmp_path / "run", **{**VALUES, "epochs": 1})
    refused(named, (PIXELS, Y), r"was trained on 'digits': it takes no other data")


def test_a_run_answers_about_arrays_tensors_and_images(arrays, noisy):
    expected = arrays.network.predict(arrays.preprocessing(PIXELS[:5])).tolist()
    tensor = torch.tensor(PIXELS[:5])[:, None]
    floats = tensor / 255
    pictures = [Image.fromarray(image) for image in PIXELS[:5]]
    for images in (PIXELS[:5], PIXELS[:5, ..., None], tensor, floats, pictures, list(tensor)):
        found = arrays.predict(images)
        assert [prediction.index for prediction in found] == expected
        assert [prediction.file for prediction in found] == [f"image {n}" for n in range(5)]
    for one in (PIXELS[3], tensor[3], pictures[3]):
        assert [prediction.index for prediction in arrays.predict(one)] == expected[3:4]
    assert [p.index for p in arrays.predict(iter(pictures))] == expected
    assert arrays.predict(np.kron(PIXELS[3], np.ones((4, 4), np.uint8)))[0].index == expected[3]
    own = Noisy()[0][0].float()
    assert noisy.predict(own)[0].index == int(noisy.network.predict(noisy.preprocessing(own)))
    with pytest.raises(goodness.InputError, match="trained on tensors that no file has"):
        noisy.predict(pictures)


def test_a_run_is_evaluated_on_data_given(arrays, noisy):
    found = arrays.evaluate((PIXELS[:90], Y[:90]))
    assert (found.data, found.examples) == ("given/arrays", 90)
    answers = [prediction.index for prediction in arrays.predict(PIXELS[:90])]
    assert found.accuracy == pytest.approx(np.mean(answers == Y[:90]))
    assert arrays.evaluate({"test": (PIXELS[:7], Y[:7])}).examples == 7
    assert noisy.evaluate(Noisy(30)).examples == 30
    assert len(arrays.diagnose((PIXELS[:90], Y[:90]))) == 2
    with pytest.raises(goodness.InputError, match="give it again"):
        arrays.evaluate()
    with pytest.raises(goodness.InputError, match=r"has the shape \(1, 9, 9\)"):
        noisy.evaluate((torch.rand(9, 9, 9), Y[:9]))


def test_photographs_of_several_sizes_train_without_a_word(tmp_path):
    for row in range(60):
        folder = tmp_path / "photographs" / "abc"[row % 3]
        folder.mkdir(parents=True, exist_ok=True)
        size = 20 + row % 5, 24 - row % 7
        Image.effect_noise(size, 20 + 40 * (row % 3)).save(folder / f"{row}.jpg")
    with pytest.warns(Note) as told:
        run = goodness.fit(tmp_path / "photographs", out=tmp_path / "run", epochs=1)
    sizes, batch = (str(each.message) for each in told)
    assert sizes.startswith("images have several sizes, 20 to 24 pixels wide and 18 to 24 high")
    assert batch.startswith("43 training images do not fill the usual batch of 250: it is 8")
    assert run.config.batch_size == goodness.load(run.folder).config.batch_size == 8
    with pytest.warns(Note, match="several sizes"):
        resumed = goodness.resume(run.folder, epochs=2)  # and not another batch
    assert resumed.result.train.epochs == 2
    folder = tmp_path / "photographs"
    found = run.predict([folder, str(folder / "a" / "*.jpg")])
    assert len(found) == 80
    refused = pytest.raises(goodness.InputError, match="batch size 250 is more than the 43")
    with refused, pytest.warns(Note):
        goodness.fit(folder, out=tmp_path / "other", batch_size=250)
