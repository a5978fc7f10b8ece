"""Everything is brought before anything is published: what can be staged at once, and what is there already.

And what is to be done of a run that broke off while it published: the rest, at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec.structs import replace

from reconcile.apply.levels import apply
from reconcile.core.arrivals import arriving, wait
from reconcile.core.diff import same_stamp
from reconcile.core.errors import Refused
from reconcile.core.job import Stop
from reconcile.core.model import Action, Brought, Entry, Kind, Op, Outcome, Plan, Problem, Reason, Stage
from reconcile.core.units import show_bytes
from reconcile.remotes import Remote
from reconcile.source.files import Source, SourceError

OVERHEAD = 8 * 1024  # bytes that a file may take beyond its content


def stage(
    plan: Plan, remote: Remote, source: Source, stop: Stop, staged: Mapping[str, Entry], *, partly: bool
) -> Iterator[Brought | Outcome]:
    """Bring the content of all uploads. ``staged``: what a dead run had brought.

    Raises Refused where that has no room beside what is there; not if it may come ``partly``.
    """
    uploads = list(filter(brings_a_file, plan.actions))
    known = dict(_wanted(uploads, staged, source))
    if not partly:
        _check_room((a for a in uploads if a.path not in known), remote)
    yield from _stage_levels(plan.levels, remote, source, stop, known)


def _stage_levels(
    levels: Sequence[Sequence[Action]],
    remote: Remote,
    source: Source,
    stop: Stop,
    known: Mapping[str, Entry],
) -> Iterator[Brought | Outcome]:
    """Level by level: what is published together may be staged together."""
    leaving = _leaving(chain.from_iterable(levels))
    for level in levels:
        if uploads := list(filter(brings_a_file, level)):
            yield from remote.stage(uploads, source, stop, known, leaving)


def brings_a_file(action: Action) -> bool:
    """Whether it is something to be staged."""
    return action.op in (Op.CREATE, Op.MODIFY) and action.kind is Kind.FILE


def tell_held_back(failed: Sequence[Outcome], plan: Plan) -> Problem:
    """Why nothing was published."""
    count = sum(map(brings_a_file, plan.actions))
    first = next((outcome.problem for outcome in failed if outcome.problem is not None), None)
    path = "" if first is None else f" ({first.path!r})"
    text = (
        f"nothing published: {len(failed):,} of {count:,} failed{path}. What has come is kept there, out of "
        "sight, and not sent again. Put that right and run again, or let the rest go with --publish-partial"
    )
    return Problem("", Stage.APPLY, Reason.FAILED, text)


def finish(
    levels: Sequence[Sequence[Action]],
    ended: Iterable[Outcome],
    staged: Mapping[str, Entry],
    remote: Remote,
    source: Source,
) -> Iterator[Outcome]:
    """Publish the rest of what a dead run had let go: what it had staged is there, whatever SRC holds now.

    What is to be sent again after all has to be what it was: a newer page would name what is not there yet.
    """
    ended = list(ended)
    known = {_named(outcome.action) for outcome in ended}
    found = arriving(filter(brings_a_file, chain.from_iterable(levels)), ())  # a journal does not tell it
    left = [
        [
            wait(action, found) if action.op is Op.DELETE else action
            for action in level
            if _named(action) not in known
        ]
        for level in levels
    ]
    was_exact, source.exact = source.exact, True
    try:
        staging = _stage_levels(left, remote, source, Stop(), staged)
        failed = [each for each in staging if isinstance(each, Outcome)]
        yield from failed
        failed += (outcome for outcome in ended if not outcome.done)
        yield from apply(Plan(levels=left), remote, source, Stop(), failed_before=failed)
    finally:
        source.exact = was_exact


def _leaving(actions: Iterable[Action]) -> frozenset[str]:
    """Paths at which something else may be once all before the uploads is done."""
    return frozenset(a.source or a.path for a in actions if a.op in (Op.MOVE, Op.DELETE))


def _named(action: Action) -> tuple[str, ...]:
    """What tells an action of a plan from all others of it."""
    return action.op, action.path, action.reason


def _wanted(
    uploads: Iterable[Action], staged: Mapping[str, Entry], source: Source
) -> Iterator[tuple[str, Entry]]:
    """What of ``staged`` is what is to be brought: the same file, or at least the same content."""
    for action in uploads:
        held, new = staged.get(action.path), action.new
        if held is None or new is None or held.size != new.size or held.digest is None:
            continue
        if same_stamp(held.stamp, new.stamp) or _digest(action.path, new, source) == held.digest:
            yield action.path, replace(held, stamp=new.stamp)


def _digest(path: str, new: Entry, source: Source) -> bytes | None:
    if new.digest is not None or new.stamp is None:
        return new.digest
    try:
        return source.digest(path, new.stamp)
    except SourceError:
        return None  # told once it is to be sent


def _check_room(uploads: Iterable[Action], remote: Remote) -> None:
    sizes = [action.size for action in uploads if action.source is None]
    room = remote.room() if sizes else None
    need = sum(sizes) + OVERHEAD * len(sizes)
    if room is not None and room < need:
        raise Refused(
            f"DEST has room for {show_bytes(room)}, and --publish end brings {show_bytes(need)} before "
            "anything there goes. Nothing was done. Make room, or publish each file as soon as it is there "
            "(--publish each)."
        )
