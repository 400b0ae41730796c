"""A run that is replaced, and processes that are killed on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from goodness.config import resolve
from goodness.errors import InputError
from goodness.notes import Note
from goodness.training import replacing
from goodness.training.run_folder import RunFolder

MINE = ("notes.md", "tensorboard/mine.txt", "mine/config.json")
OWN = (
    *("metrics.jsonl", "confusion-test.png", "epochs/0001/state.json", "best/state.json"),
    *("last/state.json", ".last.old/state.json", "tensorboard/events.out.tfevents.1.a.2.0"),
    *("wandb/run/x.wandb", ".curves.png.12.new"),
)


CONFIG = resolve({"seed": 9})


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def killed_at(monkeypatch):
    """``killed_at(number)``: raises `Killed` before that change of the disk, counted from 1."""
    left = [0]

    def counted(original):
        def change(*args, **options):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return original(*args, **options)

        return change

    for name in ("replace", "rename", "unlink", "rmdir", "mkdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    monkeypatch.setattr(replacing.shutil, "rmtree", counted(shutil.rmtree))
    return lambda number: left.__setitem__(0, number)


def files_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def write(folder: Path, names, content: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{content} {name}")


def old_run(folder: Path) -> dict[str, bytes]:
    """A run with a user's files beside its own."""
    folder.mkdir()
    RunFolder(folder).write_config(CONFIG)
    write(folder, OWN, "old")
    write(folder, MINE, "mine")
    return files_of(folder)


def only_mine(folder: Path) -> bool:
    return files_of(folder) == {name: f"mine {name}".encode() for name in MINE}


def test_the_old_run_comes_back_from_every_moment_before_a_checkpoint(tmp_path, killed_at):
    """Killed while it is set aside, after that, and while it comes back."""
    moments = 0
    for number in range(1, 200):
        folder = tmp_path / str(number)
        before = old_run(folder)
        killed_at(number)
        try:
            RunFolder.create(folder, overwrite=True)
            write(folder, ("config.json", "environment.json", "curves.png"), "new")
            replacing.settle(folder)
        except Killed:
            moments += 1
        killed_at(0)
        replacing.settle(folder)
        assert files_of(folder) == before
        if moments < number:
            break
    assert moments > 25


def test_the_old_run_goes_when_the_new_one_can_answer(tmp_path, killed_at):
    for number in range(1, 20):
        folder = tmp_path / str(number)
        old_run(folder)
        RunFolder.create(folder, overwrite=True)
        write(folder, ("config.json", "best/state.json"), "new")
        killed_at(number)
        try:
            replacing.settle(folder)
        except Killed:
            assert number < 19
        killed_at(0)
        replacing.settle(folder)
        new = {name for name in files_of(folder) if name not in MINE}
        assert new == {"config.json", "best/state.json"}
        assert all((folder / name).read_text() == f"mine {name}" for name in MINE)


def test_with_a_checkpoint_and_no_epoch_both_are_kept_and_the_old_one_answers(tmp_path):
    before = old_run(tmp_path / "run")
    run = RunFolder.create(tmp_path / "run", overwrite=True)
    run.write_config(resolve({"seed": 1}))
    write(run.path, ("last/state.json",), "new")
    run.settle()
    opened = RunFolder.open(run.path)
    assert opened.read_config().seed == 1  # what --resume takes
    with pytest.warns(Note, match="has not finished an epoch; the one that it replaces answers"):
        assert opened.answering().read_config().seed == 9
    # Replaced once more, and failed: it is there again, with the first one in it.
    RunFolder.create(run.path, overwrite=True)
    run.settle()
    assert run.read_config().seed == 1
    shutil.rmtree(run.last)
    run.settle()
    assert files_of(run.path) == before


def test_links_are_moved_and_what_they_lead_to_stays(tmp_path):
    old_run(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "run" / "best").rename(elsewhere)
    (tmp_path / "run" / "best").symlink_to(elsewhere)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    before = files_of(elsewhere)

    run = RunFolder.create(tmp_path / "link", overwrite=True)
    assert not run.best.exists()
    write(run.path, ("config.json", "best/state.json"), "new")
    run.settle()

    assert files_of(elsewhere) == before
    assert not (run.path / ".replaced").exists()


def test_other_files_where_folders_go_whole_are_refused(tmp_path):
    before = old_run(tmp_path / "run")
    write(tmp_path / "run", ("best/notes.md",), "mine")
    with pytest.raises(InputError, match=r"best/notes\.md' was written by no run: move it"):
        RunFolder.create(tmp_path / "run", overwrite=True)
    (tmp_path / "run" / "best" / "notes.md").unlink()
    assert files_of(tmp_path / "run") == before


def test_a_folder_with_a_users_files_alone_is_theirs(tmp_path):
    old_run(tmp_path / "run")
    RunFolder.create(tmp_path / "run", overwrite=True)
    shutil.rmtree(tmp_path / "run" / ".replaced")
    assert only_mine(tmp_path / "run")
    with pytest.raises(InputError, match="not empty and holds no run"):
        RunFolder.check(tmp_path / "run", overwrite=True)


@pytest.mark.parametrize("left", [".config.json.4711.new", ".lock", ".owner.json"])
def test_what_a_killed_process_left_blocks_nobody(tmp_path, left):
    (tmp_path / left).touch()
    RunFolder.check(tmp_path)
