"""Data-parallel training: every rank has the whole network and its share of each batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from goodness.clock import Clock
from goodness.engine.learner import Learner, Report
from goodness.engine.network import Network
from goodness.engine.ranks import GO_ON, State
from goodness.engine.seeds import mix
from goodness.engine.totals import Totals
from goodness.errors import InputError
from goodness.objective import Objective
from goodness.parallel.group import Group, begun
from goodness.parallel.members import Members


class DataRanks(Members):
    """Ranks that all train the whole network, each on its own rows, with averaged gradients.

    Args:
        group: the processes.
    """

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self.resumes_totals = self.leads

    def learner(self, network: Network, class_weights: Tensor | None) -> Learner:
        """What trains the network on this rank's rows.

        Raises:
            InputError: a batch that cannot be divided evenly, or an objective that has to see
                every image of an epoch.
        """
        size = network.config.batch_size
        if size % self.count:
            raise InputError(
                f"--parallel data: batch size {size} cannot be divided by {self.count} ranks"
                f" (use --batch-size {-(-size // self.count) * self.count})"
            )
        for block in network:
            if block.objective is not None and (
                type(block.objective).end_epoch is not Objective.end_epoch
            ):
                raise InputError(
                    f"--parallel data: objective '{network.config.objective['name']}' sums over"
                    " all images of an epoch, of which a rank sees a part (use --parallel layers)"
                )
        if self.group.rank:
            # Alike on all ranks, different images would share their dropout masks.
            network.noise_seed = mix(network.config.seed, "rank", self.group.rank)
        return DataLearner(network, class_weights, self)

    def share(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's rows; the batch is the one that a single process would have."""
        rank = self.group.rank
        return x.chunk(self.count)[rank], y.chunk(self.count)[rank]

    def gather(self, learner: Learner, totals: Totals) -> State:
        """The totals of all ranks, added up; rank 0's weights, which are everybody's."""
        sums = self.group.gather(totals.sums.cpu())
        return State(*learner.state(), torch.stack(sums).sum(0) if sums else totals.sums)


class _Reduction(NamedTuple):
    """Gradients of one owner on their way."""

    owner: str
    rate: float
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

    def __init__(self, network: Network, class_weights: Tensor | None, ranks: DataRanks) -> None:
        super().__init__(network, class_weights)
        self._ranks = ranks
        self._group = ranks.group
        self._reductions: list[_Reduction] = []

    def _step(self, image: Tensor, y: Tensor, clock: Clock, first: int) -> Report:
        decision = torch.tensor([self._ranks.wish() if self._ranks.leads else GO_ON])
        with self._group.joint():
            telling = begun(dist.broadcast(decision, 0, async_op=True))
        report = super()._step(image, y, clock, first)
        with self._group.joint():
            telling.wait()
        self._ranks.decision = int(decision)
        return report

    def _apply(self, owner: str, rate: float) -> None:
        """Begin to average the gradients; the update follows when they have come."""
        # Which parameters have one is decided by the plan and the layers, alike on all ranks.
        parameters = [p for p in self.parameters.get(owner, []) if p.grad is not None]
        if not parameters:
            super()._apply(owner, rate)
            return
        bucket = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
        with self._group.joint():
            work = begun(dist.all_reduce(bucket.div_(self._ranks.count), async_op=True))
        self._reductions.append(_Reduction(owner, rate, parameters, bucket, work))
        while self._reductions and self._reductions[0].work.is_completed():
            self._update(self._reductions.pop(0))

    def _settle(self) -> None:
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
        super()._apply(reduction.owner, reduction.rate)
