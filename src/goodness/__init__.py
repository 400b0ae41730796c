"""Train convolutional networks forward-only: every block learns from its own local loss.

The names below are imported on first use, so that ``import goodness`` and ``goodness --help``
are quick.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodness.analysis.audit import Audit as Audit
    from goodness.analysis.audit import audit as audit
    from goodness.analysis.diagnosis import diagnose as diagnose
    from goodness.analysis.explain import explain as explain
    from goodness.api import (
        dry_run as dry_run,
    )
    from goodness.api import (
        fit as fit,
    )
    from goodness.api import (
        load as load,
    )
    from goodness.api import (
        resume as resume,
    )
    from goodness.config import Config as Config
    from goodness.config import resolve as resolve
    from goodness.data import Preprocessing as Preprocessing
    from goodness.data import open_data as open_data
    from goodness.errors import (
        GoodnessError as GoodnessError,
    )
    from goodness.errors import (
        InputError as InputError,
    )
    from goodness.errors import (
        Interrupted as Interrupted,
    )
    from goodness.errors import (
        RunError as RunError,
    )
    from goodness.integrations.sklearn import GoodnessClassifier as GoodnessClassifier
    from goodness.learning import Learner as Learner
    from goodness.listings import list_methods as list_methods
    from goodness.listings import list_models as list_models
    from goodness.listings import list_pretrained as list_pretrained
    from goodness.listings import list_recipes as list_recipes
    from goodness.listings import list_runs as list_runs
    from goodness.network.build import build as build
    from goodness.network.build import max_classes as max_classes
    from goodness.network.localize import localize as localize
    from goodness.network.network import Network as Network
    from goodness.notes import Note as Note
    from goodness.objective import OBJECTIVES as OBJECTIVES
    from goodness.objective import Objective as Objective
    from goodness.objective.hierarchy import class_tree as class_tree
    from goodness.results import BlockDiagnosis as BlockDiagnosis
    from goodness.results import EpochRow as EpochRow
    from goodness.results import Evaluation as Evaluation
    from goodness.results import Prediction as Prediction
    from goodness.results import Result as Result
    from goodness.run import Run as Run
    from goodness.training.callbacks import Callback as Callback
    from goodness.training.callbacks import EarlyStopping as EarlyStopping

__version__ = _version("goodness")

_HOMES = {
    "analysis.audit": "Audit audit",
    "analysis.diagnosis": "diagnose",
    "analysis.explain": "explain",
    "api": "dry_run fit load resume",
    "config": "Config resolve",
    "data": "Preprocessing open_data",
    "errors": "GoodnessError InputError Interrupted RunError",
    "integrations.sklearn": "GoodnessClassifier",
    "learning": "Learner",
    "listings": "list_methods list_models list_pretrained list_recipes list_runs",
    "network.build": "build max_classes",
    "network.localize": "localize",
    "network.network": "Network",
    "notes": "Note",
    "objective": "OBJECTIVES Objective",
    "objective.hierarchy": "class_tree",
    "results": "BlockDiagnosis EpochRow Evaluation Prediction Result",
    "run": "Run",
    "training.callbacks": "Callback EarlyStopping",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
