import pytest
import torch

import goodness
from goodness.objective import ClassDifficulty


def scores_of(*guesses):
    return torch.eye(4)[list(guesses)]


def test_classes_that_are_often_wrong_weigh_more():
    difficulty = ClassDifficulty(4, kappa=2.0)
    assert difficulty.weights.tolist() == [1, 1, 1, 1]
    y = torch.tensor([0, 0, 1, 1, 2])
    difficulty.observe(scores_of(0, 0, 0, 1), y[:4])
    difficulty.observe(scores_of(1), y[4:])
    assert difficulty.weights.tolist() == [1, 1, 1, 1]  # an epoch is not over yet
    difficulty.end_epoch()
    wrong = torch.tensor([0.0, 0.5, 1.0, 0.0])  # nothing is known of the last one
    torch.testing.assert_close(difficulty.difficulty, wrong)
    expected = 4 * (2 * wrong).exp() / (2 * wrong).exp().sum()
    torch.testing.assert_close(difficulty.weights, expected.clamp(0.5, 2))
    difficulty.observe(scores_of(1, 2), torch.tensor([1, 2]))
    difficulty.end_epoch()
    torch.testing.assert_close(difficulty.difficulty, torch.tensor([0.0, 0.45, 0.9, 0.0]))


def learnt(model=None, **values):
    network = goodness.build(
        "mono-forward",
        image_shape=(1, 8, 8),
        num_classes=4,
        model={"name": "small-cnn", "widths": [8, 8], **(model or {})},
        epochs=2,
        steps_per_epoch=3,
        **values,
    )
    learner = goodness.Learner(network)
    draw = torch.Generator().manual_seed(1)
    for _ in range(6):
        x, y = torch.randn(8, 1, 8, 8, generator=draw), torch.arange(8) % 4
        learner.step(x, y)
    return network


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_an_exponent_of_0_changes_nothing():
    plain = weights(learnt())
    torch.testing.assert_close(weights(learnt(class_difficulty=0.0)), plain)
    assert not torch.allclose(weights(learnt(class_difficulty=3.0)), plain)


def test_parts_of_a_batch_are_weighed_as_the_whole_is():
    whole = weights(learnt(class_difficulty=3.0, model={"norm": "none"}))
    parts = weights(learnt(class_difficulty=3.0, model={"norm": "none"}, micro_batch=3))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_pairs_have_no_class_that_could_be_wrong():
    with pytest.raises(goodness.InputError, match="class_difficulty"):
        goodness.build("ff", image_shape=(1, 8, 8), num_classes=4, class_difficulty=1.0)
