"""Data sets of the Hugging Face hub, by the ``datasets`` library (extra ``hub``)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from goodness.data.catalogue import HUB
from goodness.data.images import image_size, open_image
from goodness.data.parquet import IMAGE_COLUMNS, LABEL_COLUMNS
from goodness.data.source import Source, make_source
from goodness.errors import InputError, reason
from goodness.extras import needs


@dataclass(frozen=True)
class HubImages:
    """Reads encoded images of a data set that lies on the disk, memory-mapped."""

    title: str
    rows: Any
    """A ``datasets.Dataset``."""
    column: str

    def name(self, row: int) -> str:
        """The data set and the row."""
        return f"{self.title} row {row}"

    def open(self, row: int, max_pixels: int) -> Image.Image:
        """The image of the row."""
        return open_image(self._file(row), max_pixels)

    def size(self, row: int) -> tuple[int, int]:
        """From the image's header."""
        return image_size(self._file(row))

    def stored_size(self, row: int) -> int:
        """The bytes of the row."""
        return len(self.stored(row))

    def stored(self, row: int) -> bytes:
        """The encoded image of the row."""
        file = self._file(row)
        return file.read_bytes() if isinstance(file, Path) else file.getvalue()

    def _file(self, row: int) -> Path | io.BytesIO:
        stored = self.rows[row][self.column]
        if stored is None:
            raise ValueError("the row holds no image")
        return Path(stored["path"]) if stored["bytes"] is None else io.BytesIO(stored["bytes"])


def read_hub(name: str, root: Path) -> dict[str, Source]:
    """The splits of a data set of the hub by their names there.

    Args:
        name: as on the hub, ``user/name``, or with a configuration, ``user/name:configuration``.
        root: ``<root>/hf/<name>`` is taken first, if ``save_to_disk`` has written it.

    Raises:
        InputError: the library is missing, the data set cannot be fetched, or it holds no images
            with labels.
    """
    title = f"{HUB}/{name}"
    (datasets,) = needs("hub", "datasets", who=f"data '{title}'")
    saved = root / HUB / name
    repository, _, configuration = name.partition(":")
    try:
        if saved.is_dir():
            found = datasets.load_from_disk(str(saved))
        else:
            found = datasets.load_dataset(repository, configuration or None)
    except Exception as error:  # of the network, of the hub, of files: of a dozen libraries
        raise InputError(
            f"cannot fetch '{title}' ({reason(error)}); without a network it has to be in the cache"
            f" of the datasets library, or written by its save_to_disk into '{saved}'"
        ) from error
    splits = found if isinstance(found, dict) else {"train": found}
    return {split: _source(f"{title} {split}", rows, datasets) for split, rows in splits.items()}


def _source(title: str, rows: Any, datasets: Any) -> Source:
    features = rows.features
    image = _column(features, datasets.Image, IMAGE_COLUMNS)
    label = _column(features, datasets.ClassLabel, LABEL_COLUMNS)
    # Words and plain numbers go by a usual name alone.
    label = label or next((name for name in LABEL_COLUMNS if name in features), None)
    if image is None or label is None:
        what = "images" if image is None else "labels"
        raise InputError(f"{title} has no column of {what} (its columns: {', '.join(features)})")
    if not len(rows):
        raise InputError(f"{title} holds no images")
    # As bytes, which are decoded as those of files are.
    encoded = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    labels, names = np.asarray(rows[label][:]), getattr(features[label], "names", None)
    if names is None and labels.dtype.kind in "US":
        names, labels = np.unique(labels, return_inverse=True)
    if labels.dtype.kind not in "iu":
        raise InputError(f"column '{label}' of {title} holds no labels in every row")
    classes = names if names is not None else range(int(labels.max()) + 1)
    return make_source(HubImages(title, encoded, image), labels, [str(name) for name in classes])


def _column(features: Any, kind: type, names: tuple[str, ...]) -> str | None:
    """The column of this kind; the one with a usual name first."""
    typed = [name for name, feature in features.items() if isinstance(feature, kind)]
    return next((name for name in (*names, *typed) if name in typed), None)
