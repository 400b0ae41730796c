"""A comparison on disk: which runs it needs, which are there, and training what is missing."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

from goodness.checksums import read_sealed, write_sealed
from goodness.comparison.entry import Entry, EntryFolder
from goodness.comparison.progress import Progress
from goodness.comparison.protocol import Protocol, check_searched, probes, values_for
from goodness.comparison.training import EntryTraining
from goodness.comparison.widths import widths_of
from goodness.config import KEYS, Config, located, merge, resolve
from goodness.errors import InputError, RunError
from goodness.files import is_taken
from goodness.methods import METHODS, baseline
from goodness.plugins import import_files
from goodness.training.callbacks import Callback
from goodness.training.lock import check_free, locked
from goodness.training.signals import apart, ask_to_end

WORKER = (
    "import sys; sys.path[:] = [place for place in sys.path if place]\n"
    "from goodness.comparison.worker import main; sys.exit(main(*sys.argv[1:]))"
)
"""Nothing is imported from the folder one stands in, as ``python -m`` would (``-P`` of Python 3.11
is this)."""
SCHEMA = 2
"""Version of the folder; it rises where runs would no longer be on the same terms."""
FILE = "study.json"


@dataclass(frozen=True)
class Terms:
    """What all runs of a comparison have in common.

    Attributes:
        data: name or folder.
        budget: seconds of training, validation included, per entry and seed.
        protocol: see `goodness.comparison.protocol`.
        data_root: where names are looked up.
        values: configuration values for all methods.
        search: keys searched on validation for every entry, after the learning rate.
        trial_share: the part of a run's steps that each trial of the search has. The best rate of
            a short run is higher than that of a long one, and not equally so for all methods.
    """

    data: str
    budget: float
    protocol: Protocol
    data_root: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    search: tuple[str, ...] = ()
    trial_share: float = 0.2


class Study:
    """The folder of a comparison.

    ``study.json`` ``<entry>/`` (see `EntryFolder`) ``report.json`` ``report.md`` ``report.html``

    Args:
        path: the folder; see `create` and `open`.
        terms: how methods are compared.
        entries: all that the folder was ever asked for, by name, the baseline first.
        asked: those to train now.
        target: validation accuracy that counts as arrival; None: a part of the best one's.
        id: what tells it from others; earlier versions made none.
    """

    def __init__(
        self,
        path: Path,
        terms: Terms,
        entries: Iterable[Entry],
        asked: Iterable[str] = (),
        target: float | None = None,
        id: str = "",
    ) -> None:
        self.path = path
        self.id = id
        self.terms = terms
        self.target = target
        import_files(terms.values.get("imports", ()))
        self.entries = {entry.name: entry for entry in sorted(entries, key=_rank)}
        names = set(asked)
        self.asked = [entry for name, entry in self.entries.items() if name in names]
        self._stopping = Event()
        self._processes: list[subprocess.Popen[str]] = []

    @classmethod
    def create(
        cls,
        path: Path,
        terms: Terms,
        methods: Sequence[str],
        seeds: int,
        matches: Sequence[str] = (),
        target: float | None = None,
    ) -> Study:
        """A comparison to train, kept in its folder.

        Args:
            path: the folder; one that holds a comparison on the same terms is continued.
            terms: how methods are compared.
            methods: those to train now, each with seeds 0 to ``seeds - 1``.
            seeds: runs per method.
            matches: methods for each of which the baseline is trained once more, with as many
                trained parameters.
            target: validation accuracy that counts as arrival; None: that of the folder, or a part
                of the best one's.

        Raises:
            InputError: the folder holds another comparison or other files or cannot be made, or a
                value is bad.
        """
        for key in terms.values:
            if key in KEYS and (how := KEYS[key].compare):
                raise InputError(f"{key}: a comparison sets it for every run ({how})")
        check_searched(terms.search)
        if terms.search and terms.protocol == "paper":
            raise InputError(
                "search: on paper terms every method keeps its values (use --protocol equal)"
            )
        places = located({"data": terms.data, "data_root": terms.data_root})
        terms = replace(terms, **places, values=located(terms.values))
        wanted = _plain(terms)
        there_is_one = is_taken(path, "comparison", lambda found: (found / FILE).exists())
        check_free(path)
        entries: dict[str, Entry] = {}
        id = secrets.token_hex(8)
        if there_is_one:
            found, there, kept, id = _read(path / FILE)
            changed = [key for key, value in _plain(found).items() if wanted[key] != value]
            if changed:
                raise InputError(
                    f"'{path}' holds a comparison with other values of {', '.join(changed)};"
                    " choose another --out"
                )
            entries = {entry.name: entry for entry in there}
            target = kept if target is None else target
        new = [Entry(method, seeds) for method in methods]
        for method in matches:
            if method not in methods and method not in entries:
                raise InputError(
                    f"match_parameters: '{method}' is not in the comparison (name it as a METHOD)"
                )
            new.append(Entry(baseline(), seeds, method))
        for entry in new:
            before = entries.get(entry.name, entry)
            entries[entry.name] = replace(entry, seeds=max(seeds, before.seeds))
        study = cls(path, terms, entries.values(), [entry.name for entry in new], target, id)
        for entry in study.asked:
            config = study.config(entry)
            if entry.matches:
                widths_of(config)
        path.mkdir(parents=True, exist_ok=True)
        listed = [asdict(entry) for entry in study.entries.values()]
        content = {"schema": SCHEMA, "terms": wanted, "entries": listed, "target": target}
        write_sealed(path / FILE, {**content, "id": id})
        return study

    @classmethod
    def open(cls, path: Path) -> Study:
        """The comparison that is in a folder, with nothing to train; nothing is written.

        Raises:
            InputError: its file is damaged, or another version of goodness made it.
        """
        terms, entries, target, id = _read(path / FILE)
        return cls(path, terms, entries, target=target, id=id)

    def folder(self, entry: Entry) -> EntryFolder:
        """Where an entry is kept."""
        return EntryFolder(self.path / entry.name, entry.seeds, self.id)

    def values(self, entry: Entry, **further: Any) -> dict[str, Any]:
        """What an entry's runs are given beside its method's own values.

        Raises:
            InputError: a bad value.
        """
        terms = self.terms
        given = values_for(entry.method, Path(terms.data).name, terms.protocol, terms.values)
        whose = {"method": entry.method, "data": terms.data, "data_root": terms.data_root}
        given = merge(given, whose, probes(resolve({**given, **whose}), terms.values))
        folder = self.folder(entry)
        if entry.matches and (found := folder.read(folder.widths, "widths")):
            given = merge(given, {"model": {"widths": found["widths"]}})
        return merge(given, further)

    def config(self, entry: Entry, **further: Any) -> Config:
        """The resolved configuration of an entry's runs.

        Raises:
            InputError: a bad value.
        """
        return resolve(self.values(entry, **further))

    def run(self, log: Callable[[str], None], jobs: int = 1) -> None:
        """Train what is missing; an entry that cannot be trained is noted and left out.

        Every entry gets a process of its own, so that none finds the memory of another. Those that
        match a method's parameters follow when it is known how many these are.

        Args:
            log: gets a line per run.
            jobs: entries trained at the same time.

        Raises:
            RunError: a process ended without a word.
            Busy: another process runs this comparison.
            InputError: every entry but the baseline was left out.
        """
        with locked(self.path):
            self._run(log, jobs)

    def _run(self, log: Callable[[str], None], jobs: int) -> None:
        progress = Progress(self, jobs)

        def say(line: str) -> None:
            log(progress.line(line))

        for matching in (False, True):
            with ThreadPoolExecutor(jobs) as pool:
                now = [entry for entry in self.asked if bool(entry.matches) == matching]
                futures = [pool.submit(self._start, entry, say) for entry in now]
                try:
                    for future in futures:
                        future.result()
                except BaseException:
                    self._stop()
                    raise
        # The baseline is always there; what counts is what was asked for beside it.
        own = [entry for entry in self.asked if entry.method != baseline()] or self.asked
        reasons = [self.folder(entry).refused for entry in own]
        if all(reasons):
            raise InputError(f"every method was left out: {reasons[0]}")

    def _start(self, entry: Entry, log: Callable[[str], None]) -> None:
        if self._stopping.is_set():
            return
        if self.folder(entry).finished:
            log(f"{entry.name}: done before")
            return
        command = [sys.executable, "-c", WORKER, str(self.path), entry.name]
        # Apart from this one: Ctrl-C reaches this process alone, which then stops the others.
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # which tells it that this process lives
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            **apart(),
        ) as process:
            self._processes.append(process)
            if self._stopping.is_set():  # `_stop` may have looked before it was there
                ask_to_end(process)
            assert process.stdout is not None
            for line in process.stdout:
                log(line.rstrip())
        if process.returncode and not self._stopping.is_set():
            raise RunError(f"training '{entry.name}' ended with exit code {process.returncode}")

    def _stop(self) -> None:
        """Let what is running save and end."""
        self._stopping.set()
        for process in self._processes:
            if process.poll() is None:
                ask_to_end(process)

    def train(
        self, name: str, log: Callable[[str], None], callbacks: Sequence[Callback] = ()
    ) -> None:
        """Train what is missing of one entry, in this process; see `EntryTraining`."""
        EntryTraining(self, self.entries[name], log, callbacks).run()


def _rank(entry: Entry) -> tuple[bool, bool]:
    """The baseline first, then the same in other sizes; the others as they are."""
    return entry.method != baseline(), bool(entry.matches)


def _plain(terms: Terms) -> dict[str, Any]:
    """Terms as their file holds them."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(terms)))
    return plain


