"""A trained network outside its run folder: one file per format, and what they share."""

from goodness.export.exporting import PLAN, SUFFIXES, Format, default_name, export

__all__ = ["PLAN", "SUFFIXES", "Format", "default_name", "export"]
