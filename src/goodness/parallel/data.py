"""Data-parallel training: every rank has the whole network and its share of each batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from goodness.checks import check_data_ranks
from goodness.clock import Clock
from goodness.learning.learner import Learner, PipelineState, StepResult
from goodness.network.network import Network
from goodness.parallel.group import Group, begun
from goodness.parallel.members import Members
from goodness.seeds import mix
from goodness.training.epoch_metrics import EpochMetrics
from goodness.training.ranks import CONTINUE, State


class DataRanks(Members):
    """Ranks that all train the whole network, each on its own rows, with averaged gradients.

    Args:
        group: the processes.
    """

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self.resumes_totals = self.is_leader

    def learner(self, network: Network, class_weights: Tensor | None, run: Clock) -> Learner:
        """What trains the network on this rank's rows; see `check_data_ranks`."""
        check_data_ranks(network, self.count)
        if self.group.rank:
            # Alike on all ranks, different images would share their dropout masks.
            network.noise_seed = mix(network.config.seed, "rank", self.group.rank)
        return DataLearner(network, class_weights, run, self)

    def share(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's rows; the batch is the one that a single process would have."""
        rank = self.group.rank
        return x.chunk(self.count)[rank], y.chunk(self.count)[rank]

    def gather(self, learner: Learner, totals: EpochMetrics) -> State:
        """The totals of all ranks, added up; rank 0's weights, which are everybody's."""
        sums = self.group.gather(totals.sums.cpu())
        own = State.of(learner, totals)
        return own._replace(sums=torch.stack(sums).sum(0)) if sums else own


class _Reduction(NamedTuple):
    """Gradients of one owner on their way."""

    owner: str
    clock: Clock
    parameters: list[nn.Parameter]
    bucket: Tensor
    work: dist.Work


class DataLearner(Learner):
    """Averages every segment's gradients over the ranks while the next segment computes.

    Args:
        network: the whole one.
        class_weights: as for `Learner`.
        ranks: who takes part.
    """

    def __init__(
        self, network: Network, class_weights: Tensor | None, run: Clock, ranks: DataRanks
    ) -> None:
        super().__init__(network, class_weights, run=run)
        self._ranks = ranks
        self._group = ranks.group
        self._reductions: list[_Reduction] = []

    def receive(self, images: Tensor, y: Tensor, clock: Clock, first: int) -> PipelineState:
        """What enters the first block; what rank 0 decides is on its way meanwhile."""
        request = self._ranks.request() if self._ranks.is_leader else CONTINUE
        self._decision = torch.tensor([request])
        with self._group.joint():
            self._broadcast = begun(dist.broadcast(self._decision, 0, async_op=True))
        return super().receive(images, y, clock, first)

    def deliver(self, state: PipelineState, y: Tensor, clock: Clock) -> StepResult:
        """The readouts learn, and the decision has come."""
        result = super().deliver(state, y, clock)
        with self._group.joint():
            self._broadcast.wait()
        self._ranks.decision = int(self._decision)
        return result

    def apply(self, owner: str, clock: Clock) -> None:
        """Begin to average the gradients; the update follows when they have come."""
        # Which parameters have one is decided by the plan and the layers, alike on all ranks.
        parameters = [p for p in self.parameters.get(owner, []) if p.grad is not None]
        if not parameters:
            super().apply(owner, clock)
            return
        bucket = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
        with self._group.joint():
            work = begun(dist.all_reduce(bucket.div_(self._ranks.count), async_op=True))
        self._reductions.append(_Reduction(owner, clock, parameters, bucket, work))
        while self._reductions and self._reductions[0].work.is_completed():
            self._update(self._reductions.pop(0))

    def settle(self) -> None:
        """Wait for the averages and update by them."""
        while self._reductions:
            self._update(self._reductions.pop(0))

    def _update(self, reduction: _Reduction) -> None:
        with self._group.joint():
            reduction.work.wait()
        sizes = [p.numel() for p in reduction.parameters]
        for parameter, mean in zip(
            reduction.parameters, reduction.bucket.split(sizes), strict=True
        ):
            assert parameter.grad is not None
            parameter.grad.copy_(mean.view_as(parameter.grad))
        super().apply(reduction.owner, reduction.clock)
