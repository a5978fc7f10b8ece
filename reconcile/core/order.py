"""Put the steps that make and free names in an order that works. Pure.

Making directories, moving and removing what is in the way depend on each other:
``mv build old; mkdir build``, rotated logs, swapped names. The steps are played
through on a simulated tree, each as soon as it can be; where they wait for each
other in a circle, they are parked: moved aside first, to their places later. So are
those of a long chain, all at once: that takes twice the renames, and two levels
instead of one for each. Of a short one none is ever out of sight.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TypeAlias

from msgspec.structs import replace

from reconcile.core.model import Action, Kind, Op, Problem, Reason, Stage
from reconcile.core.paths import ancestors, parent, parking_place
from reconcile.core.twins import fold_name

MOST_IN_TURN = 4  # moves that may wait for each other, one behind the other: each is a round trip or two

_Event: TypeAlias = tuple[str, str]  # what happens, and to which path
_CAME, _LEFT, _UNPARKED = "a directory is there", "something has left its place", "it can be reached again"


def order(steps: Iterable[Action]) -> list[list[Action]]:
    """Levels of actions that carry out ``steps``: see ``Plan``.

    In ``steps`` a ``source`` is a place of the old state, of deletes too, and any
    other ``path`` one of the new state; the actions returned name places as they
    are when the action's turn comes.
    """
    return _levels(_Simulation(steps).play())


def touched(action: Action) -> tuple[str, ...]:
    """The paths an action works on."""
    if action.op is Op.MOVE and action.source is not None:
        return (action.path, action.source)
    return (action.path,)


def not_tried(action: Action, culprit: str) -> Problem:
    """Why an action has to wait for the next run: what it depends on failed."""
    return Problem(action.subject, Stage.APPLY, Reason.PREREQUISITE, f"not tried, because '{culprit}' failed")


def not_told(action: Action) -> Problem:
    """It was to be done, and nobody says what became of it."""
    text = "it is not known what became of it; the next run looks, and does what is left"
    return Problem(action.subject, Stage.APPLY, Reason.FAILED, text)


def _levels(actions: Sequence[Action]) -> list[list[Action]]:
    """An action waits for every earlier one whose path holds, or is held in, one of its own.

    Only a directory comes in the same level as the one it is made in.
    """
    last_at: dict[str, int] = {}
    last_inside: dict[str, int] = {}
    levels: list[list[Action]] = []
    made: dict[str, int] = {}
    for action in actions:
        level = 0
        into = made if action.op is Op.MKDIR else {}
        for path in touched(action):
            above = (into.get(top, last_at.get(top, 0)) for top in ancestors(path))
            level = max(level, last_inside.get(path, 0), *above)
        if level == len(levels):
            levels.append([])
        levels[level].append(action)
        for path in touched(action):
            made.pop(path, None)
            last_at[path] = level + 1
            for top in ancestors(path):
                last_inside[top] = max(last_inside.get(top, 0), level + 1)
        if action.op is Op.MKDIR:
            made[action.path] = level
    return levels


class _Simulation:
    """A tree on which the steps are played: where everything is, and what still waits.

    A step that can't be played yet waits for one thing, a directory to come or something to
    leave, and is tried again once that has happened: no step is looked at in vain.
    """

    def __init__(self, steps: Iterable[Action]) -> None:
        waiting = sorted(steps, key=lambda step: (step.op is not Op.DELETE, step.path))
        self._ready = deque(waiting)
        self._waiting = dict(enumerate(waiting))
        self._numbers = {id(step): number for number, step in self._waiting.items()}
        self._blocked: dict[_Event, list[Action]] = defaultdict(list)
        self._wanted: deque[str] = deque()  # origins of what is in the way of a step
        self._leaving = {_origin(step): step for step in waiting if step.op is not Op.MKDIR}
        self._coming = {step.path for step in waiting if _makes_directory(step)}
        self._inside = _moves_inside(self._leaving)
        self._moved: dict[str, str] = {}  # origin → where it is now
        self._placed: dict[str, str] = {}  # the same, turned round
        self._made: set[str] = set()
        self._parked: dict[str, tuple[str, str]] = {}  # origin → parking place, and where it was before
        self._places = count()
        self._played: list[Action] = []

    def play(self) -> list[Action]:
        """Play all steps; what is returned can be carried out one after the other."""
        for step in [step for step in self._ready if _only_case_differs(step)]:
            self._park(step)
        for step in list(self._long_chains()):
            self._park(step)
        while self._waiting:
            while self._ready:
                step = self._ready.popleft()
                event = self._try(step)
                if event is None:
                    del self._waiting[self._numbers[id(step)]]
                    continue
                self._blocked[event].append(step)
                if event[0] == _LEFT:
                    self._wanted.append(event[1])
            if self._waiting:
                self._park(self._pick_to_park())
        return self._played

    def _long_chains(self) -> Iterator[Action]:
        """What is moved aside at once where many moves, one behind the other, wait for the last one.

        A circle has no last one: all of it, however small. Were one of it aside alone, a run that
        dies could leave both its places taken.
        """
        behind: dict[str, Action] = {}  # origin of what is in the way → the move it is in the way of
        ahead: dict[int, Action] = {}
        for step in self._ready:
            other = self._leaving.get(step.path)
            if other is None or (step.op, other.op) != (Op.MOVE, Op.MOVE):
                continue
            if self._is_final(parent(step.path)):
                behind[step.path] = step
                ahead[id(step)] = other
        firsts = [step for step in self._ready if id(step) in ahead and step.source not in behind]
        for first in firsts:
            chain = [first]
            while (other := ahead.pop(id(chain[-1]), None)) is not None:
                chain.append(other)
            if len(chain) > MOST_IN_TURN:
                yield from chain[1:-1]
        for step in self._ready:
            circle: list[Action] = []
            while (other := ahead.pop(id(step), None)) is not None:
                circle.append(step)
                step = other
            yield from circle

    def _try(self, step: Action) -> _Event | None:
        """Carry out a step if nothing is in its way; else what it waits for."""
        if step.op is Op.DELETE:
            return self._try_to_delete(step)
        above = next((top for top in ancestors(parent(step.path)) if top in self._coming), None)
        if above is not None:
            return _CAME, above
        occupant = self._occupant(step.path)
        if occupant in self._leaving:
            return _LEFT, occupant
        if step.op is Op.MKDIR:
            self._made.add(step.path)
            self._played.append(step)
        else:
            assert step.source is not None
            if step.source not in self._parked and (above := self._parked_above(step.source)) is not None:
                return _UNPARKED, above
            where, home = self._parked.pop(step.source, (self._where(step.source), None))
            self._played.append(replace(step, source=where, home=home))
            self._moved[step.source] = step.path
            self._placed[step.path] = step.source
            self._leave(step.source)
            self._happens(_UNPARKED, step.source)
        self._coming.discard(step.path)
        self._happens(_CAME, step.path)
        return None

    def _try_to_delete(self, step: Action) -> _Event | None:
        origin = _origin(step)
        above = self._parked_above(origin)
        if above is not None:
            return _UNPARKED, above
        where = self._where(origin)
        inside = self._inside.get(origin, [])
        while inside and not self._is_waiting_inside(inside[-1], where):
            inside.pop()  # it has left for good
        if inside:
            return _LEFT, _origin(inside[-1])
        self._played.append(replace(step, path=where, source=None))
        self._leave(origin)
        return None

    def _leave(self, origin: str) -> None:
        self._leaving.pop(origin, None)
        self._happens(_LEFT, origin)

    def _happens(self, what: str, path: str) -> None:
        """Whoever waited for it is tried again."""
        self._ready.extend(self._blocked.pop((what, path), ()))

    def _is_waiting_inside(self, step: Action, where: str) -> bool:
        """Whether something that has yet to leave lies below ``where``."""
        origin = _origin(step)
        if origin not in self._leaving or self._parked_above(origin) is not None:
            return False
        return self._where(origin).startswith(f"{where}/")

    def _parked_above(self, origin: str) -> str | None:
        """What is parked of something of the old state: itself, or a directory above it."""
        if not self._parked:
            return None
        for top in ancestors(origin):
            if top in self._parked:
                return top
            if top in self._moved:
                return None
        return None

    def _where(self, origin: str) -> str:
        """Where something of the old state that is not parked is now."""
        for top in ancestors(origin):
            if top in self._moved:
                return self._moved[top] + origin[len(top) :]
        return origin

    def _is_final(self, path: str) -> bool:
        """Whether a directory of the new state is already there."""
        return not any(top in self._coming for top in ancestors(path))

    def _occupant(self, path: str) -> str:
        """The origin of what lies at ``path`` now; empty if that was made or has been parked."""
        for top in ancestors(path):
            if top in self._made:
                return ""
            if top in self._placed:
                origin = self._placed[top] + path[len(top) :]
                break
        else:
            origin = path
        return origin if self._parked_above(origin) is None and self._where(origin) == path else ""

    def _pick_to_park(self) -> Action:
        """A move that is in the way of another step; else the first that can be reached."""
        while self._wanted:
            step = self._leaving.get(self._wanted.popleft())
            if step is not None and self._can_be_parked(step):
                return step
        return next(filter(self._can_be_parked, self._waiting.values()))

    def _can_be_parked(self, step: Action) -> bool:
        return step.op is Op.MOVE and not step.comes_back and self._parked_above(_origin(step)) is None

    def _park(self, step: Action) -> None:
        origin = _origin(step)
        if self._parked_above(origin) is not None:
            return
        where = self._where(origin)
        # What is to leave a directory could not be reached while that is parked.
        for other in reversed(self._inside.get(origin, ())):
            if self._is_waiting_inside(other, where):
                self._park(other)
        place = parking_place(next(self._places))
        self._played.append(
            Action(
                Op.MOVE,
                place,
                new=step.moved,
                source=where,
                moved=step.moved,
                reason="in the way",
                careful=step.careful,
                inside=step.inside,
            )
        )
        self._parked[origin] = place, where
        self._happens(_LEFT, origin)


def _moves_inside(leaving: Mapping[str, Action]) -> dict[str, list[Action]]:
    """By the origin of what leaves: the moves out of it, the last ones first."""
    inside: dict[str, list[Action]] = defaultdict(list)
    for origin in sorted(leaving, reverse=True):
        if leaving[origin].op is Op.MOVE:
            for top in ancestors(parent(origin)):
                if top in leaving:
                    inside[top].append(leaving[origin])
    return inside


def _origin(step: Action) -> str:
    return step.path if step.source is None else step.source


def _makes_directory(step: Action) -> bool:
    return step.op is Op.MKDIR or (step.op is Op.MOVE and step.kind is Kind.DIR)


def _only_case_differs(step: Action) -> bool:
    return step.op is Op.MOVE and step.source is not None and fold_name(step.source) == fold_name(step.path)
