"""A plan that somebody has looked at, and the one that is made when it shall be carried out. Pure.

It is not carried out as it was saved: the plan is made anew, from what is there then, and has to come to the
same. So nothing that a saved plan says is believed, whoever wrote it: it can only keep a run from doing
something else. What times of files are, and what inodes, is no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconcile.core.errors import Refused
from reconcile.core.model import Action, Change, Kind, Op, Plan
from reconcile.core.paths import within

_DEEDS = {
    Op.CREATE: "created",
    Op.MKDIR: "made",
    Op.MODIFY: "changed",
    Op.SETMETA: "given another mode or time",
    Op.MOVE: "moved here",
    Op.DELETE: "deleted",
}
_NAMED = 5  # paths in a message


def leave_others(changes: Sequence[Change], actions: Iterable[Action]) -> list[Change]:
    """The changes of which a reviewed plan knows: what else has changed since is for the next run."""
    alone, tops = set[str](), set[str]()
    for action in actions:
        some = tops if action.op in (Op.MOVE, Op.DELETE) and action.kind is Kind.DIR else alone
        some |= {path for path in (action.path, action.source, action.home) if path is not None}
    return [change for change in changes if change.path in alone or within(change.path, tops)]


def check_same(actions: Iterable[Action], plan: Plan) -> None:
    """Raises Refused unless the plan does what was reviewed, and nothing else. All content must be known."""
    then, now = _by_path(actions), _by_path(plan.actions)
    troubles = {problem.path: problem.message for problem in plan.problems}
    differences = {}
    for path in sorted(then.keys() | now.keys()):
        why = _tell_difference(then.get(path, {}), now.get(path, {}))
        if why is not None:
            differences[path] = troubles.get(path, why)
    if differences:
        raise changed("SRC", differences)


def check_footing(reviewed: tuple[str, int], stored: tuple[str, int]) -> None:
    """Raises Refused unless a plan was made on the state that there is: its lineage and serial."""
    if reviewed == stored:
        return
    lineage, serial = reviewed
    if stored == ("", 0):
        why = "there is no state here of what it was made on (--state)"
    elif not lineage:
        why = "it is of a first run, and one was made since"
    elif stored[0] != lineage:
        why = "it was made on another state: of another job, or of one that has begun anew since"
    elif stored[1] > serial:
        why = f"a run was made since (it is of serial {serial}, and the state of {stored[1]} by now)"
    else:
        why = f"the state here is older than the one it was made on (serial {stored[1]}, not {serial})"
    raise Refused(f"The plan does not fit any more: {why}. Nothing was done. Plan again.")


def changed(where: str, differences: Mapping[str, str]) -> Refused:
    """What is to be said of paths that are not as they were, with why."""
    told = [f"{path or './'!r} {why}" for path, why in list(differences.items())[:_NAMED]]
    more = f", and {len(differences) - _NAMED:,} more" if len(differences) > _NAMED else ""
    return Refused(
        f"{where} is not as it was when this was planned: {', '.join(told)}{more}. Nothing was done. "
        "Plan again."
    )


def _by_path(actions: Iterable[Action]) -> dict[str, dict[Op, Action]]:
    found: dict[str, dict[Op, Action]] = {}
    for action in actions:
        if not action.parks and not _sets_time_alone(action):
            found.setdefault(action.path, {})[action.op] = action
    return found


def _sets_time_alone(action: Action) -> bool:
    """It follows the content, and says nothing that was reviewed."""
    old, new = action.old, action.new
    same_mode = old is not None and new is not None and old.wished_mode == new.wished_mode
    return action.op is Op.SETMETA and action.kind is Kind.FILE and same_mode


def _tell_difference(then: Mapping[Op, Action], now: Mapping[Op, Action]) -> str | None:
    """What is another at one path; None: nothing."""
    missing, more = [op for op in then if op not in now], [op for op in now if op not in then]
    if missing and more:
        return f"would be {_DEEDS[more[0]]} by now, and not {_DEEDS[missing[0]]}"
    if missing:
        return f"would not be {_DEEDS[missing[0]]} any more"
    if more:
        return f"would be {_DEEDS[more[0]]}, which was not planned"
    return next((why for op in then for why in _differences(then[op], now[op])), None)


def _differences(then: Action, now: Action) -> Iterator[str]:
    if _origin(then) != _origin(now):
        yield "would come from elsewhere"
    if then.kind is not now.kind:
        yield f"is a {now.kind} by now, and was a {then.kind}"
    old, new = then.new, now.new
    if old is not None and new is not None:
        if old.link != new.link:
            yield "is a link to elsewhere by now"
        if (old.size, old.digest) != (new.size, new.digest):
            yield "holds something else by now"
        if old.wished_mode != new.wished_mode:
            yield f"has mode {new.wished_mode:03o} by now, and not {old.wished_mode:03o}"
    if sorted(name for name, _ in then.members) != sorted(name for name, _ in now.members):
        yield "would go with other entries in it"
    if (then.entries, then.keep) != (now.entries, now.keep):
        yield "would go or move with other entries in it, or to another place"


def _origin(action: Action) -> str | None:
    """Where a move begins, wherever it is parked meanwhile."""
    return (action.home or action.source) if action.op is Op.MOVE else None
