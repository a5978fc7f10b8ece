"""What a run intends and what of it is done: on disk before the first remote write.

    magic "RECONJNL" · format version, 4 bytes, big-endian · frames

What a frame is tells ``frames``. The first is the header, then come the plan's actions,
then outcomes as they happen; before these, where all is published at the end, what is staged by then, and
that this is all. Intent is fsynced; outcomes are not, as what has none is looked for on the remote. A torn
tail is what a crash leaves: it is ignored.
"""

from __future__ import annotations

import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from types import MappingProxyType
from typing import Any, BinaryIO

from msgspec import Struct

from reconcile.core.errors import ReconcileError, Refused
from reconcile.core.marks import is_mark
from reconcile.core.model import Action, Brought, Entry, Outcome
from reconcile.core.paths import is_plain
from reconcile.state.actions import (
    pack_action,
    pack_effects,
    pack_outcome,
    present,
    unpack_action,
    unpack_effects,
    unpack_outcome,
)
from reconcile.state.former import unpack_action_1, unpack_outcome_1
from reconcile.state.frames import frame, payloads
from reconcile.state.private import create, open_ours
from reconcile.state.store import make_folder, read_file, sync_folder
from reconcile.state.unfinished import NAME

MAGIC = b"RECONJNL"
FORMAT = 3
PLAIN = 2  # the same, of a run that publishes each file as soon as it is there
_READERS = {
    1: (unpack_action_1, unpack_outcome_1),
    PLAIN: (unpack_action, unpack_outcome),
    FORMAT: (unpack_action, unpack_outcome),
}

FLUSH_EVERY = 0.05  # seconds
_PREFIX = len(MAGIC) + 4
_ACTIONS_A_FRAME = 1000


class Leftover(Struct, frozen=True):
    """A journal that a run left behind which did not come to its end."""

    lineage: str
    serial: int  # of the snapshot it started from
    trusted_ns: int  # stamps younger than this are not to be trusted
    levels: Sequence[Sequence[Action]]
    outcomes: Sequence[Outcome]
    marks: tuple[str, ...] = ()  # names that it was about to give to the mark on the remote, in turn
    began: tuple[str, ...] | None = None  # the marks on the remote as it began its first action; None: none
    staged: Mapping[str, Entry] = MappingProxyType({})  # files that are there whole, and not yet in place
    held_back: bool = False  # nothing of it was published yet, as not all was there
    let_go: bool = False  # all was there, and it had begun to publish it

    @property
    def holds_files(self) -> bool:
        """Whether it was to publish all at the end: what it has staged is taken over."""
        return self.held_back or self.let_go

    @property
    def actions(self) -> list[Action]:
        """All that was planned, in the plan's order."""
        return list(chain.from_iterable(self.levels))

    @property
    def open(self) -> list[Action]:
        """The actions whose outcome is unknown: those of one level, as none of a later
        level begins before the outcomes of this one are on the disk."""
        if self.held_back:
            return []
        known = {id(outcome.action) for outcome in self.outcomes}
        for level in self.levels:
            if unknown := [action for action in level if id(action) not in known]:
                return unknown
        return []


