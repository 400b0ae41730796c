"""The command line. Nothing here imports torch before a command needs it: help must be quick."""

from __future__ import annotations

from goodness.cli.app import main

__all__ = ["main"]
