"""What differs on Windows, on a Mac and on Apple's GPUs, played here on any machine."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import goodness
from goodness import api, devices, memory, seeds
from goodness.cli import app as command_line
from goodness.data.source import Files, Paths, make_source
from goodness.data.split import LazyImages
from goodness.files import file_name
from goodness.methods import METHODS
from goodness.objective.cascade import LeastSquares
from goodness.training import checkpoint, machine, signals
from goodness.training.epoch_metrics import EpochMetrics
from helpers import SMALL, TINY, learner_of, random_batch, spec_of, tiny_network

MPS = torch.device("mps")


@pytest.fixture
def windows(monkeypatch):
    """Python without `resource`, folders that cannot be opened, and psutil."""

    def opened(path, flags):
        if os.path.isdir(path):
            raise PermissionError(f"[WinError 5] Access is denied: '{path}'")
        return os.open(path, flags)

    def flushed(descriptor):
        os.write(descriptor, b"")  # raises where it is open for reading alone, as a flush does
        os.fsync(descriptor)

    info = SimpleNamespace(peak_wset=123 * 2**20)
    process = SimpleNamespace(memory_info=lambda: info)
    free = SimpleNamespace(available=456 * 2**20)
    psutil = SimpleNamespace(Process=lambda: process, virtual_memory=lambda: free)
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "psutil", psutil)
    monkeypatch.setattr(memory, "INFO", Path("no such file"))
    monkeypatch.setattr(memory, "GROUP", Path("no such folder"))
    files = SimpleNamespace(**{**vars(os), "open": opened, "fsync": flushed})
    monkeypatch.setattr(checkpoint, "os", files)
    for module in (checkpoint, machine):  # other libraries stay on this system
        monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))


def test_a_run_on_windows(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "_with_reports", list)  # no pictures, for speed
    values = {"method": "asge-fast", "model": TINY, "batch_size": 512}
    run = goodness.fit(out=tmp_path / "run", epochs=1, **values)
    assert run.result.train.peak_memory_bytes == 123 * 2**20
    again = goodness.resume(run.folder, epochs=2)
    assert again.result.train.epochs == 2
    assert memory.available_memory() == 456 * 2**20


def test_what_windows_reads_of_a_checkpoint_does_not_hold_the_file(windows, tmp_path, monkeypatch):
    read = {}

    def mapped(path):
        read.update(weight=torch.zeros(3))
        return dict(read)

    checkpoint.save(tmp_path / "last", {}, {"network": {"weight": torch.zeros(3)}})
    monkeypatch.setattr(checkpoint, "load_file", mapped)
    _, groups = checkpoint.load(tmp_path / "last", "network")
    assert groups["network"]["weight"].data_ptr() != read["weight"].data_ptr()


def test_folders_are_flushed_where_that_is_possible(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(
        os, "fsync", lambda file: flushed.append(os.readlink(f"/proc/self/fd/{file}"))
    )
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs Linux to tell what a descriptor is of")
    checkpoint.save(tmp_path / "last", {}, {"network": {"weight": torch.zeros(3)}})
    assert str(tmp_path) in flushed
    assert any(path.endswith("network.safetensors") for path in flushed)


@pytest.mark.parametrize(
    ("system", "how", "sent"),
    [
        ("linux", {"start_new_session": True}, signal.SIGTERM),
        ("win32", {"creationflags": 512}, 1),
    ],
)
def test_worker_processes_are_asked_to_end_in_the_system_s_way(monkeypatch, system, how, sent):
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", 1, raising=False)
    monkeypatch.setattr(sys, "platform", system)
    got = []
    signals.ask_to_end(SimpleNamespace(send_signal=got.append))
    assert signals.apart() == how
    assert got == [sent]


def test_names_of_run_folders_are_ones_that_windows_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = api._new_folder(goodness.resolve({"data": "hf/someone/birds:small"}))
    assert folder.name.endswith("birds-small")
    assert file_name('a<b>c:d"e/f\\g|h?i*j') == "a-b-c-d-e-f-g-h-i-j"
    assert file_name("Ä b.c-1_2") == "Ä b.c-1_2"
    assert file_name("a\nb\x00\x7f") == "a-b--"
    assert [file_name(name) for name in ("CON", "nul.txt", "com1", "console", "")] == [
        *("_CON", "_nul.txt", "_com1", "console", "_"),
    ]
    assert [file_name(name) for name in ("a.", "b ", "..")] == ["a_", "b_", "__"]


def test_text_in_windows_pipes_is_utf8(monkeypatch):
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    monkeypatch.setattr(sys, "platform", "win32")
    command_line._suit_the_system()
    assert (out.encoding, error.encoding) == ("utf-8", "utf-8")


@pytest.mark.parametrize(("system", "value"), [("darwin", "1"), ("linux", None)])
def test_a_mac_computes_on_the_cpu_what_its_gpu_cannot(monkeypatch, system, value):
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "to be undone")
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK")
    monkeypatch.setattr(sys, "platform", system)
    command_line._suit_the_system()
    assert os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == value


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_largest_resident_set_is_in_bytes(monkeypatch, system, unit):
    usage = SimpleNamespace(ru_maxrss=1000)
    known = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _: usage)
    monkeypatch.setitem(sys.modules, "resource", known)
    monkeypatch.setattr(sys, "platform", system)
    assert machine.peak_memory(torch.device("cpu")) == 1000 * unit


def test_images_can_be_decoded_by_processes_that_are_spawned(tmp_path):
    """Windows and macOS start them anew and send them the data set, pickled."""
    file = tmp_path / "one.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file)
    images = LazyImages(make_source(Files(Paths([file])), [0], ["one"]), (1, 8, 8))
    sent = pickle.loads(pickle.dumps(images))
    assert torch.equal(sent[0], images[0])


# Apple's GPUs


def test_an_apple_gpu_may_be_chosen(monkeypatch):
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)  # as if there was one
    assert machine.choose_device("mps") == MPS


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one")
def test_an_apple_gpu_that_is_not_there_is_refused():
    with pytest.raises(goodness.InputError, match="'mps' is not available here"):
        machine.choose_device("mps")


def test_an_apple_gpu_has_draws_and_memory_of_its_own(monkeypatch):
    seeded, asked = [], []
    monkeypatch.setattr(torch.mps, "manual_seed", seeded.append)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 77)
    monkeypatch.setattr(torch.accelerator, "synchronize", asked.append)
    with torch.random.fork_rng([]):
        seeds.seed_generators(MPS, 5)
    devices.synchronize(MPS)
    devices.synchronize(torch.device("cpu"))
    assert seeded == [5]
    assert asked == [MPS]
    assert machine.peak_memory(MPS) == 77


def test_sums_on_an_apple_gpu_are_in_single_precision():
    assert devices.widest(MPS) == torch.float32
    assert devices.widest(torch.device("cpu")) == torch.float64


class NoFloat64(TorchDispatchMode):
    """Raises where a tensor of double precision comes to be, as on an Apple GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
                raise TypeError(f"{func}: float64 on a device that has none")
        return found


