"""A store of objects in memory as DEST, ``mem://bucket``: no directories, links, modes, times or renames.

What a scheme has to offer, and what a remote has to do that keeps what its caps promise: here in short.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.errors import Refused, Stale
from reconcile.core.job import Job, OnDrift, Reporter, Stop, Target
from reconcile.core.marks import explain_marks
from reconcile.core.model import (  # isort: split
    OURS,
    RESERVED_PREFIX,
    UNKNOWN_MODE,
    Action,
    Brought,
    Caps,
    Entry,
    Footing,
    Kind,
    Outcome,
    Problem,
    Range,
    Reason,
    Seen,
    Stage,
    Stamp,
    Stats,
    Tag,
)

from reconcile.core.paths import join
from reconcile.remotes import FORGETFUL, Lease, Memory, Opener, Remote, plain
from reconcile.remotes.urls import URL
from reconcile.source.files import Source, SourceError, digest_of
from tests.support.memory import MemoryStore

FORMS, TAKES = "mem://bucket", frozenset[str]()
CAPS = Caps(dirs=False, links=False, modes=False, times=False, rename=False, trash=False)
doubt, folders, load = plain.doubt, plain.folders, plain.load
may_open_early, own_files = plain.may_open_early, plain.own_files
KEPT = f"{OURS}trash/kept"
BUCKETS: dict[str, dict[str, bytes]] = defaultdict(dict)  # what lasts
STORES: dict[str, MemoryStore] = defaultdict(MemoryStore)


class Bucket(Struct, frozen=True):
    name: str
    path: str = "/"
    scheme: ClassVar[str] = "mem"

    def __str__(self) -> str:
        return f"mem://{self.name}"


def parse(text: str) -> Bucket | None:
    return Bucket(url[2]) if (url := URL.fullmatch(text)) else None


def be_told(target: Target, *_: object, **__: object) -> tuple[Target, object]:
    return target, None


def recall_caps(job: Job, memory: Memory) -> Caps:
    return CAPS


def make_opener() -> Opener:
    return _Opener()


class _Opener:
    waited = 0.0

    def __call__(self, job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:  # noqa: ARG002
        name = job.target.name
        return Objects(BUCKETS[name], STORES[name], job.options.on_drift, reporter)


class Objects(plain.Plain):
    """See ``Remote``. The tag of an object is the digest of what it holds, as an ETag is."""

    caps, stats, base, workdir = CAPS, Stats(), "/", "/.reconcile"

    def __init__(
        self, held: dict[str, bytes], store: MemoryStore, on_drift: OnDrift, reporter: Reporter
    ) -> None:
        self._held, self.store, self._on_drift, self._reporter = held, store, on_drift, reporter
        self._job, self._run, self.marks = OURS, OURS, tuple[str, ...]()
        self._staged: dict[int, tuple[Action, bytes | Problem, Stamp | None]] = {}

    def check(self, footing: Footing, **_: object) -> None:
        self._job = f"{OURS}{footing.lineage}/"
        names = (key.removeprefix(self._job) for key in self._held if key.startswith(self._job))
        self.marks = tuple(name for name in names if "/" not in name)
        if set(self.marks) - {*footing.marks, footing.fresh}:
            raise Stale(explain_marks(footing.marks[0], self.marks), self.marks)
        if footing.known and not self.marks:
            raise Refused("DEST is not as this job left it: its mark is missing.")

    def begin(self, footing: Footing, run: str, *_: object, **__: object) -> None:
        self.check(footing)
        self._run = f"{self._job}{run}/"
        self._mark(footing.fresh or (*self.marks, *footing.marks)[0])

    def _mark(self, name: str) -> None:
        for mark in self.marks:
            del self._held[self._job + mark]
        self._held[self._job + name], self.marks = b"", (name,)

    def _at(self, path: str) -> str:
        return self._run + path.removeprefix(OURS) if path.startswith(OURS) else path

    def _below(self, path: str) -> list[str]:
        start = f"{self._at(path)}/" if path else ""
        hidden = () if path else (OURS, RESERVED_PREFIX)
        return [key for key in sorted(self._held) if key.startswith(start) and not key.startswith(hidden)]

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        for path in paths:
            folder = Seen(Kind.DIR, None, 0, None) if self._below(path) else None
            yield path, _seen(self._held[path]) if path in self._held else folder

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        for key in self._below(top):
            yield top + key.removeprefix(self._at(top)), _seen(self._held[key])

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        for path, start, length in ranges:
            data = self._held.get(self._at(path), b"")[start : start + length]
            yield path, data if len(data) == length and self._at(path) in self._held else None

    def stage(
        self, actions: Sequence[Action], source: Source, stop: Stop | None = None, *_: object
    ) -> Iterator[Brought | Outcome]:
        for action in actions:
            if not (stop and stop.requested) and action.new is not None:
                data, stamp = self._read(action, source)
                if isinstance(data, Problem):
                    yield Outcome(action, problem=data)
                else:
                    self._staged[id(action)] = action, data, stamp
                    yield Brought(action, replace(action.new, digest=digest_of(data)))

    def perform(
        self, actions: Sequence[Action], source: Source, stop: Stop | None = None
    ) -> Iterator[Outcome]:
        for action in actions:
            if not (stop and stop.requested):
                _, data, stamp = self._staged.get(id(action)) or (action, *self._read(action, source))
                wish = action.new
                yield self._delete(action) if wish is None else self._upload(action, wish, data, stamp)

    def _read(self, action: Action, source: Source) -> tuple[bytes | Problem, Stamp | None]:
        """The content, or why there is none, and the stamp that it has, if that is the scan's."""
        wanted = action.new.stamp if action.new else None
        for stamp in (wanted, None) if wanted else ():
            try:
                return source.read(action.path, stamp or source.stamp(action.path)), stamp
            except SourceError as error:
                trouble = Problem(action.path, Stage.APPLY, error.reason, str(error))
                if error.reason not in (Reason.CHANGED, Reason.GROWING):
                    break
        return trouble if wanted else b"", None

    def _upload(self, action: Action, new: Entry, data: bytes | Problem, stamp: Stamp | None) -> Outcome:
        path = action.path
        if isinstance(data, Problem):
            return Outcome(action, problem=data)
        if self._held.get(path) != data and (trouble := self._leave(path, action.old, keep=action.keep)):
            return Outcome(action, problem=trouble)
        self._held[path] = data
        self._reporter.sent(len(data), path)
        tag = digest_of(data)
        entry = replace(new, size=len(data), digest=tag, tag=tag, stamp=stamp, mode=UNKNOWN_MODE)
        return Outcome(action, {path: entry})

    def _delete(self, action: Action) -> Outcome:
        path, old = action.path, action.old
        if old is not None and old.kind is not Kind.DIR:
            trouble = self._leave(path, old, keep=action.keep)
            return Outcome(action, {} if trouble else {path: None}, trouble)
        known = {join(path, name): entry for name, entry in action.members}
        there = self._below(path)
        ours = [key for key in there if key in known and self._is_left(key, known[key])]
        for key in there if action.whole or action.keep else ours:
            self._drop(key, keep=action.keep or (action.whole and ours != there))
        stays = Problem(path, Stage.APPLY, Reason.DRIFT, "holds others'") if self._below(path) else None
        gone = [each for each in (path, *known) if each not in self._held and not self._below(each)]
        return Outcome(action, {path: None}, note=stays, entries=len(gone))

    def _is_left(self, path: str, entry: Entry | None) -> bool:
        return entry is not None and not entry.excluded and entry.tag == digest_of(self._held[path])

    def _leave(self, path: str, old: Entry | None, *, keep: bool) -> Problem | None:
        """Let go of what is there. What is not ours is kept, or stays: then why."""
        if (
            drifted := path in self._held and not self._is_left(path, old)
        ) and self._on_drift is OnDrift.SKIP:
            return Problem(path, Stage.APPLY, Reason.DRIFT, "is not as we left it, and stays")
        self._drop(path, keep=keep or (drifted and self._on_drift is OnDrift.BACKUP))
        return None

    def _drop(self, path: str, *, keep: bool) -> None:
        if (data := self._held.pop(path, None)) is not None and keep:
            if not (count := len(self._below(KEPT))):
                self._reporter.say(f"what is not ours is kept in {self._at(KEPT)}")
            place = f"{self._at(KEPT)}/{path}"
            self._held[f"{place}~{count}" if place in self._held else place] = data

    def end(self, mark: str = "") -> Iterator[Problem]:
        self._mark(mark or self.marks[0])
        return iter(())

    def mind(self, lease: Lease) -> None:
        pass

    def is_wished(self, shown: Tag, wish: Entry, **_: object) -> bool:
        return shown == wish.digest

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        return shown == entry.tag


def _seen(data: bytes) -> Seen:
    return Seen(Kind.FILE, None, len(data), None, digest_of(data))
