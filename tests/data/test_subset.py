"""Training on some classes, or on a few images of each."""

from __future__ import annotations

import pytest
import torch

from goodness import InputError
from goodness.data import Subset, open_data, open_split


@pytest.fixture
def folder(tmp_path, write_classes):
    """Images whose pixels are their number: a 0-29, b 30-59, c 60-89."""
    write_classes(tmp_path, {"a": 30, "b": 30, "c": 30})
    return tmp_path


def numbers(split, values):
    return set(values(split))


def test_the_chosen_classes_in_their_order(folder, values):
    whole = open_data(folder)
    some = open_data(folder, subset=Subset(classes=["c", "a"]))

    assert some.classes == ("c", "a")
    assert some.preprocessing.classes == ["c", "a"]
    for part in ("train", "val", "test"):
        chosen = numbers(getattr(some, part), values)
        # No image changes its part, and none of the other class is left.
        assert chosen == {n for n in numbers(getattr(whole, part), values) if not 30 <= n < 60}
        for images, labels in getattr(some, part).batches(50, "cpu"):
            assert ((images[:, 0, 0, 0] < 30).long() == labels).all()


def test_so_many_of_each_class_drawn_by_the_seed(folder, values):
    whole = open_data(folder)
    few = [open_data(folder, subset=Subset(per_class=5, seed=seed)) for seed in (0, 0, 1)]

    assert torch.bincount(few[0].train.labels).tolist() == [5, 5, 5]
    drawn = [numbers(data.train, values) for data in few]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] <= numbers(whole.train, values)
    assert numbers(few[0].val, values) == numbers(whole.val, values)
    assert numbers(few[0].test, values) == numbers(whole.test, values)
    assert few[0].preprocessing.mean != whole.preprocessing.mean


def test_the_run_s_own_split_is_found_again(folder, values):
    subset = Subset(classes=["b", "c"], per_class=4, seed=3)
    data = open_data(folder, subset=subset)
    for part in ("train", "val", "test"):
        again = open_split(folder, part, data.preprocessing, whole=False, subset=subset)
        assert numbers(again, values) == numbers(getattr(data, part), values)


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (Subset(classes=["a", "d"]), "unknown class 'd'"),
        (Subset(classes=["a"]), "at least 2"),
        (Subset(classes=["a", "b", "a"]), "one is named twice"),
        (Subset(per_class=100), "class 'a' has 21 training images, not 100"),
    ],
)
def test_what_is_not_there(folder, subset, message):
    with pytest.raises(InputError, match=message):
        open_data(folder, subset=subset)
