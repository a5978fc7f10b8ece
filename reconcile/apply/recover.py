"""What an interrupted run left: fence, observe, fold. Then the next run scans and diffs anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from reconcile.apply.arrived import tell_by_content
from reconcile.apply.levels import by_depth, find_out, way_home
from reconcile.apply.staging import finish
from reconcile.core.fold import Fold, fold
from reconcile.core.model import (
    UNSEEN,
    Action,
    Directory,
    DirectorySnapshot,
    Entry,
    Footing,
    Kind,
    Op,
    Outcome,
    Problem,
    Reason,
    Stage,
)
from reconcile.core.observe import makes_way, matches
from reconcile.core.paths import Inside, join
from reconcile.remotes import Remote
from reconcile.source.files import Source, SourceError
from reconcile.state.journal import Leftover


def recover(
    old: DirectorySnapshot,
    leftover: Leftover,
    remote: Remote,
    source: Source,
    say: Callable[[str], None] | None = None,
) -> DirectorySnapshot:
    """The snapshot that is true after the interrupted run, whose folder is fenced off.

    Puts back what it had parked. ``say``: where times prove nothing, what may have arrived is read back, and
    that is told what may take long. Raises ConnectionLost.
    """
    outcomes = list(_know(old, leftover, remote, source))
    if say is not None:
        outcomes = list(tell_by_content(outcomes, remote, source, say))
    ways = _choose_ways(leftover, outcomes, remote)
    outcomes += map(_came_home, ways.at_home)
    homes = [way_home(action) for action in ways.back]
    meant = {id(home): action for home, action in zip(homes, ways.back, strict=True)}
    for group in by_depth(homes):
        for outcome in remote.perform(group, source):
            action = meant[id(outcome.action)]
            if outcome.done:
                outcomes.append(_came_home(action))
            elif action.path in ways.free:  # what it was in is gone, say
                ways.on.append(action)
    for group in by_depth(ways.on):
        outcomes += remote.perform(group, source)
    if leftover.let_go and all(a.op is not Op.MOVE for a in leftover.actions):
        outcomes += finish(leftover.levels, outcomes, leftover.staged, remote, source)
    return fold(old, outcomes, {}, leftover.trusted_ns)


def foresee(
    old: DirectorySnapshot, leftover: Leftover, footing: Footing, remote: Remote, source: Source
) -> DirectorySnapshot:
    """What ``recover`` would come to, for a plan: looks, and changes nothing.

    Raises Refused, or Stale: see ``check``.
    """
    remote.check(footing, resume=True)
    outcomes = list(_know(old, leftover, remote, source))
    ways = _choose_ways(leftover, outcomes, remote)
    outcomes += map(_came_home, [*ways.at_home, *ways.back])
    for action in ways.on:
        outcomes.append(Outcome(action, {} if action.kind is Kind.DIR else {action.path: action.new}))
    return fold(old, outcomes, {}, leftover.trusted_ns)


class _Ways(Struct, frozen=True):
    """Where what was parked goes."""

    at_home: list[Action]  # it is back already
    back: list[Action]  # to its old place
    on: list[Action]  # to where it was meant to go
    free: set[str]  # where that is possible


def _choose_ways(leftover: Leftover, outcomes: Sequence[Outcome], remote: Remote) -> _Ways:
    """Back; where the old place is taken by now, on. Where both are it stays: nothing is driven out.

    Then whatever is parked and comes from there must go on, too: in a chain each has the place of the next.
    """
    stranded = _stranded(leftover, outcomes)
    arrived = {outcome.action.path for outcome in outcomes if _has_arrived(outcome)}
    ends = ((a.home or "", a.source or "", a.path) for a in stranded)
    seen = dict(remote.look({path: None for paths in ends for path in paths}))

    def is_taken(path: str, action: Action, replaced: Entry | None = None) -> bool:
        there = seen[path]
        if there is None or matches(there, replaced, remote):
            return False
        # A directory that did not come in the run may be what stayed of this one, or of another.
        return action.kind is not Kind.DIR or there.kind is not Kind.DIR or path in arrived

    ways = _Ways([], [], [], {a.path for a in stranded if not is_taken(a.path, a, a.old)})
    left: dict[str, Action] = {}
    for action in stranded:
        home = action.home or ""
        gone = seen[action.source or ""] is None
        # What has come there in the run may look just the same: of equal size and time, as logs are.
        if gone and home not in arrived and matches(seen[home], action.moved, remote):
            ways.at_home.append(action)
        else:
            left[home] = action
    begun = {action.path for action in _may_have_begun(leftover, outcomes) if action.path not in arrived}
    waiting = [
        home
        for home, action in sorted(left.items(), reverse=True)
        if is_taken(home, action)
        or (action.path in begun and (there := seen[action.path]) is not None and there.kind is Kind.DIR)
    ]
    while waiting:
        if (onward := left.pop(waiting.pop(), None)) is not None:
            if onward.path in ways.free:
                ways.on.append(onward)
            waiting.append(onward.path)
    ways.back.extend(left.values())
    return ways


def _may_have_begun(leftover: Leftover, outcomes: Sequence[Outcome]) -> Iterator[Action]:
    """Moves of directories out of their parking places that may be done in part.

    Into a directory that is there already one moves piece by piece. What has arrived there can't be told
    by its look, nor by its name, from what was there before: so it goes on, never back.
    """
    whole = {o.action.path for o in leftover.outcomes if o.action.parks and o.done}
    done = {(o.action.source, o.action.path) for o in outcomes if o.done}
    ours = {
        action.source
        for action in leftover.actions
        if (action.parks and action.path not in whole)
        or (action.op is Op.MOVE and not makes_way(action) and (action.source, action.path) not in done)
    }
    for action in leftover.actions:
        is_folder = action.source in whole and action.kind is Kind.DIR
        if is_folder and action.old is None and action.path not in ours:
            yield action


def _came_home(action: Action) -> Outcome:
    home = way_home(action)
    return Outcome(action, {home.path: home.new}, _interrupted(action))


def _know(old: DirectorySnapshot, leftover: Leftover, remote: Remote, source: Source) -> Iterator[Outcome]:
    """The journal's outcomes, and for actions without one what the remote shows of them."""
    truth = Fold(old, {}, leftover.trusted_ns)
    for outcome in leftover.outcomes:
        truth.follow(outcome)
        yield outcome
    now = truth.dirs
    open_ = [replace(action, inside=_inside(action, now)) for action in leftover.open]
    known: set[str] = set()
    for outcome in find_out(open_, remote):
        known.add(outcome.action.path)
        if outcome.done and outcome.action.op is Op.MOVE and outcome.action.kind is Kind.DIR:
            yield replace(outcome, effects=_check_members(outcome.action, remote))
        else:
            yield replace(outcome, effects=dict(_read_digests(outcome.effects, source)))
    begun = {a.path: a for a in open_ if a.parks and a.kind is Kind.DIR and a.path not in known}
    for place, there in remote.look(begun):
        if there is not None and there.kind is Kind.DIR:
            yield Outcome(begun[place])  # a part of it is aside, and goes home to the rest


