"""Parquet files in the layout of the Hugging Face hub."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from goodness.data.images import image_size, open_image
from goodness.data.source import Source, make_source
from goodness.errors import InputError
from goodness.extras import needs
from goodness.files import check_regular
from goodness.memory import available_memory, in_units

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")
LEAST_ROOM, EXPANSION, BATCH = 2**28, 100, 2**24
"""Bytes that a file may always unpack to, and times its own size, as encoded images hardly shrink;
bytes that are read at a time."""
ROWS = 4096
"""At most so many are read at a time."""
UNSEEN = 10_000
"""So many classes without an image there may be where only the labels tell how many there are."""


@dataclass(frozen=True)
class ParquetImages:
    """Reads encoded images held in memory; ``starts`` is the first row of each file."""

    encoded: pa.ChunkedArray
    files: Sequence[Path]
    starts: Sequence[int]

    def name(self, row: int) -> str:
        """The file and the row within it."""
        file = bisect_right(self.starts, row) - 1
        return f"{self.files[file]} row {row - self.starts[file]}"

    def open(self, row: int, max_pixels: int) -> Image.Image:
        """The image of the row."""
        return open_image(self._bytes(row), max_pixels)

    def size(self, row: int) -> tuple[int, int]:
        """From the image's header."""
        return image_size(self._bytes(row))

    def stored_size(self, row: int) -> int:
        """The bytes of the row."""
        return len(self.stored(row))

    def stored(self, row: int) -> bytes:
        """The encoded image of the row."""
        encoded: bytes | None = self.encoded[row].as_py()
        if encoded is None:
            raise ValueError("the row holds no image bytes")
        return encoded

    def _bytes(self, row: int) -> io.BytesIO:
        return io.BytesIO(self.stored(row))


def read_parquet(files: Sequence[Path]) -> Source:
    """The images of these files; the encoded bytes stay in memory.

    Raises:
        InputError: a file is damaged, lacks a column, or has a label out of range; or pyarrow is
            not installed.
    """
    (pa,) = needs("hub", "pyarrow", who=str(files[0]))  # late: it is large, and few need it
    tables = [_read_table(file) for file in files]
    chunks = [chunk for table in tables for chunk in table["image"].chunks]
    labels = np.concatenate([table["label"].to_numpy() for table in tables])
    if not len(labels):
        raise InputError(f"{files[0]} holds no images")
    starts = list(accumulate((len(table) for table in tables[:-1]), initial=0))
    images = ParquetImages(pa.chunked_array(chunks, pa.binary()), files, starts)
    classes = _class_names(files[0])
    if classes is None:
        highest = int(labels.argmax())
        if labels[highest] > len(labels) + UNSEEN:
            raise InputError(
                f"label {labels[highest]} of {images.name(highest)} is far above the number of"
                " images, and the file has no class names; labels are to count from 0"
            )
        classes = [str(label) for label in range(labels[highest] + 1)]
    return make_source(images, labels, classes)


def _read_table(file: Path) -> pa.Table:
    """The encoded images and the labels of a file, as columns ``image`` and ``label``."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    check_regular(file)
    try:
        schema = pq.read_schema(file)
        image, label = _column(file, schema, IMAGE_COLUMNS), _column(file, schema, LABEL_COLUMNS)
        if not pa.types.is_struct(schema.field(image).type) or (
            schema.field(image).type.get_field_index("bytes") < 0
        ):
            raise InputError(f"column '{image}' of {file} should be a struct with a field 'bytes'")
        no_integers = InputError(f"column '{label}' of {file} should hold an integer in every row")
        if not pa.types.is_integer(schema.field(label).type):
            raise no_integers
        table = _read_columns(file, [image, label])
        if table[label].null_count:
            raise no_integers
        encoded = pc.struct_field(table[image], "bytes").cast(pa.binary())
        return pa.table({"image": encoded, "label": table[label].cast(pa.int64())})
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:  # also of column names
        raise InputError(f"cannot read {file}: {error}") from error


def _read_columns(file: Path, names: list[str]) -> pa.Table:
    """Columns of a file, some rows at a time: a few bytes may stand for more than memory holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    limit = min(available_memory() // 2, max(LEAST_ROOM, EXPANSION * file.stat().st_size))
    with pq.ParquetFile(file) as opened:
        groups = map(opened.metadata.row_group, range(opened.num_row_groups))
        # No value is larger than the columns of its group; a dictionary may repeat it in every row.
        largest = max((group.total_byte_size for group in groups), default=0)
        rows = int(min(ROWS, max(1, BATCH // max(largest, 1))))
        batches, size = [], 0
        for batch in opened.iter_batches(rows, columns=names):
            size += batch.nbytes
            if size > limit:
                raise InputError(
                    f"{file} holds more than {in_units(limit)} of encoded images, far more than its"
                    f" size of {in_units(file.stat().st_size)}, or than memory has room for"
                )
            batches.append(batch)
        schema = pa.schema([opened.schema_arrow.field(name) for name in names])
    return pa.Table.from_batches(batches, schema)


def _column(file: Path, schema: pa.Schema, choices: Sequence[str]) -> str:
    """The first of ``choices`` that the file has."""
    for name in choices:
        if name in schema.names:
            return name
    raise InputError(
        f"{file} has no column '{choices[0]}' (its columns: {', '.join(schema.names)})"
    )


def _class_names(file: Path) -> list[str] | None:
    """The class names in the file's metadata, where it has them."""
    import pyarrow.parquet as pq

    metadata = pq.read_schema(file).metadata or {}
    try:
        content = json.loads(metadata.get(b"huggingface", b"{}"))
    except (ValueError, RecursionError):  # another program's
        return None
    for column in LABEL_COLUMNS:
        names = content
        for key in ("info", "features", column, "names"):
            names = names.get(key) if isinstance(names, dict) else None
        if names and isinstance(names, list):
            return [str(name) for name in names]
    return None
