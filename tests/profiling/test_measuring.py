"""Bench and profile measure what they say."""

from __future__ import annotations

import pytest
import torch

from goodness import InputError, resolve
from goodness.parallel.balance import block_flops
from goodness.profiling.bench import (
    ACCUMULATION,
    BACKPROP,
    CHECKPOINTING,
    Bench,
    batch_sweep,
    compare_steps,
    depth_sweep,
    time_sweep,
)
from goodness.profiling.bound import Convolution, bound, convolutions
from goodness.profiling.figures import draw_bench, draw_profile
from goodness.profiling.profile import predict, profile
from goodness.profiling.timing import PHASES, block_peaks, block_seconds
from goodness.profiling.trial import Trial, trial_config

CPU = torch.device("cpu")
MODEL = {"name": "cnn", "widths": [8, 8, 16, 16], "pools": [2], "norm": "batch"}
SHAPE = (3, 16, 16)


def quiet(_):
    pass


def trial(method, batch=16, **values):
    return Trial(trial_config(method, MODEL, batch, values), SHAPE, 10, CPU, batch)


def test_the_bound_is_what_the_input_gradients_cost():
    found = [Convolution(0, 2.0, 0.0, 3.0), Convolution(1, 2.0, 2.0, 3.0)]

    assert bound(found) == 12 / 10


def test_every_convolution_is_timed_and_the_first_has_no_input_gradient():
    made = trial("backprop")

    found = convolutions(made.network, made.x, made.y, repeats=1)

    assert [c.block for c in found] == [0, 1, 2, 3]
    assert [c.input_gradient > 0 for c in found] == [False, True, True, True]
    assert all(c.forward > 0 and c.weight_gradient > 0 for c in found)


@pytest.mark.parametrize("model", ["timm/mobilenetv3_small_050", "small-cnn"])
def test_strided_grouped_and_padded_convolutions_are_timed(model):
    made = Trial(trial_config("sff", {"name": model}, 2, {}), (3, 32, 32), 10, CPU, 2)

    assert all(c.weight_gradient > 0 for c in convolutions(made.network, made.x, made.y, repeats=1))


def test_a_label_in_the_image_is_measured_with_the_rows_that_a_step_has(monkeypatch):
    made = trial("ff")
    seen = []
    monkeypatch.setattr(
        "goodness.profiling.bound._measure", lambda block, conv, shape, **_: seen.append(shape[0])
    )
    convolutions(made.network, made.x, made.y)
    networks = (trial("sff").network, made.network)
    one, two = (block_flops(n, n.training_rows(made.x, made.y)) for n in networks)

    assert seen == [2 * 16] * 4  # each image with its own label and with a wrong one
    assert two == [2 * flops for flops in one]


@pytest.mark.parametrize(("method", "values"), [("cafo", {}), ("sff", {"plan": "sequential"})])
def test_a_method_whose_steps_differ_is_refused(method, values):
    with pytest.raises(InputError, match="no step stands for all"):
        trial(method, **values)


@pytest.mark.parametrize(("batch", "parts"), [(8, 3), (8, 16)])
def test_a_batch_that_cannot_be_taken_in_equal_steps_is_refused(batch, parts):
    with pytest.raises(InputError, match=f"{batch} images cannot be taken in {parts} equal"):
        trial("sff", batch, accumulate_steps=parts)


def test_what_is_local_does_not_reach_the_baselines():
    bench = Bench(["sff"], MODEL, SHAPE, batch=8, values={"boundary": "identity", "amp": "bf16"})
    local, global_ = bench.trial("sff").network.config, bench.trial("backprop").network.config

    assert local.boundary["name"] == "identity"
    assert global_.boundary == resolve({"method": "backprop"}).boundary
    assert local.amp == global_.amp == "bf16"


def test_all_ways_train_the_same_network_and_no_readouts():
    values = {"plan": "together"}
    bench = Bench(["asge", "sff", "scff"], MODEL, SHAPE, batch=4, values=values)

    networks = [made.network for made in bench.trials().values()]

    shapes = [[tuple(p.shape) for p in n.blocks.parameters() if p.dim() == 4] for n in networks]
    convs = [[s for s in own if s[2:] == (3, 3)] for own in shapes]
    assert all(own == convs[0] for own in convs)
    assert all(not n.readouts for n in networks)


