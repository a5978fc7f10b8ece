"""Making room for what is new, where nothing may be deleted. Pure.

Without ``--mirror`` what is gone here stays on the remote. Where it can't stay in its
place, because something of another kind comes there, it goes to the kept part of the trash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconcile.core.diff import same_content
from reconcile.core.job import Options
from reconcile.core.model import Action, Entry, Kind, Op, Problem, Reason, Stage


def must_be_kept(
    options: Options, old: Entry | None, new: Entry | None, inside: Iterable[Entry] = ()
) -> bool:
    """Whether what makes room for ``new`` (None: for a folder) outlives the run, in the trash.

    A file that a newer one replaces is no more than changed. ``inside`` a directory nothing else
    than files is content: a link can be made again from what its name says, an empty folder holds none.
    """
    if old is None:
        return False
    if old.foreign:
        return True
    if options.mirror or (new is not None and new.kind is old.kind):
        return False
    return old.kind is Kind.FILE or any(entry.kind is Kind.FILE for entry in inside)


def is_another(options: Options, old: Entry | None, new: Entry) -> bool:
    """Whether a file that is moved to where one is gone here brings other content.

    It is no later state of that one, which may be the only copy: so this outlives the run, too.
    """
    if options.mirror or old is None or not old.retained:
        return False
    return old.kind is new.kind is Kind.FILE and not same_content(old, new)


def note_kept(actions: Iterable[Action]) -> Iterator[Problem]:
    """What goes to the kept trash though it is ours: nobody asked for it to go."""
    for action in actions:
        old = action.old
        if not action.keep or old is None or old.foreign or action.awaits:
            continue
        holding = f", with {action.entries - 1:,} entries in it," if action.entries > 1 else ""
        message = (
            f"{_why(action)}; the {old.kind} on the remote{holding} goes to the kept trash, as nothing is "
            "deleted without --mirror"
        )
        yield Problem(action.path, Stage.PLAN, Reason.KEPT, message)


def _why(action: Action) -> str:
    if action.op is Op.MOVE:
        return "another file was moved there" if action.kind is Kind.FILE else "a link was moved there"
    return "is now a link" if action.op is Op.MODIFY else action.reason


def note_carried(action: Action, retained: int) -> Iterator[Problem]:
    """What comes along with a directory that moves, or stays, though nobody here sees it."""
    parts = [f"{retained:,} entries in it that are gone here come along"] if retained else []
    if action.careful:
        parts.append(f"what is excluded in {action.source!r}, or not ours, stays there on the remote")
    if parts:
        yield Problem(action.path, Stage.PLAN, Reason.STAYS, f"a folder moves: {'; '.join(parts)}")
