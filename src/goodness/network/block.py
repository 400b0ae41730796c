from __future__ import annotations

from torch import Tensor, nn

from goodness.boundary import Boundary
from goodness.objective import BlockSpec, Objective
from goodness.partition import Piece, View


class Block(nn.Module):
    """A piece of a network with its own objective.

    ``value = body(x)``; ``features(value)``, a map (N, C, H, W) in every network, is what the
    objective is given, and ``output(value) = boundary(tail(value))`` what the next block gets.

    Args:
        spec: shapes and place.
        piece: its layers.
        boundary: what else happens to the activation before it goes on.
        objective: its loss and scores; None where the plan gives it no loss of its own.
    """

    def __init__(
        self, spec: BlockSpec, piece: Piece, boundary: Boundary, objective: Objective | None
    ) -> None:
        super().__init__()
        self.name = piece.name
        self.spec = spec
        self.body = piece.body
        self.tail = piece.tail
        self.boundary = boundary
        self.objective = objective
        # Most values are maps already.
        self._maps_in, self._maps, self._maps_out = (
            type(view) is View for view in (spec.input_view, spec.feature_view, spec.output_view)
        )

    @property
    def path(self) -> tuple[nn.Module, ...]:
        """What a row passes through on its way to the next block."""
        return self.body, self.tail, self.boundary

    def forward(self, x: Tensor) -> Tensor:
        """The block's output for rows ``x``, with graph."""
        return self.output(self.body(x))

    def input(self, x: Tensor) -> Tensor:
        """What enters the block as a map (N, C, H, W)."""
        return x if self._maps_in else self.spec.input_view(x)

    def features(self, value: Tensor) -> Tensor:
        """What the body computed as a map (N, C, H, W) in float32, for the objective."""
        # Squares overflow half precision, so that losses are always computed in float32.
        return (value if self._maps else self.spec.feature_view(value)).float()

    def output(self, value: Tensor) -> Tensor:
        """What goes on to the next block, of what the body computed, with graph."""
        if self._maps_out:
            return self.boundary(self.tail(value))
        view = self.spec.output_view
        return view.gather(self.boundary(view.spread(self.tail(value))))

    def scores(self, value: Tensor) -> Tensor | None:
        """Scores (rows, K) or (rows, 1) in float32, or None without an objective."""
        return None if self.objective is None else self.objective.scores(self.features(value))
