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
    UNKNOWN_MODE,
    Action,
    Caps,
    Entry,
    Footing,
    Kind,
    Op,
    Outcome,
    Problem,
    Publish,
    Range,
    Reason,
    Seen,
    Stage,
    Stats,
    Tag,
)

from reconcile.core.paths import join
from reconcile.remotes import FORGETFUL, Memory, Opener, Remote
from reconcile.remotes.urls import URL
from reconcile.source.files import Source, SourceError, digest_of
from tests.support.memory import MemoryStore

FORMS, TAKES = "mem://bucket", frozenset[str]()
CAPS = Caps(dirs=False, links=False, modes=False, times=False, rename=False)
OURS = ".reconcile/"
BUCKETS: dict[str, dict[str, bytes]] = defaultdict(dict)  # what lasts
STORES: dict[str, MemoryStore] = defaultdict(MemoryStore)


class Bucket(Struct, frozen=True):
    name: str
    path: str = "/"
    scheme: ClassVar[str] = "mem"

    def __str__(self) -> str:
        return f"mem://{self.name}"


def parse(text: str) -> Bucket | None:
    url = URL.fullmatch(text)
    return Bucket(url[2]) if url is not None else None


def be_told(target: Target, *_: object, **__: object) -> tuple[Target, object]:
    return target, None


def folders(target: Target, workdir: str | None) -> dict[str, str]:
    return {}


def own_files(login: object) -> tuple[()]:
    return ()


def doubt(text: str) -> str | None:
    return None


def may_open_early(job: Job) -> bool:
    return False


def load() -> None:
    pass


def recall_caps(memory: Memory) -> Caps:
    return CAPS


def make_opener() -> Opener:
    return _Opener()


class _Opener:
    waited = 0.0

    def __call__(self, job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:  # noqa: ARG002
        name = job.target.name
        return Objects(BUCKETS[name], STORES[name], job.options.on_drift, reporter)


class Objects:
    """See ``Remote``. The tag of an object is the digest of what it holds, as an ETag is."""

    caps, stats, base, workdir = CAPS, Stats(), "/", "/.reconcile"

    def __init__(
        self, held: dict[str, bytes], store: MemoryStore, on_drift: OnDrift, reporter: Reporter
    ) -> None:
        self._held, self.store, self._on_drift, self._reporter = held, store, on_drift, reporter
        self._ours, self.marks = "", tuple[str, ...]()

    def check(self, footing: Footing, **_: object) -> None:
        self._ours = f"{OURS}{footing.lineage}/"
        self.marks = tuple(key.removeprefix(self._ours) for key in self._held if key.startswith(self._ours))
        if set(self.marks) - {*footing.marks, footing.fresh}:
            raise Stale(explain_marks(footing.marks[0], self.marks), self.marks)
        if footing.known and not self.marks:
            raise Refused("DEST is not as this job left it: its mark is missing.")

    def begin(self, footing: Footing, *_: object, **__: object) -> None:
        self.check(footing)
        self._mark(footing.fresh or (*self.marks, *footing.marks)[0])

    def _mark(self, name: str) -> None:
        for mark in self.marks:
            del self._held[self._ours + mark]
        self._held[self._ours + name], self.marks = b"", (name,)

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        for path in paths:
            holds = any(key.startswith(f"{path}/") for key in self._held)
            folder = Seen(Kind.DIR, None, 0, None) if holds else None
            yield path, _seen(self._held[path]) if path in self._held else folder

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        for path, data in sorted(self._held.items()):
            if path.startswith(f"{top}/" if top else "") and not path.startswith(OURS):
                yield path, _seen(data)

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        for path, start, length in ranges:
            data = self._held.get(path, b"")[start : start + length]
            yield path, data if len(data) == length and path in self._held else None

    def perform(
        self,
        actions: Sequence[Action],
        source: Source,
        stop: Stop | None = None,
        publish: Publish = Publish.NOW,
    ) -> Iterator[Outcome]:
        read = ((action, self._read(action, source, stop)) for action in actions)
        for action, data in list(read) if publish is Publish.STAGED else read:
            if stop is None or not stop.requested:
                yield self._delete(action) if data is None else self._upload(action, data)

    def _read(self, action: Action, source: Source, stop: Stop | None) -> bytes | Problem | None:
        if action.op is Op.DELETE or (stop is not None and stop.requested):
            return None
        assert action.op in (Op.CREATE, Op.MODIFY)
        assert action.new is not None
        assert action.new.stamp is not None
        try:
            return source.read(action.path, action.new.stamp)
        except SourceError as error:
            return Problem(action.path, Stage.APPLY, error.reason, str(error))

    def _upload(self, action: Action, data: bytes | Problem) -> Outcome:
        path, new = action.path, action.new
        assert new is not None
        if isinstance(data, Problem):
            return Outcome(action, problem=data)
        if self._held.get(path) != data and (trouble := self._leave(path, action.old, keep=action.keep)):
            return Outcome(action, problem=trouble)
        self._held[path] = data
        self._reporter.sent(len(data), path)
        tag = digest_of(data)
        return Outcome(action, {path: replace(new, digest=tag, tag=tag, mode=UNKNOWN_MODE)})

    def _delete(self, action: Action) -> Outcome:
        inside = [(join(action.path, name), entry) for name, entry in action.members if not entry.excluded]
        files = [(path, e) for path, e in (*inside, (action.path, action.old)) if e and e.kind is Kind.FILE]
        gone = {path: self._leave(path, entry, keep=action.keep) for path, entry in files}
        if (trouble := next(filter(None, gone.values()), None)) is not None:
            return Outcome(action, {path: None for path, why in gone.items() if why is None}, trouble)
        return Outcome(action, {action.path: None})

    def _leave(self, path: str, old: Entry | None, *, keep: bool) -> Problem | None:
        """Let go of what is there. What is not ours is kept, or stays: then why."""
        drifted = path in self._held and (old is None or old.tag != digest_of(self._held[path]))
        if drifted and self._on_drift is OnDrift.SKIP:
            return Problem(path, Stage.APPLY, Reason.DRIFT, "is not as we left it, and stays")
        data = self._held.pop(path, None)
        if data is not None and (keep or (drifted and self._on_drift is OnDrift.BACKUP)):
            self._held[f"{OURS}kept/{path}"] = data
        return None

    def end(self, mark: str = "") -> Iterator[Problem]:
        self._mark(mark or self.marks[0])
        return iter(())

    def is_torn(self) -> bool:
        return False

    def rescue(self, actions: Sequence[Action]) -> Iterator[Outcome]:  # noqa: ARG002
        return iter(())

    def tag_of(self, wish: Entry, **_: object) -> Tag | None:
        return wish.digest

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        return shown == entry.tag

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:  # noqa: ARG002
        return shown

    def close(self) -> None:
        pass


def _seen(data: bytes) -> Seen:
    return Seen(Kind.FILE, None, len(data), None, digest_of(data))
