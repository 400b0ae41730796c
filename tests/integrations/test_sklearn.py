"""The scikit-learn estimator."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import timm
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from goodness import GoodnessClassifier
from helpers import copied, same

EXPECTED_FAILURES: dict[str, str] = {}


@parametrize_with_checks(
    [GoodnessClassifier(epochs=15, batch_size=16, random_state=0)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_s_own_checks(estimator, check, request):
    if "readonly_memmap=True" in str(check) and "not slow" in request.config.option.markexpr:
        pytest.skip("slow: the same check on arrays that cannot be written")
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600].astype(np.float32), y[:600]


SMALL = {"epochs": 8, "random_state": 0, "lr": 5e-2}


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 8, 8)])
def test_images_of_every_shape(digits, shape):
    X, y = digits
    classifier = GoodnessClassifier(**SMALL).fit(X[:400].reshape(-1, *shape), y[:400])

    assert classifier.network_.image_shape == (1, 8, 8)
    assert classifier.score(X[400:].reshape(-1, *shape), y[400:]) > 0.85
    proba = classifier.predict_proba(X[400:].reshape(-1, *shape))
    assert proba.shape == (200, 10)
    assert proba.sum(1) == pytest.approx(1, abs=1e-5)
    assert len(classifier.loss_curve_) == 8
    assert classifier.loss_curve_[-1] < classifier.loss_curve_[0]


@pytest.mark.parametrize("method", ["sff", "mono-forward", "backprop", "cwc"])
def test_other_methods(digits, method):
    X, y = digits
    classifier = GoodnessClassifier(method, epochs=6, random_state=0).fit(X[:400], y[:400])
    assert classifier.score(X[400:], y[400:]) > 0.5


def test_in_a_pipeline_a_search_and_a_pickle(digits):
    X, y = digits
    pipeline = make_pipeline(StandardScaler(), GoodnessClassifier(**{**SMALL, "epochs": 8}))
    assert cross_val_score(pipeline, X[:300], y[:300], cv=2).min() > 0.3

    search = GridSearchCV(GoodnessClassifier(**{**SMALL, "epochs": 8}), {"lr": [1e-9, 1e-2]}, cv=2)
    search.fit(X[:300], y[:300])
    assert search.best_params_ == {"lr": 1e-2}

    best = search.best_estimator_
    again = pickle.loads(pickle.dumps(best))
    assert np.array_equal(again.predict_proba(X[:50]), best.predict_proba(X[:50]))


def test_a_module_is_copied_and_its_classes_are_fitted(digits):
    X, y = digits
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=7, channels=[4, 4, 8, 8], stem_width=4)
    before = copied(model.state_dict())
    colour = np.repeat(X[:64].reshape(-1, 1, 8, 8), 3, axis=1)
    labels = np.array([f"digit {label}" for label in y[:64]])
    classifier = GoodnessClassifier("sff", model, "block", epochs=1, random_state=0)

    fitted = clone(classifier).fit(colour, labels)

    assert same(model.state_dict(), before)
    assert set(fitted.predict(colour)) <= set(labels)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict(colour), fitted.predict(colour))


@pytest.mark.parametrize(
    ("values", "X", "message"),
    [
        ({"method": "asgee"}, np.ones((20, 64)), "unknown method 'asgee'"),
        ({"model": "timm/resnet81"}, np.ones((20, 64)), "did you mean"),
        ({"readout": "sums"}, np.random.rand(20, 64), "unknown readout 'sums'"),
        ({"image_shape": (3, 4, 4)}, np.ones((20, 64)), "is not 64 numbers"),
        ({"model": "vgg8"}, np.ones((20, 64)), "8x8 pixels are too few"),
        ({}, np.ones((20, 1, 2, 2, 2)), "has 5 dimensions"),
        ({"image_shape": (8, 8)}, np.ones((20, 64)), r"image_shape: .* \(got \(8, 8\)\)"),
        ({"image_shape": 8}, np.ones((20, 64)), r"image_shape: .* \(got 8\)"),
        ({"image_shape": (1, -8, -8)}, np.ones((20, 64)), "image_shape: the shape"),
        ({"batch_size": 0}, np.ones((20, 64)), r"batch_size: .* \(got 0\)"),
        ({"batch_size": 2.5}, np.ones((20, 64)), r"batch_size: .* \(got 2.5\)"),
        ({"epochs": 2.0}, np.ones((20, 64)), r"epochs: .* \(got 2.0\)"),
        ({"epochs": "2"}, np.ones((20, 64)), r"epochs: .* \(got '2'\)"),
        ({"options": {"lrr": 1}}, np.ones((20, 64)), "unknown configuration key"),
        (
            {"lr": 1e-3, "options": {"optimizer": {"lr": 7.5}}},
            np.ones((20, 64)),
            "optimizer.lr and the parameter lr are one",
        ),
    ],
)
def test_bad_input_is_a_value_error(values, X, message):
    with pytest.raises(ValueError, match=message):
        GoodnessClassifier(**{"epochs": 1, **values}).fit(X, np.arange(20) % 2)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        *((key, f"parameter of its own, {key}") for key in ("model", "method", "partition")),
        *((key, f"parameter of its own, {key}") for key in ("batch_size", "epochs", "readout")),
        ("lr", "parameter of its own, lr"),
        ("seed", "parameter of its own, random_state"),
        *(
            (key, "no meaning for arrays")
            for key in ("augment", "image_shape", "data", "feature_cache")
        ),
    ],
)
def test_options_that_would_not_be_used_are_refused(key, message):
    classifier = GoodnessClassifier(options={key: 1})
    with pytest.raises(ValueError, match=f"options: {key} has .*{message}"):
        classifier.fit(np.ones((20, 64)), np.arange(20) % 2)


def test_an_unknown_readout_is_refused_before_training():
    classifier = GoodnessClassifier(readout="sums")
    with pytest.raises(ValueError, match="unknown readout"):
        classifier.fit(np.ones((20, 64)), np.arange(20) % 2)
    assert not hasattr(classifier, "loss_curve_")


def test_counts_of_numpy():
    classifier = GoodnessClassifier(epochs=np.int64(2), batch_size=np.int64(4))
    classifier.fit(np.random.rand(8, 64), np.arange(8) % 2)

    assert len(classifier.loss_curve_) == 2


def test_images_of_another_shape_than_those_learnt_are_a_value_error():
    X = np.random.rand(8, 8, 8)
    classifier = GoodnessClassifier(epochs=1).fit(X, np.arange(8) % 2)

    with pytest.raises(ValueError, match=r"images of \(1, 8, 9\): the network takes \(1, 8, 8\)"):
        classifier.predict(np.random.rand(8, 8, 9))
