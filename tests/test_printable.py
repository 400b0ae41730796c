from __future__ import annotations

import io
import json

import pytest

from goodness.cli.output import json_text, page, table
from goodness.cli.streams import Escaped
from goodness.errors import InputError, RunError, unknown
from goodness.printable import printable

ESCAPES = ["\x1b[31m", "\x9b2J", "\x07", "\r", "\u202e", "\u2028", "\udcff", "\x00"]


@pytest.mark.parametrize("sign", ESCAPES)
def test_what_a_terminal_would_obey_is_escaped(sign):
    shown = printable(f"a{sign}b")
    assert (
        shown == "a" + sign[0].encode("unicode_escape", "surrogatepass").decode() + sign[1:] + "b"
    )
    assert shown.isprintable()


def test_letters_of_all_languages_stay_and_ends_of_lines_where_they_are_wanted():
    assert printable("猫 café – 🐈") == "猫 café – 🐈"
    assert printable("a\n\tb") == r"a\n\tb"
    assert printable("a\n\tb\r", lines=True) == "a\n\tb\\r"


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_an_error_is_one_line(kind):
    assert str(kind("no file 'a\nb\x1b[31m'")) == r"no file 'a\nb\x1b[31m'"
    assert str(unknown("class", "x\x1b", ["y"])).startswith(r"unknown class 'x\x1b'")


def test_tables_and_lines_of_the_command_line_hold_no_escape_sequence():
    file = io.StringIO()
    page(file).print(table(["class\x1b[2J"], [["\x1b]0;x\x07 cat"], ["dog"]]))
    page(file).print("file \x9b2J", soft_wrap=True)
    assert "\x1b" not in file.getvalue()
    assert "\x9b" not in file.getvalue()
    assert r"\x1b]0;x\x07 cat" in file.getvalue()
    written = io.StringIO()
    Escaped(written).write("a\x1b[31m,b\n")
    assert written.getvalue() == "a\\x1b[31m,b\n"


def test_json_is_json_whatever_the_names_and_the_encoding():
    names = ["\x1b[31m", "\x9b", "\u202e", "é", "猫"]
    assert json.loads(json_text(names)) == names
    assert not set(json_text(names)) & set("\x1b\x9b\u202e")
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert json_text(names, latin).isascii()
    assert json.loads(json_text(names, latin)) == names
