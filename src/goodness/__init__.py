"""Train convolutional networks forward-only: every block learns from its own local loss.

The names below are imported on first use, so that ``import goodness`` and ``goodness --help``
are quick.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodness.api import Run, fit, load, plan, resume
    from goodness.config import Config, resolve
    from goodness.engine.build import build, most_classes
    from goodness.engine.callbacks import Callback, EarlyStopping
    from goodness.engine.learner import Learner
    from goodness.engine.network import Network
    from goodness.errors import GoodnessError, InputError, Interrupted, RunError
    from goodness.integrations.sklearn import GoodnessClassifier
    from goodness.locality import Audit, audit
    from goodness.localization import localize

__version__ = _version("goodness")

_HOMES = {
    "Audit": "locality",
    "Callback": "engine.callbacks",
    "Config": "config",
    "EarlyStopping": "engine.callbacks",
    "GoodnessClassifier": "integrations.sklearn",
    "GoodnessError": "errors",
    "InputError": "errors",
    "Interrupted": "errors",
    "Learner": "engine.learner",
    "Network": "engine.network",
    "Run": "api",
    "RunError": "errors",
    "audit": "locality",
    "build": "engine.build",
    "fit": "api",
    "load": "api",
    "localize": "localization",
    "most_classes": "engine.build",
    "plan": "api",
    "resolve": "config",
    "resume": "api",
}

__all__ = [
    "Audit",
    "Callback",
    "Config",
    "EarlyStopping",
    "GoodnessClassifier",
    "GoodnessError",
    "InputError",
    "Interrupted",
    "Learner",
    "Network",
    "Run",
    "RunError",
    "audit",
    "build",
    "fit",
    "load",
    "localize",
    "most_classes",
    "plan",
    "resolve",
    "resume",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
