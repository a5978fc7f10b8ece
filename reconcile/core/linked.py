"""Links on the remote where there is a directory here, as ``uploads -> ../shared/uploads``: left there. Pure.

What may live here: what of a plan that concerns. Such a link is known as foreign once DEST was
adopted, or was met with ``--keep-remote-links``.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.core.model import Change, Entry, Kind, Problem, Reason, Stage
from reconcile.core.paths import within

_STAYS = (
    "a link on the remote, and a directory here: the link stays, and nothing is brought into what it leads "
    "to. To have the directory, remove the link there and run with --refresh"
)


def leave_links(changes: Sequence[Change]) -> tuple[Sequence[Change], dict[str, Entry | None], list[Problem]]:
    """The changes without those at such links and below, what is true without them, and notes that say so."""
    linked = {change.path for change in changes if _is_linked(change.old)}
    if not linked:
        return changes, {}, []
    news = {change.path: change.new for change in changes if change.path in linked}
    stays = {path for path, new in news.items() if new is not None and new.kind is Kind.DIR}
    gone = {path for path, new in news.items() if new is None}
    left = [change for change in changes if change.path not in gone and not within(change.path, stays)]
    return left, dict.fromkeys(gone), [note_link(path, Stage.PLAN) for path in sorted(stays)]


def note_link(path: str, stage: Stage) -> Problem:
    """That a link stays."""
    return Problem(path, stage, Reason.KEPT, _STAYS)


def note_left(path: str) -> Problem:
    """That one stays though the directory went from here."""
    return Problem(path, Stage.APPLY, Reason.KEPT, "gone here, and a link on the remote by now: it stays")


def foreign_link(link: str | None) -> Entry:
    """What the snapshot says of one."""
    return Entry(Kind.SYMLINK, 0o777, link=link, foreign=True)


def _is_linked(old: Entry | None) -> bool:
    return old is not None and old.foreign and old.kind is Kind.SYMLINK
