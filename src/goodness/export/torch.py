from __future__ import annotations

import io
import warnings

import torch

from goodness.export.answering import Answering


def to_bytes(answering: Answering) -> bytes:
    """A program for ``torch.export.load``, with any number of images in a batch."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Weights whose channels lie last are kept whole; it doubts that of other devices' alone.
        warnings.filterwarnings("ignore", "No complete tensor found in the group")
        torch.export.save(answering.program(), file, extra_files=answering.metadata())
    return file.getvalue()
