from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodness.loggers.base import LOGGERS, Logger

if TYPE_CHECKING:
    from goodness.results import EpochRow, Result


@LOGGERS.register("tensorboard")
class TensorBoard(Logger):
    """Events in ``tensorboard/`` in the run folder: scalars, and two texts."""

    package = "tensorboard"

    def begin(self, folder: Path, config: Mapping[str, Any], history: Sequence[EpochRow]) -> None:
        """Open the events; what an interrupted run wrote from its last epoch on is hidden."""
        from torch.utils.tensorboard import SummaryWriter  # late: it takes a second

        self._hook = threading.excepthook
        threading.excepthook = self._said_at_the_next_write
        try:
            writer = SummaryWriter(str(folder / "tensorboard"), purge_step=max(len(history), 1))
            self._writer = writer
            if not history:
                self._text("config", config)
        except OSError:
            threading.excepthook = self._hook
            raise

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """One point per curve, over epochs."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def summarise(self, result: Result) -> None:
        """The result as a text."""
        self._text("result", result.to_json())

    def close(self, finished: bool) -> None:
        """Close the events."""
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._hook

    def _said_at_the_next_write(self, failed: threading.ExceptHookArgs) -> None:
        """Its thread keeps what has failed there, a full disk say, and raises it once more here."""
        if not type(failed.thread).__module__.startswith("tensorboard."):
            self._hook(failed)

    def _text(self, name: str, content: Mapping[str, Any]) -> None:
        # Markdown, which shows what is indented by four as it stands.
        text = json.dumps(content, indent=1)
        self._writer.add_text(name, "".join(f"    {line}\n" for line in text.splitlines()))
