"""What all tests share: one thread, no network, and the smallest useful networks."""

from __future__ import annotations

import os
import socket

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"

import pytest
import torch

torch.set_num_threads(1)

LOCAL = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """A test that reaches out fails here as it would on a machine without a network."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise OSError(f"tests do not use the network (asked for {address[0]})")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def batch():
    """``batch(count, shape, classes)``: random images with every class in turn as labels."""

    def make(count, shape, classes, seed=0):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn((count, *shape), generator=generator)
        return images, torch.arange(count) % classes

    return make
