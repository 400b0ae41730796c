from __future__ import annotations

from typing import TypeVar

from goodness.engine.ranks import GO_ON, Ranks
from goodness.engine.run_folder import RunFolder
from goodness.parallel.group import Group

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
        self.leads = group.rank == 0
        self.command = group.command
        self.decision = GO_ON
        """What rank 0 has told all during the last step."""

    def decide(self) -> int:
        """What rank 0 has told all during the step."""
        return self.decision

    def tell(self, value: T) -> T:
        """Rank 0's value."""
        told: T = self.group.tell(value)
        return told

    def kept_in(self, run: RunFolder) -> None:
        """Note the folder for what is said when a rank is lost."""
        self.group.run = run
