from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodness.loggers.base import LOGGERS, Logger, flat, known_as, remember, summary

if TYPE_CHECKING:
    from goodness.results import EpochRow, Result


@LOGGERS.register("mlflow")
class MLflow(Logger):
    """MLflow: a run named as the run folder, in $MLFLOW_EXPERIMENT_NAME at $MLFLOW_TRACKING_URI.

    Without these variables MLflow's own defaults hold, which are local. Inside another active run
    it is a child of that. A resumed run goes on with the same MLflow run.
    """

    package = "mlflow"

    def __init__(self) -> None:
        super().__init__()
        self.failures = (self.module.exceptions.MlflowException,)

    def begin(self, folder: Path, config: Mapping[str, Any], history: Sequence[EpochRow]) -> None:
        """Open the run, with the configuration as its parameters and as a file."""
        mlflow, known = self.module, known_as(folder, "mlflow")
        nested = mlflow.active_run() is not None
        if known is not None:
            mlflow.start_run(run_id=known, nested=nested)
        else:
            run = mlflow.start_run(run_name=folder.name, nested=nested)
            remember(folder, "mlflow", run.info.run_id)
            # Parameters never change; those of a resumed run may, and stand in the file.
            mlflow.log_params(dict(flat(config, ".")))
        mlflow.log_dict(dict(config), "config.json")

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """One point per curve, over epochs."""
        self.module.log_metrics(dict(values), step=epoch)

    def summarise(self, result: Result) -> None:
        """The result's numbers as metrics, and all of it as a file."""
        self.module.log_metrics(summary(result))
        self.module.log_dict(result.to_json(), "result.json")

    def close(self, finished: bool) -> None:
        """End the run."""
        self.module.end_run("FINISHED" if finished else "KILLED")
