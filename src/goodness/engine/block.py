from __future__ import annotations

from torch import Tensor, nn

from goodness.boundary import Boundary
from goodness.errors import InputError
from goodness.objective import Look, Objective, Spec
from goodness.partition import Piece


class Block(nn.Module):
    """A piece of a network with its own objective.

    ``value = body(x)`` and ``sent = boundary(tail(value))``; the objective is given `see` of the
    value, which is a map (N, C, H, W) in every network.

    Args:
        spec: shapes and place.
        piece: its layers.
        boundary: what else happens to the activation before it is sent on.
        objective: how it is judged; None where the schedule never judges it.
    """

    def __init__(
        self,
        spec: Spec,
        piece: Piece,
        boundary: Boundary,
        objective: Objective | None,
    ) -> None:
        super().__init__()
        self.name = piece.name
        self.spec = spec
        self.body = piece.body
        self.tail = piece.tail
        self.boundary = boundary
        self.objective = objective

    @property
    def path(self) -> tuple[nn.Module, ...]:
        """What a row passes through on its way to the next block."""
        return self.body, self.tail, self.boundary

    def see(self, value: Tensor) -> Tensor:
        """What the body computed as a map (N, C, H, W) in float32, for the objective."""
        # Squares overflow half precision, so that judging always happens in float32.
        return self.spec.judged_view(value).float()

    def send(self, value: Tensor) -> Tensor:
        """What goes on to the next block, of what the body computed, with graph."""
        view = self.spec.sent_view
        return view.gather(self.boundary(view.spread(self.tail(value))))

    def judge(self, value: Tensor) -> Tensor | None:
        """Scores (rows, K) or (rows, 1) in float32, or None without an objective."""
        return None if self.objective is None else self.objective.scores(self.see(value))

    def forward(self, x: Tensor, y: Tensor, look: Look | None = None) -> tuple[Tensor, Tensor]:
        """One local step's forward, for a training loop of your own.

        Args:
            x: the previous block's output (rows, ...), or at first what `Network.present` gives; no
                gradient is sent into it.
            y: labels (N,).
            look: for objectives that read the image or later blocks.

        Returns:
            The block's mean loss, to call ``backward()`` on, and its detached output.

        Raises:
            InputError: the block is never judged, or its objective needs other rows or has to see
                more.
        """
        if self.objective is None:
            raise InputError(f"block '{self.name}' has no objective of its own: use network.step")
        self._check(self.objective, x, y, look)
        x = x.detach()
        entered = self.spec.input_view(x)
        look = Look(entered, entered) if look is None else look
        look.input = entered
        value = self.body(x)
        features = self.see(value)
        loss = self.objective.loss(features, self.objective.scores(features), y, look).mean()
        self.objective.observe(features.detach(), y)
        return loss, self.send(value.detach())

    def _check(self, objective: Objective, x: Tensor, y: Tensor, look: Look | None) -> None:
        """Refuse what the loss would silently take for something else."""
        what = f"block '{self.name}': objective {type(objective).__name__}"
        if objective.paired and len(x) < 2 * len(y):
            raise InputError(
                f"{what} judges positive and negative rows, not {len(x)} for {len(y)} labels (give"
                " the first block network.present(x, y), or use network.step)"
            )
        if objective.looks_ahead and (look is None or not look.ahead):
            raise InputError(
                f"{what} reads every block's scores before the step (use network.step, or give a"
                " look with ahead)"
            )
        if objective.reads_image and look is None:
            raise InputError(f"{what} reads the image (give look=Look(x, image))")
