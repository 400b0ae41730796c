"""A checksum finds damage and foreign files, and nothing else."""

from __future__ import annotations

import json
import random

import pytest

from goodness.checksums import (
    PieceChecksums,
    checksum,
    file_checksum,
    opened,
    piece_checksums,
    read_sealed,
    write_sealed,
)
from goodness.errors import InputError

CONTENT = {"step": 3, "rate": 0.1, "nested": {10: [None, "ä", True], 9: {"b": 1, "a": -0.0}}}


@pytest.mark.parametrize("content", [CONTENT, [1, {"a": 2}], "text", None])
def test_what_is_written_is_read(content, tmp_path):
    write_sealed(tmp_path / "a.json", content, "mine")
    assert read_sealed(tmp_path / "a.json", "mine") == json.loads(json.dumps(content))


def test_no_flipped_bit_changes_what_is_read_in_silence(tmp_path):
    file = tmp_path / "a.json"
    write_sealed(file, CONTENT, "mine")
    whole, found = file.read_bytes(), 0
    places = range(0, 8 * len(whole), 3)  # every byte, and every bit of a byte
    for place in places:
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
        try:
            read = read_sealed(file, "mine")
        except InputError:
            found += 1
        else:
            assert read == json.loads(json.dumps(CONTENT))
    assert found > 0.9 * len(places)  # the others are of white space alone


def test_files_of_another_owner_and_without_a_checksum(tmp_path):
    file = tmp_path / "a.json"
    write_sealed(file, {"a": 1}, "mine")
    with pytest.raises(InputError, match=r"a\.json' is damaged: its checksum .* of another run"):
        read_sealed(file, "yours")
    file.write_text('{\n "a":1}')
    assert read_sealed(file) == {"a": 1}  # of an earlier version, or edited
    with pytest.raises(InputError, match=r"has no checksum \(make it again\)"):
        read_sealed(file, "mine", "make it again")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_named(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json' is damaged: not valid JSON"):
        read_sealed(tmp_path / "a.json")
    with pytest.raises(InputError, match="cannot read"):
        read_sealed(tmp_path)


def test_the_layout_and_the_order_of_keys_do_not_matter():
    sealed = {**CONTENT, "checksum": checksum(CONTENT)}
    again = json.loads(json.dumps(dict(reversed(sealed.items()))))
    assert opened(again) == json.loads(json.dumps(CONTENT))


def test_pieces_do_not_depend_on_how_the_bytes_come(tmp_path):
    content, draw = random.Random(0).randbytes(1000), random.Random(1)
    one = PieceChecksums(256)
    one.add(memoryview(content))
    other, rest = PieceChecksums(256), memoryview(content)
    while len(rest):
        size = draw.randrange(1, 400)
        other.add(rest[:size])
        rest = rest[size:]
    assert (found := one.ended()) == other.ended()
    assert len(found) == 4

    changed = PieceChecksums(256)
    changed.add(memoryview(content[:600] + b"\0" + content[601:]))
    assert [a == b for a, b in zip(found, changed.ended(), strict=True)] == [1, 1, 0, 1]
    (tmp_path / "a").write_bytes(content)
    assert file_checksum(tmp_path / "a") == "-".join(piece_checksums(tmp_path / "a"))
