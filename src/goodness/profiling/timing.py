"""Where the time of a training step goes, block by block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from goodness.profiling.bound import now
from goodness.profiling.memory import LiveBytes
from goodness.profiling.trial import Trial

PHASES = ("forward", "loss", "backward", "output", "update")
"""The body's forward; the objective's forward and backward; the output; the body's backward;
the optimizer's step."""


class BlockTimer:
    """Stamps the time where a block's step goes from one phase to the next, by hooks of torch.

    Where several blocks share a graph, the backward pass is divided where the gradient leaves a
    block, and the update is the last block's.

    Args:
        trial: whose steps are watched.
        memory: told when a block begins, to give every block a peak of its own.
    """

    def __init__(self, trial: Trial, memory: LiveBytes | None = None) -> None:
        self.trial = trial
        self.memory = memory
        self.seconds: list[dict[str, float]] = [defaultdict(float) for _ in trial.network]
        self.peaks = [0] * len(trial.network)
        self._device = trial.x.device
        self._mark = 0.0
        self._reached: int | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the steps made inside."""
        hooks: list[Any] = []
        for index, block in enumerate(self.trial.network):
            hooks += [
                block.body.register_forward_pre_hook(self._begins(index)),
                block.body.register_forward_hook(self._computed(index)),
                block.tail.register_forward_pre_hook(self._judged(index)),
                block.boundary.register_forward_hook(self._sent(index)),
            ]
        owners = {str(s.owner): s.blocks[-1] for s in self.trial.network.plan.segments()}
        for owner, optimizer in self.trial.learner.optimizers.items():
            if owner in owners:
                hooks.append(optimizer.register_step_post_hook(self._updated(owners[owner])))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _spend(self, index: int, phase: str) -> None:
        moment = now(self._device)
        self.seconds[index][phase] += moment - self._mark
        self._mark = moment
        if self.memory is not None:
            self.peaks[index] = max(self.peaks[index], self.memory.peak_activations)
            self.memory.reset()

    def _begins(self, index: int) -> Any:
        def hook(module: nn.Module, given: Any) -> None:
            self._mark = now(self._device)
            self._reached = None

        return hook

    def _computed(self, index: int) -> Any:
        def hook(module: nn.Module, given: Any, value: Tensor) -> None:
            self._spend(index, "forward")
            if value.requires_grad:
                value.register_hook(self._pulled_back(index))

        return hook

    def _pulled_back(self, index: int) -> Any:
        """The gradient has come to a block's end: what follows is its own backward pass."""

        def hook(gradient: Tensor) -> None:
            if self._reached is None:
                self._spend(index, "loss")
            else:
                self._spend(self._reached, "backward")
            self._reached = index

        return hook

    def _judged(self, index: int) -> Any:
        """A segment's last block gives its output when the gradients are there."""

        def hook(module: nn.Module, given: Any) -> None:
            if self._reached is None:
                self._spend(index, "loss")
            else:
                self._spend(self._reached, "backward")

        return hook

    def _sent(self, index: int) -> Any:
        def hook(module: nn.Module, given: Any, value: Tensor) -> None:
            self._spend(index, "output")

        return hook

    def _updated(self, index: int) -> Any:
        def hook(*_: Any) -> None:
            self._spend(index, "update")

        return hook


def block_seconds(trial: Trial, steps: int) -> tuple[list[dict[str, float]], float]:
    """Mean seconds per block and phase, and of a whole step.

    Args:
        trial: one step is made before.
        steps: that are watched.
    """
    trial.step()
    timer = BlockTimer(trial)
    with timer.watching():
        whole = sum(trial.step() for _ in range(steps))
    found = [{phase: block[phase] / steps for phase in PHASES} for block in timer.seconds]
    return found, whole / steps


def block_peaks(trial: Trial) -> list[int]:
    """Most bytes of activations alive while each block learns, gradients left out."""
    trial.step()
    with LiveBytes(trial.network.parameters()) as memory:
        timer = BlockTimer(trial, memory)
        with timer.watching():
            trial.step()
    return timer.peaks
