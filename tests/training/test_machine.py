from __future__ import annotations

import pytest
import torch

from goodness.training import machine


@pytest.mark.parametrize(("name", "made_current"), [("cuda:1", True), ("cuda", False)])
def test_a_gpu_chosen_by_number_becomes_the_current_one(monkeypatch, name, made_current):
    current = []
    monkeypatch.setattr(machine, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)

    device = machine.set_machine(name, None)

    assert device == torch.device(name)
    assert current == ([device] if made_current else [])
