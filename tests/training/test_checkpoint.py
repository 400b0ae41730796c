from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from goodness.checksums import opened, write_sealed
from goodness.errors import InputError
from goodness.training import checkpoint
from helpers import copied, same


def content(value):
    return {"step": value}, {
        "network": {"w": torch.full((3, 2), float(value))},
        "optimizers": {"m": torch.full((2,), float(value))},
    }


def save(folder, value):
    checkpoint.save(folder, *content(value))


def value_of(folder):
    """The one value everything in the checkpoint agrees on."""
    meta, groups = checkpoint.load(folder, "network", "optimizers")
    values = {meta["step"], *groups["network"]["w"].flatten().tolist()}
    values |= set(groups["optimizers"]["m"].tolist())
    assert len(values) == 1, "a mixture of two checkpoints"
    return values.pop()


def test_round_trip_of_tensors_and_json(tmp_path):
    tensors = {
        "float": torch.randn(2, 3),
        "half": torch.randn(4).bfloat16(),
        "step": torch.tensor(5.0),
        "count": torch.tensor([1, 2]),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    meta = {"step": 3, "nested": {"list": [1, None, "x"]}}

    checkpoint.save(tmp_path / "last", meta, {"network": tensors, "empty": {}})
    found, groups = checkpoint.load(tmp_path / "last", "network", "empty")

    assert found.pop("files").keys() == {"network.safetensors", "empty.safetensors"}
    assert found == {"schema": checkpoint.SCHEMA, **meta}
    assert groups["empty"] == {}
    assert groups["network"].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert groups["network"][name].dtype == tensor.dtype
        assert torch.equal(groups["network"][name], tensor)


def test_it_is_a_folder_of_safetensors_and_json_that_the_next_one_replaces(tmp_path):
    for value in (3, 2, 1):
        save(tmp_path / "last", value)
    assert value_of(tmp_path / "last") == 1

    files = sorted(path.name for path in (tmp_path / "last").iterdir())
    assert files == ["network.safetensors", "optimizers.safetensors", "state.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert json.loads((tmp_path / "last" / "state.json").read_text())["step"] == 1
    for name in files[:2]:
        # safetensors: the length of a JSON header, then that header.
        raw = (tmp_path / "last" / name).read_bytes()
        assert json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])


class Crash(BaseException):
    """The process ends here: nothing after it runs, no clean-up either."""


STEPS = [
    (checkpoint, "save_file"),
    (checkpoint, "_flush"),
    (Path, "mkdir"),
    (Path, "write_text"),
    (Path, "rename"),
    (shutil, "rmtree"),
]


def save_and_crash(monkeypatch, folder, value, at, when):
    """Crash ``when`` ("before" or "after") the ``at``-th operation of a save; False if fewer."""
    calls = 0
    with monkeypatch.context() as patch:
        for owner, name in STEPS:
            original = getattr(owner, name)

            def operation(*args, original=original, **options):
                nonlocal calls
                calls += 1
                if calls > at:  # a dead process does nothing more
                    raise Crash
                if calls == at and when == "before":
                    raise Crash
                result = original(*args, **options)
                if calls == at:
                    raise Crash
                return result

            patch.setattr(owner, name, operation)
        try:
            save(folder, value)
        except Crash:
            return True
    return False


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_moment_leaves_the_old_or_the_new_one_whole(when, monkeypatch, tmp_path):
    outcomes = []
    at = 1
    while True:
        folder = tmp_path / str(at) / "last"
        save(folder, 1)
        if not save_and_crash(monkeypatch, folder, 2, at, when):
            break
        outcomes.append(value_of(folder))
        save(folder, 3)  # and the next save works
        assert value_of(folder) == 3
        assert [path.name for path in folder.parent.iterdir()] == ["last"]
        at += 1

    assert len(outcomes) > 8
    # First the old one, from some moment on the new one.
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {1, 2}


