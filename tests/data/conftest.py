"""Small data sets on the disk, whose pixels say which image they are."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def picture(value, size=(6, 6), mode="L"):
    """An image of one colour; ``size`` is (width, height)."""
    return Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value))


@pytest.fixture
def write_classes():
    """``write_classes(folder, {"cat": 5, "dog": 5})``: image i of all has the grey value i."""

    def write(folder, counts, size=(6, 6), mode="L", first=0):
        for name, count in counts.items():
            (folder / name).mkdir(parents=True)
            for i in range(first, first + count):
                picture(i, size, mode).save(folder / name / f"{i:03}.png")
            first += count
        return folder

    return write


@pytest.fixture
def write_parquet():
    """Writes (label, image) rows in the layout of the Hugging Face hub."""

    def write(file, labels, names=None, columns=("image", "label"), images=None, size=(6, 6)):
        file.parent.mkdir(parents=True, exist_ok=True)
        if images is None:
            images = [png(picture(i % 256, size)) for i in range(len(labels))]
        encoded = [{"bytes": data, "path": None} for data in images]
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        table = pa.table([pa.array(encoded, kind), pa.array(labels)], names=list(columns))
        if names is not None:
            features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": names}}
            info = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": info})
        pq.write_table(table, file)
        return file

    return write


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def values():
    """``values(split)``: the first pixel of each image, which says which image it is."""

    def read(split):
        batches = list(split.batches(7, "cpu"))
        return np.concatenate([images[:, 0, 0, 0].numpy() for images, _ in batches]).tolist()

    return read
