"""Trained networks outside their run folder: in a plain folder, on the Hub, in this package."""
