"""When a job that is watched is run again. Pure: times are told, in seconds of a clock that only goes on."""

from __future__ import annotations

from msgspec import Struct

from reconcile.core.errors import Exit

_MOST = 10  # times the quiet moment: what never gets quiet is sent all the same
_PAUSE = 5.0  # seconds after a run that did not get to the server; twice as long after each one more
_LONGEST = 60.0  # seconds of such a pause at most if something changed meanwhile


class Rounds(Struct):
    """The runs of one job: once something changed and it is quiet again, and at the latest when it is due."""

    settle: float  # seconds
    every: float
    due: float = 0.0
    pause: float = 0.0  # 0: the last run got there
    _first: float | None = None  # change since the last run began; None: there was none
    _last: float = 0.0

    def changed(self, now: float) -> None:
        """Something did."""
        self._first = now if self._first is None else self._first
        self._last = now
        if self.pause:
            self.due = min(self.due, now + _LONGEST)

    def is_due(self, now: float) -> bool:
        """Whether it is to be run, changed or not."""
        return now >= self.due

    def is_quiet(self, now: float) -> bool:
        """Whether it is to be run for what changed. Whom a run did not get to is not asked at once."""
        if self._first is None or self.pause:
            return False
        return now - self._last >= self.settle or now - self._first >= _MOST * self.settle

    def begin(self) -> None:
        """A run is about to look: it sees all that has changed so far."""
        self._first = None

    def end(self, now: float, code: int) -> None:
        """That run ended so."""
        got_there = code not in (Exit.UNREACHABLE, Exit.LOCKED)
        self.pause = 0.0 if got_there else min(max(_PAUSE, 2 * self.pause), self.every)
        self.due = now + (self.pause or self.every)
