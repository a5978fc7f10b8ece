"""The packed form of actions, and of what became of them, as a journal holds them. Only the codec lives here.

What is here is of the present format. What earlier ones were is in ``former``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconcile.core.model import Action, Entry, Op, Outcome, Problem, Reason, Stage, Stamp
from reconcile.state.entries import LENGTH, pack_entry, unpack_entry

# The position is what is written: only ever append.
_OPS = (Op.CREATE, Op.MODIFY, Op.MOVE, Op.DELETE, Op.MKDIR, Op.SETMETA)


def pack_action(action: Action) -> object:
    """One step that is intended."""
    new, old, moved = action.new, action.old, action.moved  # mostly there is but one of them
    return (
        _OPS.index(action.op),
        action.path,
        new and _pack(new),
        old and _pack(old),
        action.source,
        moved and _pack(moved),
        action.home,
        [(inside, _pack(entry)) for inside, entry in action.members] if action.members else (),
        action.keep | action.whole << 1 | action.careful << 2,
        pack_effects(action.carried) if action.carried else {},
        action.entries,
        action.reason,
    )


def unpack_action(packed: Any) -> Action:
    """The same again. What is no action raises ValueError, TypeError, KeyError or IndexError."""
    op, path, new, old, source, moved, home, members, flags, carried, entries, reason = packed
    return Action(
        _OPS[op],
        path,
        _unpack(new),
        _unpack(old),
        source,
        _unpack(moved),
        home,
        tuple((inside, present(_unpack(entry))) for inside, entry in members),
        keep=bool(flags & 1),
        whole=bool(flags & 2),
        careful=bool(flags & 4),
        carried=unpack_effects(carried),
        entries=entries,
        reason=reason,
    )


def pack_outcome(number: int, outcome: Outcome) -> object:
    """What became of the action with this number."""
    problem = outcome.problem
    told = (
        None if problem is None else (problem.path, str(problem.stage), str(problem.reason), problem.message)
    )
    return number, pack_effects(outcome.effects), told


def unpack_outcome(packed: Any, actions: Sequence[Action]) -> Outcome:
    """The same again."""
    number, effects, told = packed
    return Outcome(actions[number], unpack_effects(effects), unpack_problem(told))


def unpack_problem(told: Any) -> Problem | None:
    """What was told of an action that failed."""
    return None if told is None else Problem(told[0], Stage(told[1]), Reason(told[2]), told[3])


def present(entry: Entry | None) -> Entry:
    """An entry where there must be one."""
    if entry is None:
        raise ValueError("a member without an entry")
    return entry


def _pack(entry: Entry | None) -> object:
    if entry is None:
        return None
    packed, stamp = pack_entry(entry), entry.stamp
    if stamp is not None:
        packed += stamp.ino, stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.mode
    return packed


def _unpack(packed: Any) -> Entry | None:
    if packed is None:
        return None
    stamp = packed[LENGTH:]
    return unpack_entry(packed[:LENGTH], Stamp(*stamp) if stamp else None)


def pack_effects(effects: Mapping[str, Entry | None]) -> object:
    """What is at some paths."""
    return {path: _pack(entry) for path, entry in effects.items()}


def unpack_effects(packed: Any) -> dict[str, Entry | None]:
    """The same again."""
    return {path: _unpack(entry) for path, entry in packed.items()}
