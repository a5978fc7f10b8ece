"""Which changes are for this run, and which are left for another. Pure.

What may live here: the choice by path (``--only``), by age (``--min-age``), and by a plan that somebody has
looked at (``reviewed``). What is left is neither touched nor forgotten: the snapshot says of it what it said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from reconcile.core.model import NS, Change, Entry, Kind, Problem, Reason, Stage
from reconcile.core.paths import ancestors, parent, within

_YOUNG = "changed a moment ago, and may still be written (--min-age); the next run looks at it again"


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


def leave_young(
    changes: Sequence[Change], min_age: float, now_ns: int
) -> tuple[Sequence[Change], list[Problem]]:
    """The changes without files that are younger than ``min_age`` seconds, and a note on each of these."""
    since = now_ns - round(min_age * NS)
    young = {change.path for change in changes if _is_younger(change.new, since, now_ns)}
    if not young:
        return changes, []
    notes = [Problem(path, Stage.SCAN, Reason.YOUNG, _YOUNG) for path in sorted(young)]
    return [change for change in changes if change.path not in young], notes


def _brings_directory(change: Change) -> bool:
    old, new = change.old, change.new
    if new is None or new.excluded or new.kind is not Kind.DIR:
        return False
    return old is None or old.kind is not Kind.DIR


def _is_younger(new: Entry | None, since: int, now: int) -> bool:
    """By when it was modified; by when its inode changed if that is in the future, as a camera has it."""
    if new is None or new.excluded or new.kind is not Kind.FILE or new.stamp is None:
        return False
    moment = new.stamp.mtime_ns if new.stamp.mtime_ns <= now else new.stamp.ctime_ns
    return since < moment <= now
