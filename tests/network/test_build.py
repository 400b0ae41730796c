"""What fits together: refused when the network is built, or it trains."""

from __future__ import annotations

import pytest
import torch

from goodness import InputError, build, max_classes, resolve
from goodness.objective import OBJECTIVES
from goodness.presentation import PRESENTATIONS
from helpers import learner_of

IMAGE = (1, 8, 8)
CLASSES = 4
MODEL = {"name": "small-cnn", "widths": [4, 8], "pools": [1]}


def make(method="asge-fast", **values):
    return build(method, image_shape=IMAGE, num_classes=CLASSES, **{"model": MODEL, **values})


@pytest.mark.parametrize("presentation", PRESENTATIONS.names())
@pytest.mark.parametrize("objective", OBJECTIVES.names())
def test_every_presentation_is_refused_by_an_objective_or_trains_with_it(
    objective, presentation, batch
):
    # A method without a readout that would need class scores.
    values = {"plan": "together", "objective": objective, "presentation": presentation}
    if PRESENTATIONS[presentation].paired != OBJECTIVES[objective].paired:
        with pytest.raises(InputError, match=f"'{presentation}' makes .*'{objective}' needs"):
            make("scff", **values)
        return
    network = make("scff", **values)
    images, y = batch(8, IMAGE, CLASSES)
    report = learner_of(network).step(images, y)

    assert all(torch.isfinite(loss) for loss in report.losses)
    assert network.evaluate(images).final("fusion").shape == (8, CLASSES)


@pytest.mark.parametrize(
    ("method", "values", "fit"),
    [
        ("asge-fast", {"presentation": "label-pixels"}, "presentation: plain"),
        ("mono-forward", {"presentation": "fourier"}, "presentation: plain"),
        ("ff", {"presentation": "plain"}, "presentation: fourier, image-pairs, label-channel"),
        ("scff", {"objective": "classifier"}, "use another objective"),
    ],
)
def test_rows_that_an_objective_has_no_loss_for_are_refused(method, values, fit):
    with pytest.raises(InputError, match=fit):
        make(method, **values)


@pytest.mark.parametrize(
    ("method", "values", "readout"),
    [
        ("scff", {"readouts": {"last": {}}}, "last"),
        ("scff", {"readouts": {"sum": {}}, "freeze_until": "1"}, "sum"),
        ("ff", {"presentation": "image-pairs"}, "sum"),
    ],
)
def test_a_readout_of_scores_that_no_block_has_is_refused(method, values, readout):
    with pytest.raises(InputError, match=f"readout '{readout}': no block of this method has class"):
        make(method, **values)


def test_the_classifier_has_one_owner():
    model = {"name": "timm/resnet10t", "args": {"channels": [4, 4, 4, 4]}}
    with pytest.raises(InputError, match="readout 'head' would train the model's classifier"):
        build(
            "backprop", image_shape=(3, 32, 32), num_classes=3, model=model, readouts={"head": {}}
        )


def test_values_beside_a_whole_configuration_are_refused():
    config = resolve({"method": "asge-fast"})
    with pytest.raises(InputError, match="model: a whole configuration takes no values beside it"):
        build(config, image_shape=IMAGE, num_classes=CLASSES, model="small-cnn", lr=7.0)
    with pytest.raises(InputError, match="lr: a whole configuration"):
        max_classes(config, image_shape=IMAGE, lr=7.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_shape": (8, 8)}, r"image_shape: .* \(got \(8, 8\)\)"),
        ({"image_shape": 5}, r"image_shape: .* \(got 5\)"),
        ({"image_shape": torch.zeros(2, 1, 8, 8)}, r"image_shape: .* \(got a Tensor\)"),
        ({"num_classes": 2.5}, r"num_classes: a whole number is needed \(got 2.5\)"),
        ({"num_classes": None}, r"num_classes: .* \(got None\)"),
    ],
)
def test_shapes_and_counts_that_are_none(values, message):
    with pytest.raises(InputError, match=message) as error:
        build("asge-fast", **{"image_shape": IMAGE, "num_classes": 3, **values})
    assert "\n" not in str(error.value)
