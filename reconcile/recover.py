"""What an interrupted run left: fence, observe, fold. Then the next run scans and diffs anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from reconcile.apply import find_out, way_home
from reconcile.claim import matches
from reconcile.diff import Inside, join
from reconcile.fold import fold
from reconcile.model import (
    Action,
    DirectorySnapshot,
    Entry,
    Kind,
    Op,
    Outcome,
    Problem,
    Reason,
    Stage,
)
from reconcile.remotes import Remote
from reconcile.source import Source, SourceError
from reconcile.state.journal import Leftover


def recover(old: DirectorySnapshot, leftover: Leftover, remote: Remote, source: Source) -> DirectorySnapshot:
    """The snapshot that is true after the interrupted run, whose folder is fenced off.

    Puts back what it had parked. Raises ConnectionLost; recovery then begins anew.
    """
    outcomes = list(_know(old, leftover, remote, source))
    for action in _stranded(leftover, outcomes):
        home = way_home(action)
        if all(outcome.done for outcome in remote.perform([home], source)):
            outcomes.append(Outcome(action, {home.path: home.new}, _interrupted(action)))
        else:  # its old place is taken: to where it was meant to go
            outcomes += remote.perform([action], source)
    return fold(old, outcomes, {}, leftover.trusted_ns)


def foresee(old: DirectorySnapshot, leftover: Leftover, remote: Remote, source: Source) -> DirectorySnapshot:
    """What ``recover`` would come to, for a plan: looks, and changes nothing."""
    remote.find_parked(old.lineage)
    outcomes = list(_know(old, leftover, remote, source))
    stranded = _stranded(leftover, outcomes)
    homes = dict(remote.observe(action.source or "" for action in stranded))
    for action in stranded:
        home = action.source or ""
        if homes[home] is None:
            outcomes.append(Outcome(action, {home: action.moved}, _interrupted(action)))
        else:
            outcomes.append(Outcome(action, {} if action.kind is Kind.DIR else {action.path: action.new}))
    return fold(old, outcomes, {}, leftover.trusted_ns)


def _know(old: DirectorySnapshot, leftover: Leftover, remote: Remote, source: Source) -> Iterator[Outcome]:
    """The journal's outcomes, and for actions without one what the remote shows of them."""
    yield from leftover.outcomes
    now = fold(old, leftover.outcomes, {}, leftover.trusted_ns)
    open_ = [replace(action, inside=Inside(now.dirs, action.source or "")) for action in leftover.open]
    for outcome in find_out(open_, remote):
        if outcome.done and outcome.action.op is Op.MOVE and outcome.action.kind is Kind.DIR:
            yield replace(outcome, effects=_check_members(outcome.action, remote))
        else:
            yield replace(outcome, effects=dict(_read_digests(outcome.effects, source)))


def _check_members(action: Action, remote: Remote) -> dict[str, Entry | None]:
    """Of a directory that has moved unseen: drop what is not as we know it."""
    known = {join(action.path, name): entry for name, entry in action.inside}
    seen = remote.observe(known)
    return {path: None for path, stat in seen if not matches(stat, known[path], remote.tag_of)}


def _read_digests(effects: Mapping[str, Entry | None], source: Source) -> Iterator[tuple[str, Entry | None]]:
    """Claimed content was read while it was sent; if the file has not changed since, so once more."""
    for path, entry in effects.items():
        if entry is not None and entry.kind is Kind.FILE and entry.digest is None and entry.stamp is not None:
            try:
                entry = replace(entry, digest=source.digest(path, entry.stamp))
            except SourceError:
                pass  # it changed meanwhile: the diff will see that
        yield path, entry


def _stranded(leftover: Leftover, outcomes: Sequence[Outcome]) -> list[Action]:
    """Moves whose content is still in its parking place."""
    parked = {o.action.parked for o in outcomes if o.action.op is Op.PARK and o.done}
    for outcome in outcomes:
        action = outcome.action
        if action.op is Op.MOVE and (outcome.done or action.source in outcome.effects):
            parked.discard(action.parked)
    return [a for a in leftover.actions if a.op is Op.MOVE and a.parked is not None and a.parked in parked]


def _interrupted(action: Action) -> Problem:
    return Problem(action.path, Stage.RECOVER, Reason.FAILED, "moved back: the run before was interrupted")
