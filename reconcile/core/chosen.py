"""Which changes are for this run, and which are left for another. Pure.

What may live here: the choice by path (``--only``), by age (``--min-age``), and by a plan that somebody has
looked at (``reviewed``). What is left is neither touched nor forgotten: the snapshot says of it what it said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from reconcile.core.model import NS, Change, Entry, Kind, Problem, Reason, Stage
from reconcile.core.paths import ancestors, basename, parent, within

_YOUNG = "changed a moment ago, and may still be written (--min-age); the next run looks at it again"
_FORMER = (
    "gone here, and perhaps what changed a moment ago under another name (--min-age); it stays until the "
    "next run has looked again"
)


def at_or_below(changes: Iterable[Change], tops: Collection[str]) -> list[Change]:
    """The changes at these paths and in them; of what is above them directories that have to come."""
    above = {top for path in tops for top in ancestors(parent(path))}
    return [
        change
        for change in changes
        if within(change.path, tops) or (change.path in above and _brings_directory(change))
    ]


def is_in_scope(path: str, scope: Collection[str] | None) -> bool:
    """Whether a run that looks at and below these paths has looked at this one. None: it looks at all."""
    return scope is None or within(path, scope)


def young_since(min_age: float, now_ns: int) -> int:
    """In nanoseconds since the epoch: what was modified later is younger than ``min_age`` seconds."""
    return now_ns - round(min_age * NS)


def find_young(changes: Iterable[Change], min_age: float, now_ns: int) -> dict[str, Entry]:
    """The files here that are younger than ``min_age`` seconds, by path."""
    since = young_since(min_age, now_ns)
    return {c.path: c.new for c in changes if c.new is not None and _is_younger(c.new, since, now_ns)}


def find_former(changes: Sequence[Change], young: Mapping[str, Entry]) -> set[str]:
    """Paths that are gone here and may be what became of ``young``, with the directories that hold them.

    A file that was given another name, or another folder, and then changed is told by its inode, or by its
    name; one of which no inode is known may be any that is in its folder now. Were its old path deleted, DEST
    would have nothing of it until it is old enough.
    """
    inodes = {new.stamp.ino for new in young.values() if new.stamp is not None}
    folders = {parent(path) for path in young}
    names = {basename(change.path) for change in changes if change.path in young and change.old is None}
    gone = {change.path: change.old for change in changes if change.new is None and change.old is not None}

    def is_among(path: str, old: Entry) -> bool:
        if basename(path) in names:
            return True
        if old.stamp is None or not old.stamp.ino:
            return parent(path) in folders
        return old.stamp.ino in inodes

    former = {path for path, old in gone.items() if old.kind is Kind.FILE and is_among(path, old)}
    return former | {top for path in former for top in ancestors(parent(path)) if top in gone}


def note_young(young: Iterable[str], former: Iterable[str]) -> list[Problem]:
    """What there is to be told of each that waits."""
    told = {**dict.fromkeys(former, _FORMER), **dict.fromkeys(young, _YOUNG)}
    return [Problem(path, Stage.SCAN, Reason.YOUNG, why) for path, why in sorted(told.items())]


def _brings_directory(change: Change) -> bool:
    old, new = change.old, change.new
    if new is None or new.excluded or new.kind is not Kind.DIR:
        return False
    return old is None or old.kind is not Kind.DIR


def _is_younger(new: Entry, since: int, now: int) -> bool:
    """By when it was modified; by when its inode changed if that is in the future, as a camera has it."""
    if new.excluded or new.kind is not Kind.FILE or new.stamp is None:
        return False
    moment = new.stamp.mtime_ns if new.stamp.mtime_ns <= now else new.stamp.ctime_ns
    return since < moment <= now
