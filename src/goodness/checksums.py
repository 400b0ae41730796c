"""Checksums in JSON files and of whole files: they find damage, and files of another run."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goodness.errors import InputError, reason
from goodness.files import write_json

KEY = "checksum"
VALUES = "values"
"""Where a file keeps what is no object, beside its checksum."""
CHUNK = 2**20
PIECE = 64 * 2**20
"""Bytes of a big file that have a checksum of their own."""


def checksum(content: Mapping[str, Any], owner: str = "") -> str:
    """Of what an object is as JSON, however it is laid out, but for its own checksum.

    Args:
        content: the object.
        owner: the run, say, that it belongs to: that of another owner is another one.
    """
    # As it will be read: keys may be numbers here.
    plain = json.loads(json.dumps({key: v for key, v in content.items() if key != KEY}))
    text = json.dumps([owner, plain], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def opened(content: Any, owner: str = "") -> Any:
    """What was sealed, without its checksum.

    Args:
        content: as it was read.
        owner: who has to have sealed it; without one, no checksum is needed: earlier versions made
            none, and who has edited a file by hand takes it out.

    Raises:
        ValueError: the content is damaged, or another owner's.
    """
    if not isinstance(content, dict) or KEY not in content:
        if owner:
            raise ValueError("it has no checksum")
        return content
    if content[KEY] != checksum(content, owner):
        edited = f' (if you have edited it, remove "{KEY}")'
        raise ValueError(
            f"its checksum does not fit{', or it is of another run' if owner else edited}"
        )
    plain = {key: value for key, value in content.items() if key != KEY}
    return plain[VALUES] if plain.keys() == {VALUES} else plain


def write_sealed(path: Path, content: Any, owner: str = "") -> None:
    """Write a JSON file whole, with its checksum in the first line."""
    values = content if isinstance(content, Mapping) else {VALUES: content}
    write_json(path, {KEY: checksum(values, owner), **values})


def read_sealed(path: Path, owner: str = "", way_out: str = "") -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        owner: as it was written with.
        way_out: what to do without the file, for errors.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    after = f" ({way_out})" if way_out else ""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read '{path}': {reason(error)}{after}") from None
    except (ValueError, RecursionError):
        raise InputError(f"'{path}' is damaged: not valid JSON{after}") from None
    try:
        return opened(content, owner)
    except ValueError as error:
        raise InputError(f"'{path}' is damaged: {error}{after}") from None


class PieceChecksums:
    """CRC-32 of the pieces of what comes one part after another.

    It finds every flipped bit, and cuts and runs of zeros, at a small part of the cost of a
    cryptographic hash: big files are checked against accidents, not against forgers.

    Args:
        size: bytes of a piece; the last one may be smaller.
    """

    def __init__(self, size: int = PIECE) -> None:
        self._size = size
        self._found: list[str] = []
        self._crc = self._bytes = 0

    def add(self, part: memoryview) -> None:
        """Further bytes."""
        while len(part):
            left = self._size - self._bytes
            here, part = part[:left], part[left:]
            self._crc = zlib.crc32(here, self._crc)
            self._bytes += len(here)
            if self._bytes == self._size:
                self._end_piece()

    def ended(self) -> list[str]:
        """Those of all pieces."""
        if self._bytes:
            self._end_piece()
        return self._found

    def _end_piece(self) -> None:
        self._found.append(f"{self._crc:08x}")
        self._crc = self._bytes = 0


def piece_checksums(path: Path) -> list[str]:
    """Of the pieces of a file, which is read once."""
    found = PieceChecksums()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            found.add(memoryview(part))
    return found.ended()


def file_checksum(path: Path) -> str:
    """Of a whole file, which is read once."""
    return "-".join(piece_checksums(path))
