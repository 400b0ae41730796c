"""What happens to gradients between a backward pass and an update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from goodness.config import Config


class Gradients:
    """Loss scaling for fp16, averaging over steps, and clipping, per owner.

    Args:
        parameters: what each optimizer updates.
        config: ``amp``, ``accumulate_steps`` and ``clip_grad_norm``.
        device: of the parameters.
    """

    def __init__(
        self,
        parameters: Mapping[str, Sequence[nn.Parameter]],
        config: Config,
        device: torch.device,
    ) -> None:
        self._parameters = parameters
        self._count = config.accumulate_steps
        self._clip = config.clip_grad_norm
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self._held: dict[str, dict[int, Tensor]] = {owner: {} for owner in parameters}
        self._steps = dict.fromkeys(parameters, 0)
        self._applied = False
        self.scales = self._scaler.is_enabled()
        """Whether losses are multiplied by anything."""

    def scale(self, loss: Tensor) -> Tensor:
        """The loss times a factor that keeps half precision's gradients from vanishing."""
        return self._scaler.scale(loss)

    def scaled(self, factor: Tensor | None, rows: Tensor) -> Tensor:
        """The same for losses that are multiplied by ``factor``; None is 1."""
        return self._scaler.scale(torch.ones((), device=rows.device) if factor is None else factor)

    def apply(self, owner: str, optimizer: torch.optim.Optimizer) -> None:
        """Update by the gradients that a backward pass has left, or keep them for later.

        With fp16 an update whose gradients overflowed is left out.
        """
        if self._count > 1:
            self._hold(owner)
            if self._steps[owner] < self._count:
                return
            self._give(owner)
        if all(parameter.grad is None for parameter in self._parameters[owner]):
            return  # nothing was learnt, and a loss scale cannot be checked by nothing
        self._scaler.unscale_(optimizer)
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters[owner], self._clip)
        self._scaler.step(optimizer)
        optimizer.zero_grad(set_to_none=True)
        self._applied = True

    def end_step(self) -> None:
        """Adapt the loss scale."""
        if self._applied:
            self._scaler.update()
        self._applied = False

    def _hold(self, owner: str) -> None:
        held = self._held[owner]
        scale = self._scaler.get_scale()  # waits for a GPU; it may change before the update
        for place, parameter in enumerate(self._parameters[owner]):
            if parameter.grad is not None:
                own = parameter.grad if scale == 1 else parameter.grad.div_(scale)
                held[place] = held[place].add_(own) if place in held else own
                parameter.grad = None
        self._steps[owner] += 1

    def _give(self, owner: str) -> None:
        factor = self._scaler.get_scale() / self._count
        for place, total in self._held[owner].items():
            self._parameters[owner][place].grad = total.mul_(factor)
        self._held[owner] = {}
        self._steps[owner] = 0

    def state(self) -> dict[str, Any]:
        """Gradients that wait, as ``owner/place``, and the loss scale."""
        state: dict[str, Any] = dict(self._scaler.state_dict())
        state = {f"scaler/{key}": value for key, value in state.items()}
        for owner, held in self._held.items():
            state |= {f"{owner}/{place}": total for place, total in held.items()}
            if self._steps[owner]:
                state[f"steps/{owner}"] = self._steps[owner]
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; of owners that are not known here it may be more."""
        # What waits here belongs to another history.
        self._held = {owner: {} for owner in self._parameters}
        self._steps = dict.fromkeys(self._parameters, 0)
        scaler: dict[str, Any] = {}
        for place, value in state.items():
            owner, _, key = place.partition("/")
            if owner == "scaler":
                scaler[key] = value
            elif owner == "steps" and key in self._steps:
                self._steps[key] = value
            elif owner in self._parameters:
                parameter = self._parameters[owner][int(key)]
                self._held[owner][int(key)] = torch.empty_like(parameter).copy_(value)
        if scaler:
            self._scaler.load_state_dict(scaler)
