"""mixup, CutMix and Attentive CutMix against torchvision's and against loops over pixels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from goodness.data.mixing import Mix, Mixing, cut_boxes, strongest
from goodness.data.settings import AugmentConfig
from goodness.errors import InputError

CLASSES = 5
SIZE = (8, 11)


def nobody_looks(images):
    raise AssertionError("no map was needed")


def mixing(look=nobody_looks, size=SIZE, seed=0, **values):
    return Mixing(AugmentConfig(**values), (2, *size), CLASSES, seed, look)


@pytest.fixture
def images():
    return torch.rand((6, 2, *SIZE), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels():
    return torch.tensor([0, 3, 1, 1, 4, 2])


def oracle(transform, images, labels, **params):
    """What torchvision makes of a batch whose draws are these."""
    params = {"labels": labels, "batch_size": len(labels), **params}
    return transform.transform(images, params), transform.transform(labels, params)


def test_mixup_is_torchvisions_image_by_image(images, labels):
    mixes = mixing(mixup=0.4)
    how = mixes.draw(3, 6)
    mixed, soft = mixes.images(how, images), mixes.labels(how, labels)
    assert len(how.share.unique()) == 6
    for place, share in enumerate(how.share.tolist()):
        transform = v2.MixUp(num_classes=CLASSES)
        expected, target = oracle(transform, images, labels, lam=share)
        torch.testing.assert_close(mixed[place], expected[place])
        torch.testing.assert_close(soft[place], target[place])


def test_cutmix_is_torchvisions_image_by_image(images, labels):
    mixes = mixing(cutmix=1.0)
    how = mixes.draw(5, 6)
    mixed, soft = mixes.images(how, images), mixes.labels(how, labels)
    for place, (top, left, bottom, right) in enumerate(how.boxes.T.tolist()):
        share = float(how.share[place])
        box = {"box": (left, top, right, bottom), "lam_adjusted": share}
        expected, target = oracle(v2.CutMix(num_classes=CLASSES), images, labels, **box)
        assert torch.equal(mixed[place], expected[place])
        torch.testing.assert_close(soft[place], target[place])
    assert not torch.equal(mixed, images)


def test_boxes_are_torchvisions(monkeypatch, images):
    rng = np.random.default_rng(0)
    wanted, centres = rng.beta(1, 1, 50), rng.integers(0, np.array(SIZE)[:, None], (2, 50))
    boxes, share = cut_boxes(wanted, centres, SIZE)
    for place in range(50):
        drawn = iter([int(centres[1, place]), int(centres[0, place])])  # columns first
        transform = v2.CutMix(num_classes=CLASSES)
        transform._dist.sample = lambda _, lam=wanted[place]: torch.tensor(lam)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *_, size, d=drawn: torch.tensor([next(d)]))
            params = transform.make_params([images])
        top, left, bottom, right = boxes[:, place].tolist()
        assert tuple(map(int, params["box"])) == (left, top, right, bottom)
        assert share[place] == pytest.approx(params["lam_adjusted"])
    assert share.max() > 0.99  # small ones and large ones are among them
    assert share.min() < 0.4


@pytest.mark.parametrize("size", [(8, 8), (16, 32), (11, 13)])
def test_attentive_cutmix_pastes_the_strongest_cells_where_they_were(size):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((4, 2, *size), generator=generator)
    strength = torch.rand((4, 8, 8), generator=generator)
    seen = []

    def look(given):
        seen.append(given)
        return strength

    mixes = mixing(look, size, attentive_cutmix=5)
    how = mixes.draw(0, 4)
    mixed = mixes.images(how, images)

    assert torch.equal(seen[0], images)
    assert how.share.tolist() == [1 - 5 / 64] * 4
    for place in range(4):
        other = (place - 1) % 4
        cells = sorted(
            ((float(strength[other, r, c]), r, c) for r in range(8) for c in range(8)), reverse=True
        )[:5]
        chosen = {(r, c) for _, r, c in cells}
        for row in range(size[0]):
            for column in range(size[1]):
                cell = row * 8 // size[0], column * 8 // size[1]
                source = images[other] if cell in chosen else images[place]
                assert torch.equal(mixed[place, :, row, column], source[:, row, column])


def test_of_equal_cells_the_first_are_taken_and_coarse_maps_are_spread():
    even = strongest(torch.ones(1, 8, 8), 3, (8, 8))
    assert even.nonzero().tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    coarse = strongest(torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]), 16, (8, 8))
    assert coarse[0, 4:, 4:].all()
    assert coarse.sum() == 16


def test_draws_belong_to_the_seed_and_the_step_alone(images, labels):
    values = {"mixup": 0.5, "cutmix": 1.0}
    one, again, other = (mixing(seed=seed, **values) for seed in (1, 1, 2))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for step in (7, 3, 7):
        mine, theirs = one.draw(step, 6), again.draw(step, 6)
        assert mine.way == theirs.way
        assert torch.equal(mine.share, theirs.share)
        assert torch.equal(mine.boxes, theirs.boxes)
    assert torch.equal(torch.get_rng_state(), state)
    shares = [m.draw(0, 6).share.tolist() for m in (one, other)]
    assert shares[0] != shares[1]
    assert one.draw(0, 6).share.tolist() != one.draw(1, 6).share.tolist()


def test_each_batch_is_mixed_in_one_way_that_is_on_or_in_none():
    mixes = mixing(size=(8, 8), mixup=0.5, cutmix=1.0, attentive_cutmix=4, mix_share=0.75)
    drawn = [mixes.draw(step, 2) for step in range(2000)]
    counts = Counter(how and how.way for how in drawn)
    assert set(counts) == {None, "mixup", "cutmix", "attentive_cutmix"}
    assert all(430 < count < 570 for count in counts.values())
    assert AugmentConfig(mixup=0.5, mix_share=0).mixing == AugmentConfig().mixing == ()


def test_labels_add_up_and_a_share_of_one_changes_nothing(images, labels):
    mixes = mixing(cutmix=1.0)
    whole = Mix("cutmix", torch.ones(6), torch.zeros((4, 6), dtype=torch.int64))
    assert torch.equal(mixes.images(whole, images), images)
    assert torch.equal(mixes.labels(whole, labels).argmax(1), labels)
    soft = mixes.labels(mixes.draw(0, 6), labels)
    torch.testing.assert_close(soft.sum(1), torch.ones(6))


def test_images_without_cells_are_refused():
    with pytest.raises(InputError, match="an image of 7x9 pixels has no 8x8 cells"):
        mixing(size=(7, 9), attentive_cutmix=3)