class Journal:
    """An open journal. Made by ``begin_journal``."""

    def __init__(
        self, path: str, file: BinaryIO, levels: Sequence[Sequence[Action]], marks: Sequence[str] = ()
    ) -> None:
        self.marks = marks  # see ``Leftover``
        self._path = path
        self._file = file
        self._numbers = _Numbers(levels)
        self._level_ends = set(accumulate(map(len, levels)))
        self._recorded = 0
        self._told = 0  # bytes
        self._flushed = time.monotonic()

    def begin(self, marks: Sequence[str]) -> None:
        """Append what marks the remote has, now that the first action begins: there once an outcome is."""
        try:
            self._file.write(frame({"began": list(marks)}))
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def stage(self, brought: Brought) -> None:
        """Append that a file is there whole, and where nobody sees it. If this gets lost it is sent again."""
        now = time.monotonic()
        try:
            self._file.write(frame({"staged": pack_effects({brought.action.path: brought.held})}))
            if now > self._flushed + FLUSH_EVERY:
                self._file.flush()
                self._flushed = now
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def let_go(self) -> None:
        """All that is to be published is there: from now on it is brought to its end whatever happens."""
        try:
            self._file.write(frame({"let go": True}))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def record(self, outcome: Outcome) -> None:
        """Append an outcome. From time to time they are handed over to the system,
        so that they outlive this process; the last of a level brings all to the disk.

        So it is never more than one level of independent actions of which nothing is
        known, and what the remote shows of each is not blurred by others: of a park
        and what came to its path after, say, or of a swap that is done or not begun.
        """
        now = time.monotonic()
        try:
            self._file.write(frame(pack_outcome(self._numbers.of(outcome.action), outcome)))
            self._recorded += not outcome.again
            if now > self._flushed + FLUSH_EVERY or self._recorded in self._level_ends:
                self._file.flush()
                self._flushed = now
            if self._recorded in self._level_ends:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def take_news(self) -> bytes:
        """What was appended since this was asked the last time, or all. Raises ReconcileError."""
        try:
            self._file.flush()
            with open(open_ours(self._path), "rb") as file:
                file.seek(self._told)
                news = file.read()
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self._told += len(news)
        return news

    def close(self) -> None:
        """Close and leave it for the next run to recover."""
        try:
            self._file.close()
        except OSError:
            pass  # outcomes that got lost are looked for on the remote


class _Numbers:
    """Each action's number in the plan. A dictionary of a million takes ten times the memory."""

    def __init__(self, levels: Sequence[Sequence[Action]]) -> None:
        self._actions = list(chain.from_iterable(levels))
        self._next = 0  # after the one that was asked for last: what goes together comes together
        self._ids = self._sorted = array("Q")

    def of(self, action: Action) -> int:
        """The position of one action, which must be of this plan."""
        number = self._next
        if number >= len(self._actions) or self._actions[number] is not action:
            number = self._find(id(action))
        self._next = number + 1
        return number

    def _find(self, ident: int) -> int:
        if not self._ids:
            ids = array("Q", map(id, self._actions))
            self._sorted = array("Q", sorted(range(len(ids)), key=ids.__getitem__))
            self._ids = array("Q", map(ids.__getitem__, self._sorted))
        at = bisect_left(self._ids, ident)
        assert self._ids[at] == ident
        return self._sorted[at]


def begin_journal(
    folder: str,
    lineage: str,
    serial: int,
    trusted_ns: int,
    levels: Sequence[Sequence[Action]],
    marks: Sequence[str] = (),
    *,
    at_end: bool = False,
) -> Journal:
    """Write down what is going to be done. It is on the disk when this returns.

    ``at_end``: nothing is published before all is there.

    Raises ReconcileError if it can't be written; nothing was done then.
    """
    path = os.path.join(folder, NAME)
    header = {
        "lineage": lineage,
        "serial": serial,
        "trusted_ns": trusted_ns,
        "levels": [len(level) for level in levels],
        "marks": list(marks),
    }
    fresh = f"{path}.new"
    try:
        make_folder(folder)
        fd = create(fresh)
        file = open(fd, "wb", buffering=1 << 16)  # noqa: SIM115 — the journal holds it open
        try:
            version = FORMAT if at_end else PLAIN
            if at_end:
                header["format"] = FORMAT
            file.write(MAGIC + version.to_bytes(4, "big") + frame(header))
            actions = chain.from_iterable(levels)
            while packed := [pack_action(action) for action in islice(actions, _ACTIONS_A_FRAME)]:
                file.write(frame(packed))
            file.flush()
            os.fsync(fd)
            os.replace(fresh, path)
            sync_folder(folder)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise _unwritable(path, error) from error
    return Journal(path, file, levels, marks)


def read_journal(folder: str) -> Leftover | None:
    """What a run before left behind, or None.

    Raises Refused for a file that is no journal of ours, ReconcileError if it
    can't be read.
    """
    path = os.path.join(folder, NAME)
    data = read_file(path, "journal", "Make it readable for this user.")
    if data is None:
        return None
    return _parse(data, path)