def test_steps_are_compared(tmp_path):
    bench = Bench(["asge", "sff"], MODEL, SHAPE, batch=16, steps=2)

    record = compare_steps(bench, quiet)
    record |= {"batches": batch_sweep(bench, [8], quiet), "batch": 16}
    record["depths"] = depth_sweep(bench, [2, 4], 8, quiet)

    ways = record["ways"]
    assert list(ways) == ["asge", "sff", BACKPROP, CHECKPOINTING, ACCUMULATION]
    assert ways[BACKPROP]["speed_of_backprop"] == ways[BACKPROP]["activations_of_backprop"] == 1
    for way in ways.values():
        assert way["images_per_second"] == pytest.approx(16 / way["seconds"])
    asge = ways["asge"]
    assert asge["share_of_bound"] == pytest.approx(asge["speed_of_backprop"] / record["bound"])
    least = min(ways[name]["memory"]["activations"] for name in ("asge", "sff"))
    assert ways[ACCUMULATION]["memory"]["activations"] <= least
    assert ways[ACCUMULATION]["accumulate_steps"] > 1
    draw_bench(record, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 10_000


def test_memory_over_depth_grows_for_backprop_alone():
    bench = Bench(["asge", "sff"], MODEL, (3, 8, 8), batch=8)

    shallow, deep = depth_sweep(bench, [4, 16], 8, quiet)

    for name in ("asge", "sff"):
        assert deep["activations"][name] < 1.1 * shallow["activations"][name]
    for name in (BACKPROP, CHECKPOINTING):
        assert deep["activations"][name] > 1.5 * shallow["activations"][name]
    assert deep["activations"][CHECKPOINTING] < deep["activations"][BACKPROP]


def spiking(depth):
    model = {"name": "spiking-cnn", "widths": [12] * depth, "pools": []}
    return Bench(["ffgaf-snn"], model, (3, 8, 8), batch=8, steps=1)


def test_memory_over_time_steps_is_that_of_one_block(tmp_path):
    few, many = (
        [row["activations"] for row in time_sweep(spiking(n), [2, 8], quiet)] for n in (2, 6)
    )

    for two, eight in (few, many):
        for name in ("ffgaf-snn", BACKPROP):
            assert 2.5 * two[name] < eight[name] < 4.5 * two[name]
    # The backward pass through time keeps every block, and the local one its own.
    assert many[1]["ffgaf-snn"] < 1.1 * few[1]["ffgaf-snn"]
    assert many[1][BACKPROP] > 2.2 * few[1][BACKPROP]
    assert many[1]["ffgaf-snn"] < 0.4 * many[1][BACKPROP]


def test_backprop_has_the_surrogate_that_it_needs(tmp_path):
    bench = spiking(2)
    given = {name: t.network.config.model["surrogate"] for name, t in bench.trials().items()}
    assert given == {"ffgaf-snn": None, BACKPROP: "atan", CHECKPOINTING: "atan"}
    record = {**compare_steps(bench, quiet), "batch": 8, "batches": [], "depths": []}
    draw_bench({**record, "time_steps": time_sweep(bench, [1, 2], quiet)}, tmp_path / "bench.png")
    draw_bench(record, tmp_path / "without.png")
    sizes = [(tmp_path / name).stat().st_size for name in ("bench.png", "without.png")]
    assert sizes[0] > 1.2 * sizes[1]


def test_a_network_without_time_steps_has_no_sweep_over_them():
    with pytest.raises(InputError, match=r"'vgg8' has no time steps .*spiking-cnn"):
        time_sweep(Bench(["sff"], "vgg8"), [1], quiet)


@pytest.mark.parametrize("methods", [[], ["backprop"], ["sff", "deep-supervision"]])
def test_only_local_methods_are_benched(methods):
    with pytest.raises(InputError, match="bench: "):
        Bench(methods, MODEL).check()


@pytest.mark.parametrize("method", ["sff", "backprop", "trifecta"])
def test_the_phases_of_all_blocks_are_nearly_the_step(method):
    made = trial(method, batch=32)

    blocks, whole = block_seconds(made, 3)

    spent = [sum(block.values()) for block in blocks]
    assert all(set(block) == set(PHASES) for block in blocks)
    assert all(seconds > 0 for seconds in spent)
    assert sum(spent) <= whole
    if method != "trifecta":
        assert all(block["backward"] > 0 and block["forward"] > 0 for block in blocks)


def test_the_largest_peak_of_a_block_is_that_of_the_step():
    made = trial("sff")

    assert max(block_peaks(made)) == made.memory()["activations"]


def test_gradients_and_state_by_hand():
    made = trial("sff")

    memory = made.memory()

    weights = sum(p.numel() for p in made.network.parameters())
    buffers = sum(b.nbytes for b in made.network.buffers())
    steps = 4 * sum(len(group) for group in made.learner.parameters.values())
    assert memory["gradients"] == 4 * weights
    # AdamW has two moments, and a count of steps per tensor.
    assert memory["state"] == 3 * 4 * weights + buffers + steps


def test_a_prediction_for_another_batch_size_is_near_what_is_measured():
    found = profile(resolve_config(batch_size=16), SHAPE, 10, CPU, 1, quiet)

    predicted = {row["batch"]: row["activations"] for row in found["what_if"]["batches"]}

    assert predicted[32] == pytest.approx(trial("sff", 32).memory()["activations"], rel=0.05)


def test_a_prediction_for_another_depth_is_near_what_is_measured():
    config = resolve_config(batch_size=16, model={**MODEL, "widths": [8] * 4, "pools": []})
    deeper = {**config.model, "widths": [8] * 8}
    found = profile(config, SHAPE, 10, CPU, 1, quiet)

    predicted = next(row for row in found["what_if"]["depths"] if row["times"] == 2)

    made = Trial(trial_config("sff", deeper, 16, {}), SHAPE, 10, CPU, 16)
    assert predicted["blocks"] == len(made.network)
    assert predicted["activations"] == pytest.approx(made.memory()["activations"], rel=0.05)


def resolve_config(**values):
    given = {"method": "sff", "model": MODEL, "readouts": {}, **values}
    return resolve(given)


@pytest.mark.parametrize("method", ["sff", "backprop"])
def test_a_profile_holds_every_block(method, tmp_path):
    config = resolve_config(method=method, batch_size=8)

    record = profile(config, SHAPE, 10, CPU, 1, quiet)

    assert [block["name"] for block in record["blocks"]] == ["conv1", "conv2", "conv3", "conv4"]
    first = record["blocks"][0]
    assert first["flops"] == 2 * 3 * 8 * 9 * 16 * 16
    assert record["share_of_bound"] > 0
    ranks = [row["ranks"] for row in record["what_if"]["ranks"]]
    assert ranks == ([1] if method == "backprop" else [1, 2, 4])
    draw_profile({**record, "method": method, "batch": 8}, tmp_path / "profile.png")
    assert (tmp_path / "profile.png").stat().st_size > 10_000


def test_predictions_by_hand():
    measured = [
        {"batch": 8, "seconds": 1.0, "activations": 100},
        {"batch": 16, "seconds": 1.5, "activations": 180},
    ]
    blocks = [{"seconds": {"forward": 0.5, "backward": 0.25}}, {"seconds": {"forward": 0.5}}]

    alone = predict(measured, blocks, shared=False, places=[1])
    shared = predict(measured, blocks, shared=True, places=[])

    assert [row["batch"] for row in alone["batches"]] == [4, 32, 64]
    assert alone["batches"][1] == {"batch": 32, "images_per_second": 32 / 2.5, "activations": 340}
    assert [row["images_per_second"] for row in alone["depths"]] == [
        pytest.approx(16 / seconds) for seconds in (1.5, 2.75, 5.25)
    ]
    assert [row["activations"] for row in alone["depths"]] == [180, 180, 180]
    assert [row["activations"] for row in shared["depths"]] == [180, 360, 720]
    # Two ranks: the slower has 0.75 of 1.25.
    assert alone["ranks"][1]["images_per_second"] == pytest.approx(16 / (1.5 * 0.75 / 1.25))
    assert [row["ranks"] for row in shared["ranks"]] == [1]