@pytest.fixture
def without_float64(monkeypatch):
    """The CPU as a device that has no double precision."""
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", ("cpu",))


def test_the_check_finds_float64():
    with pytest.raises(TypeError, match="has none"), NoFloat64():
        torch.ones(2).double()


ON_THE_CPU = {"cafo"}
"""Solve for their heads in double precision, which they do on the CPU."""


@pytest.mark.parametrize("method", [m for m in METHODS.names() if m not in ON_THE_CPU])
def test_no_method_needs_float64_to_learn(method, without_float64):
    shape = (1, 8, 8)
    learner = learner_of(tiny_network(method, shape, model=SMALL))
    assert all(v.dtype != torch.float64 for v in learner.network.state_dict().values())
    images, y = random_batch(8, shape)
    totals = EpochMetrics(len(learner.network), torch.device("cpu"))
    learner.step(images, y)  # the first one takes filters from images, and imports
    with NoFloat64():
        totals.add(learner.step(images, y), y)
        learner.network.predict(images)
    assert totals.sums.dtype == torch.float32


def test_difficulties_of_classes_need_no_float64(without_float64):
    learner = learner_of(tiny_network("mono-forward", class_difficulty=1.0))
    assert all(v.dtype != torch.float64 for v in learner.network.state_dict().values())
    with NoFloat64():
        learner.step(*random_batch(8))
        learner.end_epoch()


def test_what_is_solved_in_float64_stays_on_the_cpu_when_it_is_resumed(monkeypatch):
    on = []

    class Told(torch.Tensor):
        def to(self, device):
            on.append(str(device))
            return self

    for dtype in (torch.float32, torch.float64):
        devices.placed(torch.zeros(1, dtype=dtype).as_subclass(Told), MPS)
    assert on == ["mps", "cpu"]


def test_heads_are_solved_for_alike(without_float64):
    objective = LeastSquares(spec_of((3, 4, 4)))
    images, y = random_batch(60, (3, 4, 4), 3)
    objective.observe(images, y)
    assert objective.pending["FtF"].dtype == torch.float64
    objective.end_epoch()
    assert objective.weight.dtype == torch.float32
    assert (objective.scores(images).argmax(1) == y).float().mean() > 0.8


def test_several_processes_do_not_share_an_apple_gpu(monkeypatch):
    from goodness.parallel import joining
    from goodness.parallel.launch import Launch

    monkeypatch.setattr(joining, "launched", lambda: Launch(0, 0, 2))
    monkeypatch.setattr(joining, "set_machine", lambda *_: MPS)
    config = goodness.resolve({"parallel": "data", "device": "mps"})
    with pytest.raises(goodness.InputError, match="used by one process"), joining.join(config):
        pass
