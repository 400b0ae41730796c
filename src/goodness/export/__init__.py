"""A trained network outside its run folder: one file per format, and what they share."""

from goodness.export.exporting import SUFFIXES, Format, export

__all__ = ["SUFFIXES", "Format", "export"]
