"""Where ``--out`` may point."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from goodness import api, files
from goodness.errors import InputError


@pytest.mark.parametrize(
    ("command", "out", "says"),
    [
        (["train"], "afile", "'afile' is a file; --out needs a folder"),
        (["train"], "afile/x", "'afile' is a file; --out needs a folder"),
        (["compare", "sff"], "afile", "'afile' is a file; --out needs a folder"),
        (["bench", "sff"], "afile", "'afile' is a file; --out needs a folder"),
        (["profile"], "afile/x", "'afile' is a file; --out needs a folder"),
        (["explain", "run", "x.png"], "afile", "'afile' is a file; --out needs a folder"),
        (["export", "run"], "nodir/m.safetensors", "there is no folder 'nodir' for --out"),
        (["export", "run"], "afile/m.safetensors", "'afile' is a file; --out needs a folder"),
        (["export", "run"], "adir", "'adir' is a folder; --out needs a file"),
        (["report", "run"], "adir", "'adir' is a folder; --out needs a file"),
        (["report", "run"], "nodir/page.html", "there is no folder 'nodir' for --out"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(
    refused, monkeypatch, tmp_path, command, out, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").touch()
    (tmp_path / "adir").mkdir()
    monkeypatch.setattr(api, "load", lambda *_, **__: SimpleNamespace(folder=tmp_path))
    assert refused(*command, "--out", out).startswith(f"error: {says}")


def test_a_folder_of_someone_else_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(files.os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match=f"nothing can be written in '{tmp_path}'"):
        files.check_folder(tmp_path / "a" / "b")


def test_a_new_folder_or_file_is_fine_and_not_made(tmp_path):
    files.check_folder(tmp_path / "a" / "b")
    files.check_file(tmp_path / "a", overwrite=False)
    assert list(tmp_path.iterdir()) == []
