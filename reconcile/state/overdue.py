"""Deletes that the guard has let through, and that could not be made: they need no leave again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from reconcile.core.arrivals import lost
from reconcile.core.chosen import is_in_scope
from reconcile.core.model import Action
from reconcile.state.small import recall, remember

NAME = "overdue"


def read_overdue(folder: str) -> Mapping[str, int]:
    """By path how many entries were to go with it. If that is damaged nothing: the guard counts all then."""
    try:
        return {path: count for path, count in recall(folder, NAME) or () if type(path) is str and count > 0}
    except (ValueError, TypeError):
        return {}


def note_overdue(folder: str, undone: Iterable[Action], scope: Collection[str] | None = None) -> None:
    """Remember the deletes of this run that failed, in the place of those before it that are in ``scope``."""
    before = read_overdue(folder)
    rows = [row for row in before.items() if not is_in_scope(row[0], scope)]
    rows += [(action.path, lost(action)) for action in undone]
    with suppress(OSError):
        if rows or before:
            remember(folder, NAME, rows or None)
