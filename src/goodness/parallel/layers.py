"""Layer-parallel training: a pipeline through which activations flow forward, and nothing back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from goodness.checks import check_layer_ranks
from goodness.clock import Clock
from goodness.learning.learner import Learner, PipelineState, StepResult
from goodness.network.network import Network
from goodness.parallel.balance import cuts, loads
from goodness.parallel.channel import Receiver, Sender
from goodness.parallel.group import Group
from goodness.parallel.members import Members
from goodness.partition.balanced import balanced
from goodness.training.epoch_metrics import EpochMetrics
from goodness.training.ranks import State


class LayerRanks(Members):
    """Ranks that train consecutive blocks each.

    A block learns from what the blocks before it computed before their own updates, so that a
    later rank needs nothing but their activations: the result is that of one process, bit for bit.
    Every rank holds the whole network; inside an epoch only its own blocks are those of the run.

    Args:
        group: the processes.
    """

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        # The flow that arrives at the last rank has the losses and scores of all blocks.
        self.resumes_totals = group.rank == group.count - 1

    def learner(self, network: Network, class_weights: Tensor | None, run: Clock) -> Learner:
        """What trains this rank's blocks; see `check_layer_ranks`."""
        check_layer_ranks(network, self.count, len(cuts(network)) + 1)
        blocks = balanced(loads(network), cuts(network), self.count)[self.group.rank]
        objectives = [network[index].objective for index in blocks]
        self.reads_images = self.is_leader or any(
            o is not None and o.needs_images for o in objectives
        )
        return LayerLearner(network, class_weights, blocks, run, self)

    def gather(self, learner: Learner, totals: EpochMetrics) -> State:
        """Weights, averaged weights and optimizers from every rank; totals from the last one."""
        own = State.of(learner, totals)
        mine = {n: v.cpu() for n, v in learner.network.state_dict().items() if learner.holds(n)}
        everything = self.group.gather((mine, *_on_cpu(own)))
        for weights, tensors, plain, sums in everything[1:]:
            learner.network.load_state_dict(weights, strict=False)
            learner.load_averaged(tensors)
            own = State({**own.tensors, **tensors}, {**own.plain, **plain}, sums)
        return own


class LayerLearner(Learner):
    """A stage of the pipeline: takes a flow from the rank before and hands it to the next one.

    Args:
        network: the whole one, of which only some blocks are trained here.
        class_weights: as for `Learner`.
        blocks: those.
        ranks: the stages.
    """

    def __init__(
        self,
        network: Network,
        class_weights: Tensor | None,
        blocks: range,
        run: Clock,
        ranks: LayerRanks,
    ) -> None:
        super().__init__(network, class_weights, blocks, run)
        self._ranks = ranks
        group = ranks.group
        self._before = None if ranks.is_leader else Receiver(group, group.rank - 1)
        self._behind = None if self.ends_here else Sender(group, group.rank + 1)

    def receive(self, images: Tensor, y: Tensor, clock: Clock, first: int) -> PipelineState:
        """What the rank before has delivered."""
        if self._before is None:
            return super().receive(images, y, clock, first)
        # Between epochs all ranks meet, so that nothing may be on its way.
        more = (clock.step + 1) % clock.steps_per_epoch != 0
        self._ranks.decision, tensors = self._before.receive(more)
        return PipelineState.of(tensors, self.blocks.start, list(self.learning_readouts(clock)))

    def deliver(self, state: PipelineState, y: Tensor, clock: Clock) -> StepResult:
        """Hand on to the next rank; the last one trains the readouts."""
        if self._ranks.is_leader:
            self._ranks.decision = self._ranks.request()
        if self._behind is None:
            return super().deliver(state, y, clock)
        self._behind.send(self._ranks.decision, state.tensors())
        left: list[None] = [None] * (len(self.network) - self.blocks.stop)
        return StepResult([*state.losses, *left], [*state.scores, *left])


def _on_cpu(state: State) -> tuple[dict[str, Tensor], dict[str, Any], Tensor]:
    return {k: v.cpu() for k, v in state.tensors.items()}, state.plain, state.sums.cpu()
