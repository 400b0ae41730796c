"""The batch of a run for which nobody has chosen one, and what a step is told to take."""

from __future__ import annotations

import pytest
import torch

from goodness import resolve
from goodness.learning import Learner
from goodness.memory import available_memory, memory_line
from goodness.methods import METHODS
from goodness.notes import Note
from goodness.profiling.estimate import StepMemory, step_memory
from goodness.profiling.memory import LiveBytes
from goodness.training import batch_size
from helpers import copied, same


@pytest.mark.parametrize(
    ("images", "batch"), [(5, 5), (12, 8), (43, 8), (64, 16), (100, 16), (127, 16), (249, 32)]
)
def test_few_images_fill_their_batch_and_an_epoch_has_a_few_steps(images, batch):
    config = resolve({"batch_size": 250})
    with pytest.warns(Note, match=f"{images} training images do not fill .* 250: it is {batch} "):
        assert batch_size.filled(config, images).batch_size == batch


def test_a_batch_that_is_filled_stays():
    config = resolve({"batch_size": 250})
    assert batch_size.filled(config, 250) is config


@pytest.fixture
def large(digits, trainer_of, monkeypatch):
    monkeypatch.setattr(batch_size, "LARGE", 0)
    return trainer_of(digits, batch_size=256)


@pytest.mark.parametrize(("free", "batch"), [(10**9, 256), (4000, 128), (700, 16), (10, 8)])
def test_a_step_takes_half_of_what_is_free_at_most(large, monkeypatch, free, batch):
    monkeypatch.setattr(batch_size, "step_memory", lambda _: StepMemory(100, 10))
    monkeypatch.setattr(batch_size, "free_memory", lambda _: free)
    if batch == 256:
        assert batch_size.in_memory(large) is large.config
        return
    said = rf"batch of 256 would take about 2\.7 kB, .* the batch is {batch} "
    with pytest.warns(Note, match=said):
        assert batch_size.in_memory(large).batch_size == batch


def measured(trainer, batch):
    """Bytes of a step on that many images, weights, state and batch included."""
    learner = Learner(trainer.network, trainer.class_weights, run=trainer.clock)
    pixels, y = next(trainer.dataset.train.batches(batch, "cpu"))
    x = trainer.prepare(pixels)
    learner.step(x, y)
    with LiveBytes(trainer.network.parameters()) as tracker:
        learner.step(x, y)
    state = [*trainer.network.state_dict().values(), *learner.state_dict()["tensors"].values()]
    return tracker.peak + x.nbytes + sum(tensor.nbytes for tensor in state)


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("spectral-local", {}),
        ("backprop", {}),
        ("ff", {}),
        ("asge-fast", {"class_weights": "balanced", "ema": 0.9}),
        ("mono-forward", {"model": {"norm": "layer"}, "micro_batch": 8}),
    ],
)
def test_two_small_steps_tell_the_memory_of_a_large_one(digits, trainer_of, method, values):
    trainer = trainer_of(digits, method=method, batch_size=64, **values)
    before, draws = copied(trainer.network.state_dict()), torch.random.get_rng_state()
    told = step_memory(trainer).of(64)
    assert same(before, trainer.network.state_dict())
    assert torch.equal(draws, torch.random.get_rng_state())
    assert trainer.step == 0
    assert told == pytest.approx(measured(trainer, 64), rel=0.15)


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_s_memory_is_told(digits, trainer_of, method):
    model = {"name": "small-cnn", "widths": [20, 20], "pools": [1]}  # of any method's groups
    trainer = trainer_of(digits, method=method, batch_size=32, model=model)
    assert step_memory(trainer).of(32) > 10_000


def test_compiled_code_keeps_tensors_that_nobody_knows_of(digits, trainer_of):
    trainer = trainer_of(digits, batch_size=32)
    trainer.config = trainer.config.model_copy(update={"compile": True})
    assert step_memory(trainer) is None


def test_what_is_said(monkeypatch):
    assert memory_line(0, None) == "memory: images decoded at every use"
    assert memory_line(1500, 10**6) == (
        "memory: 1.5 kB of images, about 1.0 MB for a step (weights and optimizer included)"
    )
    said = memory_line(1500, available_memory() + 10**10)
    assert "that are free: use a smaller --batch-size, --micro-batch, or" in said


def test_the_limit_of_a_container_is_heeded(monkeypatch, tmp_path):
    monkeypatch.setattr("goodness.memory.GROUP", tmp_path)
    whole = available_memory()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    assert available_memory() == pytest.approx(whole, rel=0.2)
    (tmp_path / "memory.max").write_text("5000\n")
    assert available_memory() == 4300