def test_two_crashes_in_a_row_keep_a_checkpoint(monkeypatch, tmp_path):
    for first in range(1, 15):
        for second in range(1, 15, 3):
            folder = tmp_path / f"{first}-{second}" / "last"
            save(folder, 1)
            save_and_crash(monkeypatch, folder, 2, first, "before")
            save_and_crash(monkeypatch, folder, 3, second, "before")
            assert value_of(folder) in (1, 2, 3)


def test_a_crash_in_the_very_first_save_leaves_none(monkeypatch, tmp_path):
    assert save_and_crash(monkeypatch, tmp_path / "last", 1, 3, "before")

    assert checkpoint.find(tmp_path / "last") is None
    with pytest.raises(InputError, match="no checkpoint"):
        checkpoint.load(tmp_path / "last")


def test_a_full_disk_keeps_the_old_one_and_leaves_no_litter(monkeypatch, tmp_path):
    save(tmp_path / "last", 1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path / "last", 2)

    assert value_of(tmp_path / "last") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize("keep", [0, 4, 20, -1, None])
def test_a_truncated_or_missing_file_is_named(keep, tmp_path):
    save(tmp_path / "last", 1)
    path = tmp_path / "last" / "network.safetensors"
    if keep is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:keep])

    how = "missing" if keep is None else "damaged: its checksum does not fit"
    with pytest.raises(InputError, match=rf"network\.safetensors' is {how}"):
        checkpoint.load(tmp_path / "last", "network")
    checkpoint.load(tmp_path / "last", "optimizers")


NEWER = json.dumps({"schema": checkpoint.SCHEMA + 1})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, r"damaged: state\.json") for text in ("", '{"schema": 1, "st', "[]", "{}", "3")),
        (NEWER, "upgrade goodness"),
    ],
)
def test_damaged_or_newer_json_is_named(text, words, tmp_path):
    save(tmp_path / "last", 1)
    (tmp_path / "last" / "state.json").write_text(text)

    with pytest.raises(InputError, match=words):
        checkpoint.load(tmp_path / "last")


@pytest.mark.parametrize(
    "odd",
    [
        *(
            {"blocks": [3]},
            {"blocks": {}},
            {"best": 1},
            {"best": {"readout": 3}},
            {"best": {"epoch": 1}},
            {"step": "x"},
        ),
        *({"preprocessing": None}, {"seconds": "1"}),
    ],
    ids=str,
)
def test_values_of_a_wrong_kind_are_refused_though_checksums_fit(odd, tmp_path):
    checkpoint.save(tmp_path / "last", odd, {"network": {"w": torch.zeros(1)}})
    with pytest.raises(InputError, match=r"damaged: state\.json cannot be read"):
        checkpoint.load(tmp_path / "last", "network")


def test_a_list_of_files_of_a_wrong_kind_is_refused_though_its_checksum_fits(tmp_path):
    save(tmp_path / "last", 1)
    state = tmp_path / "last" / "state.json"
    write_sealed(state, {**opened(json.loads(state.read_text())), "files": "1e9"})
    with pytest.raises(InputError, match=r"damaged: state\.json cannot be read"):
        checkpoint.load(tmp_path / "last", "network")


class Model(nn.Linear):
    """As much of a network as a checkpoint needs to know."""

    def __init__(self, rows, columns, bias=True, grid=1):
        super().__init__(rows, columns, bias)
        self.grid = grid

    def facts(self):
        return [{"grid": self.grid}]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Model(3, 4), r"'weight' is \(2, 3\) there, \(4, 3\) here"),
        (Model(3, 2, bias=False), r"'bias' is \(2,\) there, missing here"),
        (Model(3, 2, grid=4), r"\{'grid': 1\} is not \{'grid': 4\}"),
    ],
)
def test_weights_of_another_model_are_refused(other, words, tmp_path):
    kept = Model(3, 2)
    groups = {"network": kept.state_dict()}
    checkpoint.save(tmp_path / "last", {"blocks": kept.facts()}, groups)
    before = copied(other.state_dict())

    with pytest.raises(InputError, match=f"another model: {words}"):
        checkpoint.load_network(tmp_path / "last", other)
    assert same(other.state_dict(), before)