def put_journal(folder: str, data: bytes, name: str, ways_out: str) -> None:
    """Put what a run elsewhere has left behind where ``read_journal`` finds it, but where more of it is here.

    It may be anybody's: raises Refused, of what is called ``name``, if it is none, or its paths lead out.
    """
    path = os.path.join(folder, NAME)
    try:
        left = _parse(data, path)
        paths = [path for action in left.actions for path in _paths_of(action)]
        paths += [*left.staged, *(path for outcome in left.outcomes for path in outcome.effects)]
        if not all(map(is_plain, paths)) or not all(map(is_mark, (*left.marks, *(left.began or ())))):
            raise _damaged(path, "a path or a mark in it is none")
    except Refused as refused:
        version = int.from_bytes(data[len(MAGIC) : _PREFIX], "big")
        why = f"was written by a newer reconcile (format {version})" if version > FORMAT else "is damaged"
        raise Refused(f"{name}: the journal of an interrupted run {why}. {ways_out}") from refused
    here = read_file(path, "journal", "Make it readable for this user.")
    if here is not None and here.startswith(data):
        return
    fresh = f"{path}.new"
    try:
        with open(create(fresh), "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _parse(data: bytes, path: str) -> Leftover:
    version = int.from_bytes(data[len(MAGIC) : _PREFIX], "big")
    if not data.startswith(MAGIC) or version == 0:
        raise _damaged(path, "its beginning is damaged")
    if version > FORMAT:
        raise _newer(path, version)
    frames = payloads(data, _PREFIX)
    try:
        return _load(path, version, next(frames, None), frames)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise _damaged(path, "what is in it makes no sense") from error


def _paths_of(action: Action) -> Iterator[str]:
    yield action.path
    yield from (path for path in (action.source, action.home) if path is not None)
    yield from (name for name, _ in action.members)
    yield from action.carried


def _load(path: str, version: int, header: Any, payloads: Iterator[Any]) -> Leftover:
    to_action, to_outcome = _READERS[version]
    if header is None or header.get("format", min(version, PLAIN)) != version:
        raise _damaged(path, "its beginning is damaged")  # the header's is under a checksum
    actions: list[Action] = []
    sizes: list[int] = header["levels"]
    while len(actions) < sum(sizes):
        packed = next(payloads, None)
        if packed is None:
            raise _damaged(path, "the plan in it is damaged")
        actions += map(to_action, packed)
    later = list(payloads)
    told = [payload for payload in later if isinstance(payload, dict)]
    began = [tuple(map(str, each["began"])) for each in told if "began" in each]
    staged = {
        path: present(entry)
        for each in told
        for path, entry in unpack_effects(each.get("staged", {})).items()
    }
    outcomes = [to_outcome(payload, actions) for payload in later if not isinstance(payload, dict)]
    levels = [actions[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]
    marks = tuple(map(str, header.get("marks", ())))
    lineage, serial, trusted_ns = (header[key] for key in ("lineage", "serial", "trusted_ns"))
    let_go = any("let go" in each for each in told)
    return Leftover(
        lineage,
        serial,
        trusted_ns,
        levels,
        outcomes,
        marks,
        began[-1] if began else None,
        staged,
        held_back=version == FORMAT and not let_go,
        let_go=let_go,
    )


def _damaged(path: str, why: str) -> Refused:
    return Refused(
        f"The journal {path!r} of an interrupted run can't be used: {why}. Nothing was done. Remove it and "
        "run again with --refresh, which compares what the snapshot says with what the remote holds."
    )


def _newer(path: str, version: int) -> Refused:
    return Refused(
        f"The journal {path!r} of an interrupted run was written by a newer reconcile (format {version}; "
        f"this one reads up to {FORMAT}). Nothing was done. Use that version once more: it brings the run to "
        "its end. Or remove the journal and run again with --refresh, which compares what the snapshot says "
        "with what the remote holds."
    )


def _unwritable(path: str, error: OSError) -> ReconcileError:
    return ReconcileError(
        f"The journal {path!r} can't be written: {error.strerror}. What was done so far is found on "
        "the remote by the next run. Make room or correct the permissions there, or choose another folder "
        "with --state."
    )
