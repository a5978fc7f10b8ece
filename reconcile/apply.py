"""A plan and a line to the remote in, a stream of outcomes out.

Owns the order: a level begins when the one before has ended, and an action whose
prerequisite failed is not tried. The remote owns its concurrency. One failing
action never blocks the others. When the connection is lost it is made again, the
remote is asked what became of the actions under way, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from reconcile.claim import claim, claim_parted, is_parted, questions
from reconcile.diff import ancestors, join
from reconcile.errors import ConnectionLost
from reconcile.line import Line
from reconcile.model import Action, Entry, Kind, Op, Outcome, Plan, Stop
from reconcile.order import not_tried, touched
from reconcile.remotes import Remote
from reconcile.source import Source


def apply(plan: Plan, line: Line, source: Source, stop: Stop) -> Iterator[Outcome]:
    """Carry out ``plan``. Outcomes come as they happen, each once.

    Once ``stop`` is requested no action is begun any more, and those under way are
    brought to their end. Raises ``ConnectionLost`` when the line stays dead; what has no outcome by
    then is unknown.
    """
    failed = _Failed(problem.path for problem in plan.problems)
    for level in plan.levels:
        ready: list[Action] = []
        for action in level:
            culprit = failed.prerequisite_of(action)
            if culprit is None:
                ready.append(action)
                continue
            stranded = (
                action.op is Op.MOVE and action.parked is not None and action.parked not in failed.parks
            )
            failed.add(action)
            effects = _bring_home(action, line, source) if stranded else {}
            yield Outcome(action, effects, not_tried(action, culprit))
        for outcome in _perform(ready, line, source, stop):
            if not outcome.done:
                failed.add(outcome.action)
            yield outcome


def _perform(actions: Sequence[Action], line: Line, source: Source, stop: Stop) -> Iterator[Outcome]:
    """One level, over as many connections as it takes."""
    left = actions
    lost: ConnectionLost | None = None
    while left and not stop.requested:
        ended: list[Action] = []
        try:
            if lost is not None:
                line.reopen(lost)
                outcomes = find_out(left, line.remote)
            else:
                outcomes = line.remote.perform(left, source, stop)
            for outcome in outcomes:
                ended.append(outcome.action)
                line.progress()
                yield outcome
            if lost is None:
                return
            lost = None
        except ConnectionLost as error:
            if error is lost:  # no more retries
                raise
            lost = error
        known = set(map(id, ended))
        left = [action for action in left if id(action) not in known]


def find_out(actions: Sequence[Action], remote: Remote) -> Iterator[Outcome]:
    """Ask the remote what became of ``actions``; those that were not done get no outcome."""
    seen = dict(remote.observe({path: None for action in actions for path in questions(action)}))
    parted = [action for action in actions if is_parted(action, seen)]
    ends = ((action, name) for action in parted for name, _ in action.inside)
    inner = dict(remote.observe(join(top or "", name) for a, name in ends for top in (a.source, a.path)))
    empty: set[int | None] = set()  # parking places that nothing has come to yet
    for action in actions:
        if action.op is Op.MOVE and action.parked in empty:
            continue
        if is_parted(action, seen):
            outcome = claim_parted(action, inner, remote.tag_of)
        else:
            outcome = claim(action, seen, remote.tag_of, remote.parked)
        if outcome is not None:
            yield outcome
        elif action.op is Op.PARK:
            empty.add(action.parked)


def way_home(action: Action) -> Action:
    """The move that brings what is parked, and can't go where it should, back to where it was."""
    assert action.source is not None
    return replace(action, path=action.source, new=action.moved, old=None, carried={})


def _bring_home(action: Action, line: Line, source: Source) -> dict[str, Entry | None]:
    """Go the way home, also in a run that was asked to end; what is then true."""
    home = way_home(action)
    done = all(outcome.done for outcome in _perform([home], line, source, Stop()))
    return {home.path: home.new} if done else {}


class _Failed:
    """The paths of failed actions. What lies on, above or below them must wait for the next run."""

    def __init__(self, unread: Iterable[str]) -> None:
        self._unread = frozenset(unread)  # what the plan had to leave out
        self._at: set[str] = set()
        self._inside: dict[str, str] = {}
        self.parks: set[int] = set()  # numbers of the parking places that stayed empty

    def add(self, action: Action) -> None:
        """Remember a failure. Of metadata nothing else depends."""
        if action.op is Op.SETMETA:
            return
        if action.op is Op.PARK and action.parked is not None:
            self.parks.add(action.parked)
        for path in touched(action):
            self._at.add(path)
            for top in ancestors(path):
                self._inside.setdefault(top, path)

    def prerequisite_of(self, action: Action) -> str | None:
        """The failed path that ``action`` depends on, if there is one."""
        for path in action.awaits:
            if path in self._at or path in self._unread:
                return path
        if not self._at:
            return None
        paths = (
            touched(action) if action.parked is None or not action.source else (action.path, action.source)
        )
        for path in paths:
            for top in ancestors(path):
                if top in self._at:
                    return top
            if _takes_tree(action) and path in self._inside:
                return self._inside[path]
        return None


def _takes_tree(action: Action) -> bool:
    return action.op in (Op.MOVE, Op.DELETE, Op.PARK) and action.kind is Kind.DIR
