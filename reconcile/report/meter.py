"""How far a run has come: counted from what reporters are told. Pure; the time is given.

What ended is counted when somebody asks: a run may tell a million times, and nobody may look.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from reconcile.core.model import Action, Kind, Op, Plan
from reconcile.core.units import show_bytes, show_duration
from reconcile.report.words import show_name


class Meter:
    """Of one plan that is applied: bytes where content is sent, else actions. ``now`` is in seconds."""

    def __init__(self, plan: Plan, done: Sequence[Action], now: float) -> None:
        self._plan = plan
        self._done = done  # grows as actions end
        self._counted = len(done)  # by now, or in a plan before
        self.size_done = self.things_done = 0
        self.at_work = ""  # the path of which content went out last
        self._settled = 0  # bytes of actions that have ended: what else went out may have to go again
        self._began = now
        self._before = 0  # bytes that had gone out when the connection was made again

    def sent(self, count: int, path: str) -> None:
        """So many bytes of a file went out."""
        self.size_done += count
        self.at_work = path

    @cached_property
    def size(self) -> int:
        """Bytes that the plan sends."""
        return self._plan.bytes_to_send

    @cached_property
    def things(self) -> int:
        """Files to upload, or actions if there are none."""
        return sum(1 for action in self._plan.actions if self._is_thing(action))

    def count(self) -> None:
        """Take in what has ended since the last time."""
        for action in self._done[self._counted :]:
            self._settled += action.bytes
            self.things_done += self._is_thing(action)
        self._counted = len(self._done)

    def rewind(self, now: float) -> None:
        """The connection broke: what was under way is sent once more."""
        self.count()
        self.size_done = self._before = min(self.size_done, self._settled)
        self._began = now

    @property
    def shown(self) -> int:
        """Bytes, or things, that are done: never more than there are."""
        return min(self.size_done, self.size) if self.size else self.things_done

    @property
    def total(self) -> int:
        """Bytes, or things, that are to be done."""
        return self.size or self.things

    def rate(self, now: float) -> float:
        """Bytes, or things, a second since the connection was made."""
        done = self.size_done - self._before if self.size else self.things_done
        return done / (now - self._began) if now > self._began else 0.0

    def count_things(self) -> str:
        """``12/40 files``."""
        return f"{self.things_done:,}/{self.things:,} {'files' if self.size else 'steps'}"

    def tell(self, now: float) -> str:
        """How things stand, in one line: ``302 MB of 524 MB, 1/2 files, 20 MB/s, 11.0 s left: film.mp4``."""
        self.count()
        parts = [f"{show_bytes(self.shown)} of {show_bytes(self.size)}"] if self.size else []
        parts.append(self.count_things())
        rate = self.rate(now)
        if self.size and rate:
            parts.append(f"{show_bytes(round(rate))}/s")
        if rate and self.total > self.shown:
            parts.append(f"{show_duration((self.total - self.shown) / rate)} left")
        at_work = f": {show_name(self.at_work)}" if self.at_work and self.shown < self.total else ""
        return ", ".join(parts) + at_work

    def _is_thing(self, action: Action) -> bool:
        """Whether it is counted: files where content is sent, else every action."""
        if self.size:
            return action.op in (Op.CREATE, Op.MODIFY) and action.kind is Kind.FILE
        return not action.parks
