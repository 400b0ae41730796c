from __future__ import annotations

from typing import TypeVar

from goodness.parallel.group import Group
from goodness.training.ranks import CONTINUE, Ranks
from goodness.training.run_folder import RunFolder

T = TypeVar("T")


class Members(Ranks):
    """What ranks have in common, however they share the work.

    Args:
        group: the processes.
    """

    def __init__(self, group: Group) -> None:
        super().__init__(group.device)
        self.group = group
        self.count = group.count
        self.is_leader = group.rank == 0
        self.command = group.command
        self.decision = CONTINUE
        """What rank 0 has broadcast all during the last step."""

    def decide(self) -> int:
        """What rank 0 has broadcast all during the step."""
        return self.decision

    def broadcast(self, value: T) -> T:
        """Rank 0's value."""
        told: T = self.group.broadcast(value)
        return told

    def set_run(self, run: RunFolder) -> None:
        """Note the folder for what is said when a rank is lost."""
        self.group.run = run
