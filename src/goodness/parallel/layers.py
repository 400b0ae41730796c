"""Layer-parallel training: a pipeline through which activations flow forward, and nothing back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from goodness.clock import Clock
from goodness.engine.learner import Flow, Learner, Report
from goodness.engine.network import Network
from goodness.engine.ranks import State
from goodness.engine.totals import Totals
from goodness.errors import InputError
from goodness.parallel.balance import cuts, loads
from goodness.parallel.channel import Receiver, Sender
from goodness.parallel.group import Group
from goodness.parallel.members import Members
from goodness.partition.balanced import balanced


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

    def learner(self, network: Network, class_weights: Tensor | None) -> Learner:
        """What trains this rank's blocks.

        Raises:
            InputError: the network cannot be cut for so many ranks.
        """
        _check(network, self.count)
        blocks = balanced(loads(network), cuts(network), self.count)[self.group.rank]
        objectives = [network[index].objective for index in blocks]
        self.reads_images = self.leads or any(o is not None and o.reads_image for o in objectives)
        return LayerLearner(network, class_weights, blocks, self)

    def gather(self, learner: Learner, totals: Totals) -> State:
        """Weights, averaged weights and optimizers from every rank; totals from the last one."""
        own = State(*learner.state(), totals.sums)
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
        self, network: Network, class_weights: Tensor | None, blocks: range, ranks: LayerRanks
    ) -> None:
        super().__init__(network, class_weights, blocks)
        self._ranks = ranks
        group = ranks.group
        self._before = None if ranks.leads else Receiver(group, group.rank - 1)
        self._behind = None if self.ends_here else Sender(group, group.rank + 1)

    def _step(self, image: Tensor, y: Tensor, clock: Clock, first: int) -> Report:
        self.network.train()
        flow = self._run(self._begin(image, y, clock, first), image, y, clock, first)
        if self._ranks.leads:
            self._ranks.decision = self._ranks.wish()
        if self._behind is None:
            report = self._end(flow, y, clock)
        else:
            self._behind.send(self._ranks.decision, flow.tensors())
            left: list[None] = [None] * (len(self.network) - self.blocks.stop)
            report = Report([*flow.losses, *left], [*flow.scores, *left])
        self._close(clock)
        return report

    def _begin(self, image: Tensor, y: Tensor, clock: Clock, first: int = 0) -> Flow:
        if self._before is None:
            return super()._begin(image, y, clock, first)
        # Between epochs all ranks meet, so that nothing may be on its way.
        more = (clock.step + 1) % clock.steps_per_epoch != 0
        self._ranks.decision, tensors = self._before.receive(more)
        return Flow.of(tensors, self.blocks.start, list(self._learning(clock)))


def _on_cpu(state: State) -> tuple[dict[str, Tensor], dict[str, Any], Tensor]:
    return {k: v.cpu() for k, v in state.tensors.items()}, state.plain, state.sums.cpu()


def _check(network: Network, ranks: int) -> None:
    """What a pipeline cannot do.

    Raises:
        InputError: saying why, and what would do.
    """
    config = network.config
    ways = "use --parallel data, or one process"
    ahead = next((b for b in network if b.objective is not None and b.objective.looks_ahead), None)
    if ahead is not None:
        raise InputError(
            f"--parallel layers: objective '{config.objective['name']}' of block '{ahead.name}'"
            f" reads what later blocks say before the step, which other ranks hold ({ways})"
        )
    if config.amp == "fp16":
        raise InputError(
            "--parallel layers: fp16 scales the losses of all blocks by one factor that ranks do"
            " not share (use --amp bf16)"
        )
    parts = len(cuts(network)) + 1
    if ranks > parts:
        reason = (
            "there are no more blocks"
            if parts == len(network)
            else "several blocks learn from one loss, whose gradient cannot cross ranks"
        )
        raise InputError(
            f"--parallel layers: {ranks} ranks, but the {len(network)} blocks of method"
            f" '{config.method}' make {parts} parts at most: {reason} ({ways})"
        )
