"""When a job was last told to run by itself: so that it can be said when the next run is due."""

from __future__ import annotations

from contextlib import suppress

from msgspec import ValidationError, convert, to_builtins

from reconcile.core.timetable import Timetable
from reconcile.state.small import recall, remember
from reconcile.state.store import make_folder

NAME = "schedule"
VERSION = 1


def remember_schedule(folder: str, table: Timetable | None) -> None:
    """Note it, in the place of the one before; None: it is none any more. Never fails."""
    with suppress(OSError):
        if table is not None:
            make_folder(folder)
        remember(folder, NAME, None if table is None else [VERSION, to_builtins(table)])


def recall_schedule(folder: str) -> Timetable | None:
    """None: there is none, or none that we understand."""
    with suppress(ValueError, TypeError, ValidationError):
        version, table = recall(folder, NAME)
        if version == VERSION:
            return convert(table, Timetable)
    return None
