"""Put the steps that make and free names in an order that works. Pure.

Making directories, moving and removing what is in the way depend on each other:
``mv build old; mkdir build``, rotated logs, swapped names. The steps are played
through on a simulated tree, each as soon as it can be; where they wait for each
other in a circle, one of them is parked: moved aside first, to its place later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconcile.diff import ancestors, parent
from reconcile.model import Action, Kind, Op, Problem, Reason, Stage
from reconcile.twins import fold_name


def order(steps: Iterable[Action]) -> list[list[Action]]:
    """Levels of actions that carry out ``steps``: see ``Plan``.

    In ``steps`` a ``source`` is a place of the old state, of deletes too, and any
    other ``path`` one of the new state; the actions returned name places as they
    are when the action's turn comes.
    """
    return _levels(_Simulation(steps).play())


def touched(action: Action) -> tuple[str, ...]:
    """The paths an action works on."""
    if action.op is Op.MOVE and action.parked is None and action.source is not None:
        return (action.path, action.source)
    return (action.path,)


def not_tried(action: Action, culprit: str) -> Problem:
    """Why an action has to wait for the next run: what it depends on failed."""
    return Problem(action.path, Stage.APPLY, Reason.PREREQUISITE, f"not tried, because '{culprit}' failed")


def _levels(actions: Sequence[Action]) -> list[list[Action]]:
    """An action waits for every earlier one whose path holds, or is held in, one of its own.

    Only a directory comes in the same level as the one it is made in.
    """
    last_at: dict[str, int] = {}
    last_inside: dict[str, int] = {}
    levels: list[list[Action]] = []
    parked: dict[int, int] = {}
    made: dict[str, int] = {}
    for action in actions:
        level = 0
        into = made if action.op is Op.MKDIR else {}
        for path in touched(action):
            above = (into.get(top, last_at.get(top, 0)) for top in ancestors(path))
            level = max(level, last_inside.get(path, 0), *above)
        if action.op is Op.MOVE and action.parked is not None:
            level = max(level, parked[action.parked])
        if level == len(levels):
            levels.append([])
        levels[level].append(action)
        for path in touched(action):
            made.pop(path, None)
            last_at[path] = level + 1
            for top in ancestors(path):
                last_inside[top] = max(last_inside.get(top, 0), level + 1)
        if action.op is Op.PARK and action.parked is not None:
            parked[action.parked] = level + 1
        if action.op is Op.MKDIR:
            made[action.path] = level
    return levels


class _Simulation:
    """A tree on which the steps are played: where everything is, and what still waits."""

    def __init__(self, steps: Iterable[Action]) -> None:
        self._waiting = sorted(steps, key=lambda step: (step.op is not Op.DELETE, step.path))
        self._leaving = {_origin(step): step for step in self._waiting if step.op is not Op.MKDIR}
        self._coming = {step.path for step in self._waiting if _makes_directory(step)}
        self._moved: dict[str, str] = {}  # origin → where it is now
        self._placed: dict[str, str] = {}  # the same, turned round
        self._made: set[str] = set()
        self._parked: dict[str, tuple[int, str]] = {}  # origin → parking place, and where it was parked from
        self._played: list[Action] = []

    def play(self) -> list[Action]:
        """Play all steps; what is returned can be carried out one after the other."""
        for step in [step for step in self._waiting if _only_case_differs(step)]:
            self._park(step)
        while self._waiting:
            blocked = [step for step in self._waiting if not self._try(step)]
            if len(blocked) == len(self._waiting):
                self._park(self._pick_to_park(blocked))
            self._waiting = blocked
        return self._played

    def _try(self, step: Action) -> bool:
        """Carry out a step if nothing is in its way."""
        if step.op is Op.DELETE:
            where = self._where(_origin(step))
            if where is None or any(self._is_inside(other, where) for other in self._waiting_moves()):
                return False
            self._played.append(replace(step, path=where, source=None))
            del self._leaving[_origin(step)]
            return True
        if not self._is_final(parent(step.path)) or self._is_taken(step.path):
            return False
        if step.op is Op.MKDIR:
            self._made.add(step.path)
            self._played.append(step)
        else:
            assert step.source is not None
            number, where = self._parked.pop(step.source, (None, self._where(step.source)))
            if where is None:
                return False
            self._played.append(replace(step, source=where, parked=number))
            self._moved[step.source] = step.path
            self._placed[step.path] = step.source
            self._leaving.pop(step.source, None)
        self._coming.discard(step.path)
        return True

    def _waiting_moves(self) -> Iterable[Action]:
        return (step for step in self._leaving.values() if step.op is Op.MOVE)

    def _is_inside(self, step: Action, where: str) -> bool:
        place = self._where(_origin(step))
        return place is not None and place.startswith(f"{where}/")

    def _where(self, origin: str) -> str | None:
        """Where something of the old state is now; None while it, or a directory above it, is parked."""
        for top in ancestors(origin):
            if top in self._parked:
                return None
            if top in self._moved:
                return self._moved[top] + origin[len(top) :]
        return origin

    def _is_final(self, path: str) -> bool:
        """Whether a directory of the new state is already there."""
        return not any(top in self._coming for top in ancestors(path))

    def _is_taken(self, path: str) -> bool:
        """Whether something that has yet to leave lies at ``path``."""
        return self._occupant(path) in self._leaving

    def _occupant(self, path: str) -> str | None:
        """The origin of what lies at ``path`` now; None if that was made or has been parked."""
        for top in ancestors(path):
            if top in self._made:
                return None
            if top in self._placed:
                origin = self._placed[top] + path[len(top) :]
                break
        else:
            origin = path
        return origin if self._where(origin) == path else None

    def _pick_to_park(self, blocked: Sequence[Action]) -> Action:
        """A move that is in the way of another step; else the first that can be reached."""
        movable = [s for s in blocked if s.op is Op.MOVE and self._where(_origin(s)) is not None]
        wanted = {self._occupant(s.path) for s in blocked if s.op is not Op.DELETE}
        doomed = [self._where(_origin(s)) for s in blocked if s.op is Op.DELETE]
        for step in movable:
            if _origin(step) in wanted or any(top and self._is_inside(step, top) for top in doomed):
                return step
        return movable[0]

    def _park(self, step: Action) -> None:
        origin = _origin(step)
        where = self._where(origin)
        if where is None or origin in self._parked:
            return
        # What is to leave a directory could not be reached while that is parked.
        for other in list(self._waiting_moves()):
            if self._is_inside(other, where):
                self._park(other)
        number = len([action for action in self._played if action.op is Op.PARK])
        self._played.append(
            Action(
                Op.PARK,
                where,
                old=step.moved,
                moved=step.moved,
                parked=number,
                reason="in the way",
                careful=step.careful,
                inside=step.inside,
            )
        )
        self._parked[origin] = number, where


def _origin(step: Action) -> str:
    return step.path if step.source is None else step.source


def _makes_directory(step: Action) -> bool:
    return step.op is Op.MKDIR or (step.op is Op.MOVE and step.kind is Kind.DIR)


def _only_case_differs(step: Action) -> bool:
    return step.op is Op.MOVE and step.source is not None and fold_name(step.source) == fold_name(step.path)
