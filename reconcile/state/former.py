"""What journals of earlier formats hold, read for ever: an update may come in the middle of a run.

What may live here: readers, each of one format that is not the present one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconcile.core.model import Action, Entry, Kind, Op, Outcome, Stamp
from reconcile.core.paths import parking_place
from reconcile.state.actions import present, unpack_problem
from reconcile.state.entries import tag_1

_KINDS = (Kind.FILE, Kind.DIR, Kind.SYMLINK)
_OPS = (Op.CREATE, Op.MODIFY, Op.MOVE, Op.DELETE, Op.MKDIR, Op.SETMETA, Op.MOVE)
_PARK = 6


def unpack_action_1(packed: Any) -> Action:
    """An action of format 1. Parking places had numbers; ``source`` was what was left for them."""
    op, path, new, old, source, moved, parked, members, flags, carried, entries, reason = packed
    home = None
    if op == _PARK:
        path, new, old, source = parking_place(parked), old, None, path
    elif parked is not None:
        source, home = parking_place(parked), source
    return Action(
        _OPS[op],
        path,
        _entry_1(new),
        _entry_1(old),
        source,
        _entry_1(moved),
        home,
        tuple((inside, present(_entry_1(entry))) for inside, entry in members),
        keep=bool(flags & 1),
        whole=bool(flags & 2),
        careful=bool(flags & 4),
        carried=_effects_1(carried),
        entries=entries,
        reason=reason,
    )


def unpack_outcome_1(packed: Any, actions: Sequence[Action]) -> Outcome:
    """An outcome of format 1."""
    number, effects, told = packed
    return Outcome(actions[number], _effects_1(effects), unpack_problem(told))


def _effects_1(packed: Any) -> dict[str, Entry | None]:
    return {path: _entry_1(entry) for path, entry in packed.items()}


def _entry_1(packed: Any) -> Entry | None:
    if packed is None:
        return None
    kind, mode, size, mtime_ns, digest, link, stamp, tag, flags = packed
    return Entry(
        _KINDS[kind],
        mode,
        size,
        mtime_ns,
        digest,
        link,
        None if stamp is None else Stamp(*stamp),
        None if tag is None else tag_1(tag, size, mtime_ns),
        retained=bool(flags & 1),
        excluded=bool(flags & 2),
        foreign=bool(flags & 4),
    )
