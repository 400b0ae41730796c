from __future__ import annotations

from torch import Tensor, nn

from goodness.boundary import Boundary
from goodness.objective import Look, Objective, Spec


class Block(nn.Module):
    """A piece of a network with its own objective.

    ``judged = body(x)`` and ``sent = boundary(tail(judged))``.

    Args:
        name: its first layer's name.
        spec: shapes and place.
        body: layers up to the activation that is judged.
        tail: pooling behind it.
        boundary: what else happens to the activation before it is sent on.
        objective: how it is judged; None where the schedule never judges it.
    """

    def __init__(
        self,
        name: str,
        spec: Spec,
        body: nn.Module,
        tail: nn.Module,
        boundary: Boundary,
        objective: Objective | None,
    ) -> None:
        super().__init__()
        self.name = name
        self.spec = spec
        self.body = body
        self.tail = tail
        self.boundary = boundary
        self.objective = objective

    def send(self, judged: Tensor) -> Tensor:
        """What goes on to the next block, (N, C', H', W'), with graph."""
        return self.boundary(self.tail(judged))

    def judge(self, judged: Tensor) -> Tensor | None:
        """Scores (rows, K) or (rows, 1) in float32, or None without an objective."""
        # Squares overflow half precision, so that judging always happens in float32.
        return None if self.objective is None else self.objective.scores(judged.float())

    def forward(self, x: Tensor, y: Tensor, look: Look | None = None) -> tuple[Tensor, Tensor]:
        """One local step's forward, for a training loop of your own.

        Args:
            x: the previous block's output (rows, C, H, W); no gradient is sent into it.
            y: labels (N,).
            look: for objectives that read the image or later blocks.

        Returns:
            The block's mean loss, to call ``backward()`` on, and its detached output.
        """
        if self.objective is None:
            raise ValueError(f"block '{self.name}' has no objective of its own")
        x = x.detach()
        look = Look(x, x) if look is None else look
        look.input = x
        judged = self.body(x)
        features = judged.float()
        loss = self.objective.loss(features, self.objective.scores(features), y, look).mean()
        self.objective.observe(features.detach(), y)
        return loss, self.send(judged.detach())
