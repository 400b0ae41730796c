"""What tells of a run: progress, curves, the confusion matrix, the environment."""

import importlib
import os
import sys


def _import_matplotlib() -> None:
    """Import Matplotlib where the folder one stands in holds settings for it, without these.

    It would obey them, whoever made them, and could not be imported if they are damaged.
    """
    if "matplotlib" in sys.modules or not os.path.exists("matplotlibrc"):
        return
    here = os.getcwd()
    os.chdir(os.path.dirname(__file__))
    try:
        importlib.import_module("matplotlib")
    finally:
        os.chdir(here)


_import_matplotlib()