def _read(file: Path) -> tuple[Terms, list[Entry], float | None, str]:
    """The terms of a comparison, its entries, its target and its id."""
    content = read_sealed(file, way_out="its runs can be read; choose another --out to compare")
    try:
        if content.get("schema", 1) == SCHEMA:
            terms = {**content["terms"], "search": tuple(content["terms"]["search"])}
            entries = [Entry(**entry) for entry in content["entries"]]
            return Terms(**terms), entries, content["target"], content.get("id", "")
        Terms(**content["terms"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"'{file}' is damaged; choose another --out") from None
    raise InputError(
        f"'{file.parent}' holds a comparison of another version of goodness, on other terms: its"
        " report can be read, but not continued; choose another --out"
    )


def methods_of(names: Sequence[str], with_baseline: bool = True) -> tuple[str, ...]:
    """The methods named, and the baseline; ``all`` stands for every one.

    Args:
        names: as the user wrote them.
        with_baseline: whether the baseline is added where it is not named.

    Raises:
        InputError: an unknown name, or one named twice.
    """
    if list(names) == ["all"]:
        return tuple(name for name in METHODS if with_baseline or name != baseline())
    for name in names:
        METHODS[name]
        if names.count(name) > 1:
            raise InputError(f"method '{name}' is named twice")
    added = [baseline()] if with_baseline and baseline() not in names else []
    return (*added, *names)
