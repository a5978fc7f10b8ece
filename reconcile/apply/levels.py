"""A plan and a remote in, a stream of outcomes out.

Owns the order: a level begins when the one before has ended, and an action whose
prerequisite failed is not tried. The remote owns its concurrency. One failing
action never blocks the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.job import Stop
from reconcile.core.model import Action, Kind, Op, Outcome, Plan
from reconcile.core.observe import claim, claim_parted, is_parted, questions
from reconcile.core.order import not_told, not_tried, touched
from reconcile.core.paths import ancestors, join
from reconcile.remotes import Remote
from reconcile.source.files import Source


def apply(
    plan: Plan,
    remote: Remote,
    source: Source,
    stop: Stop,
    between: Callable[[], None] = lambda: None,
    failed_before: Sequence[Outcome] = (),
) -> Iterator[Outcome]:
    """Carry out ``plan``. Outcomes come as they happen, each once.

    ``between`` is called when a level has ended and before the next begins: only then, and not with an
    outcome, the remote is free to be asked something else.
    Once ``stop`` is requested no action is begun any more, and those under way are
    brought to their end. Raises ``ConnectionLost``; what has no outcome by then is unknown.
    ``failed_before``: what became of actions that are not tried any more.
    """
    failed = _Failed(problem.path for problem in plan.problems)
    ended = {id(outcome.action) for outcome in failed_before}
    for outcome in failed_before:
        failed.add(outcome.action)
    for number, level in enumerate(plan.levels):
        if number:
            between()
        if ended:
            level = [action for action in level if id(action) not in ended]
        ready, held_up = failed.sort_out(level)
        stranded: list[Outcome] = []
        for action, culprit in held_up:
            outcome = Outcome(action, problem=not_tried(action, culprit))
            if failed.is_parked(action):
                stranded.append(outcome)
            else:
                yield outcome
        for outcome in _perform_all(remote, ready, source, stop):
            if not outcome.done:
                failed.add(outcome.action)
                if failed.is_parked(outcome.action) and outcome.action.path not in outcome.effects:
                    stranded.append(outcome)
                    continue
            yield outcome
        for outcome in _bring_home(stranded, remote, source):
            home = outcome.action.home
            if home is not None and outcome.put_back:
                failed.add_path(home)
            yield outcome


def _perform_all(remote: Remote, actions: Sequence[Action], source: Source, stop: Stop) -> Iterator[Outcome]:
    """One outcome of each, whatever a remote forgets: what is not told would look as if it was done."""
    told: set[str] = set()
    for outcome in remote.perform(actions, source, stop):
        told.add(outcome.action.path)
        yield outcome
    if not stop.requested:
        yield from (Outcome(each, problem=not_told(each)) for each in actions if each.path not in told)


def find_out(actions: Sequence[Action], remote: Remote) -> Iterator[Outcome]:
    """Ask the remote what became of ``actions``; those that were not done get no outcome."""
    seen = dict(remote.look({path: None for action in actions for path in questions(action)}))
    parted = [action for action in actions if is_parted(action, seen)]
    ends = ((action, name) for action in parted for name, _ in action.inside)
    inner = dict(remote.look(join(top or "", name) for a, name in ends for top in (a.source, a.path)))
    unsent: list[Action] = []
    for action in actions:
        if is_parted(action, seen):
            outcome = claim_parted(action, inner, remote)
        else:
            outcome = claim(action, seen, remote)
        if outcome is not None:
            yield outcome
        elif action.op is Op.CREATE:
            unsent.append(action)
    yield from remote.rescue(unsent)


def way_home(action: Action) -> Action:
    """The move that brings what is parked, and can't go where it should, back to where it was."""
    assert action.home is not None
    return replace(action, path=action.home, new=action.moved, old=None, carried={})


def _bring_home(stranded: Sequence[Outcome], remote: Remote, source: Source) -> Iterator[Outcome]:
    """Go the way home, also in a run that was asked to end; the outcomes with what is then true.

    Not before the level has ended: whatever was to come to the old place has come by then.
    """
    homes = [way_home(outcome.action) for outcome in stranded]
    at_home: set[int] = set()
    for group in by_depth(homes):
        at_home |= {id(outcome.action) for outcome in remote.perform(group, source) if outcome.done}
    for home, outcome in zip(homes, stranded, strict=True):
        if id(home) in at_home:
            yield replace(outcome, effects={**outcome.effects, home.path: home.new})
        else:
            yield outcome


def by_depth(actions: Iterable[Action]) -> list[list[Action]]:
    """In groups, those in the topmost directories first: others may be in what these bring."""
    depths: dict[int, list[Action]] = {}
    for action in actions:
        depths.setdefault(action.path.count("/"), []).append(action)
    return [depths[depth] for depth in sorted(depths)]


class _Failed:
    """The paths of failed actions. What lies on, above or below them must wait for the next run."""

    def __init__(self, unread: Iterable[str]) -> None:
        self._unread = frozenset(unread)  # what the plan had to leave out
        self._at: set[str] = set()
        self._inside: dict[str, str] = {}
        self._empty: set[str] = set()  # parking places that nothing has come to

    def add(self, action: Action) -> None:
        """Remember a failure. Of metadata nothing else depends."""
        if action.op is Op.SETMETA:
            return
        if action.parks:
            self._empty.add(action.path)
        for path in touched(action):
            self.add_path(path)

    def add_path(self, path: str) -> None:
        """Nothing can be done here any more in this run."""
        self._at.add(path)
        for top in ancestors(path):
            self._inside.setdefault(top, path)

    def is_parked(self, action: Action) -> bool:
        """Whether what the action moves was moved aside."""
        return action.home is not None and action.source not in self._empty

    def sort_out(self, level: Sequence[Action]) -> tuple[Sequence[Action], Sequence[tuple[Action, str]]]:
        """What can be done of a level, and what must wait, with the failed path that it depends on."""
        held_up: dict[int, tuple[Action, str]] = {}
        coming: dict[str, Action] = {}
        before = -1
        while before != len(held_up):
            before = len(held_up)
            for action in level:
                if id(action) not in held_up and (culprit := self.prerequisite_of(action)) is not None:
                    coming = coming or {other.path: other for other in level}
                    self._hold_up(action, culprit, coming, held_up)
        return [action for action in level if id(action) not in held_up], list(held_up.values())

    def _hold_up(
        self,
        action: Action,
        culprit: str,
        coming: Mapping[str, Action],
        held_up: dict[int, tuple[Action, str]],
    ) -> None:
        """What was moved aside and can't go on goes home: who was ``coming`` there must wait, too."""
        while id(action) not in held_up:
            held_up[id(action)] = action, culprit
            self.add(action)
            if action.home is None or not self.is_parked(action):
                return
            self.add_path(action.home)
            if action.home not in coming:
                return
            action, culprit = coming[action.home], action.path

    def prerequisite_of(self, action: Action) -> str | None:
        """The failed path that ``action`` depends on, if there is one."""
        for path in action.awaits:
            if path in self._at or path in self._unread:
                return path
        if not self._at:
            return None
        if action.source in self._empty:
            return action.home
        for path in touched(action):
            for top in ancestors(path):
                if top in self._at:
                    return top
            if _takes_tree(action) and path in self._inside:
                return self._inside[path]
        return None


def _takes_tree(action: Action) -> bool:
    return action.op in (Op.MOVE, Op.DELETE) and action.kind is Kind.DIR