def _inside(action: Action, now: Mapping[str, Directory]) -> Iterable[tuple[str, Entry]]:
    """What is in a directory that moves. Of one in the trash the action alone knows."""
    if not action.comes_back:
        return Inside(now, action.source or "")
    inner = len(action.path) + 1
    return [(path[inner:], entry) for path, entry in action.carried.items() if entry is not None]


def _check_members(action: Action, remote: Remote) -> dict[str, Entry | None]:
    """Of a directory that has moved unseen: drop what is not as we know it."""
    known = {join(action.path, name): entry for name, entry in action.inside}
    seen = remote.look(known)
    return {
        path: None for path, there in seen if there is not UNSEEN and not matches(there, known[path], remote)
    }


def _read_digests(effects: Mapping[str, Entry | None], source: Source) -> Iterator[tuple[str, Entry | None]]:
    """Claimed content was read while it was sent; if the file has not changed since, so once more."""
    for path, entry in effects.items():
        if entry is not None and entry.kind is Kind.FILE and entry.digest is None and entry.stamp is not None:
            try:
                entry = replace(entry, digest=source.digest(path, entry.stamp))
            except SourceError:
                pass  # it changed meanwhile: the diff will see that
        yield path, entry


def _has_arrived(outcome: Outcome) -> bool:
    """Whether its path holds what was meant to come there, if perhaps with the mode or time of before."""
    return outcome.done or outcome.effects.get(outcome.action.path) is not None


def _stranded(leftover: Leftover, outcomes: Sequence[Outcome]) -> list[Action]:
    """Moves whose content is still in its parking place."""
    parked = {o.action.path for o in outcomes if o.action.parks and o.done}
    parked -= {o.action.source for o in outcomes if _has_arrived(o) or o.put_back}
    return [action for action in leftover.actions if action.source in parked]


def _interrupted(action: Action) -> Problem:
    return Problem(action.path, Stage.RECOVER, Reason.FAILED, "moved back: the run before was interrupted")
