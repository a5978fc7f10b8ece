"""What ``undo`` holds back: paths that stay as it has left them, each with what SRC had, and brought, there.

Most jobs hold nothing, and so import nothing more for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct, field

from reconcile.core.errors import Refused
from reconcile.core.model import Entry
from reconcile.core.paths import is_plain
from reconcile.state.small import recall, remember

HELD = "held"
VERSION = 1


class Undone(Struct, frozen=True):
    """What stays as ``undo`` has left it."""

    undoing: tuple[int, ...] = ()  # serials of what is being undone: that may have broken off
    paths: Mapping[str, Entry | None] = field(default_factory=dict)  # what the run had left at each
    since: int = -1  # serial of the state from which the last undo went on


def recall_undone(folder: str) -> Undone:
    """What is held. Raises Refused where that can't be told: what was undone must not come again."""
    try:
        value = recall(folder, HELD)
        if value is None:
            return Undone()
        from reconcile.state.actions import unpack_effects

        version, undoing, packed, *rest = value
        paths = unpack_effects(packed)
        check_paths(paths, version)
        return Undone(tuple(map(int, undoing)), paths, *map(int, rest[:1]))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Refused(
            f"What 'reconcile undo' holds back can't be read from {os.path.join(folder, HELD)!r}: it is "
            "damaged, or of a newer version. Nothing was done. Remove it, and what was undone comes again."
        ) from error


def keep_undone(folder: str, undone: Undone) -> None:
    """Remember what is held. Raises OSError."""
    from reconcile.state.actions import pack_effects

    is_nothing = not undone.paths and not undone.undoing
    value = [VERSION, undone.undoing, pack_effects(undone.paths), undone.since]
    remember(folder, HELD, None if is_nothing else value)


def check_paths(paths: Mapping[str, object], version: object) -> None:
    """Raises ValueError for what is no path below DEST, and for what a later version has written."""
    if version != VERSION or not all(type(path) is str and is_plain(path) for path in paths):
        raise ValueError("nothing of ours")
