"""What every reporter does, whatever it looks like: remember."""

# ruff: noqa: D102 - what a reporter is told is documented once, where it is told first

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconcile.core.job import Ending, Result
from reconcile.core.model import Outcome, Plan, Tally
from reconcile.report import words

if TYPE_CHECKING:
    from reconcile.core.checkup import Checkup
    from reconcile.report.events import Events


class Recorder:
    """What every reporter does: remember, so that a run that breaks off can still be accounted for."""

    def __init__(self, command: str) -> None:
        self.result = Result(command=command, source="", target="")
        self.tally = Tally()  # the run's own, once it has one
        self.said: list[tuple[str, str]] = []  # phase, message
        self.phases: dict[str, float] = {}
        self.to_do_it = ""  # the command line that does what was planned
        self.at_end: list[Callable[[Ending], None]] = []  # who is told how it ended, once that was shown
        self.events: Events | None = None  # who is told of everything as it happens
        self._phase = "start"
        self._began = self._phase_began = time.monotonic()

    def about(self, source: str, target: str, to_do_it: str = "") -> None:
        """Which job this is, as soon as it is known, and what is to be typed to do what was planned."""
        self.result = replace(self.result, source=source, target=target)
        self.to_do_it = to_do_it
        if self.events is not None:
            self.events.started(self.result.command, source, target)

    def phase(self, name: str) -> None:
        self._end_phase()
        self._phase = name
        if self.events is not None:
            self.events.phase(name)

    def say(self, message: str) -> None:
        if self._is_new(message):
            self.tell(message)

    def warn(self, message: str) -> None:
        if self._is_new(message):
            self.tell(message, loud=True)

    def _is_new(self, message: str) -> bool:
        """Whether it was not said in this phase yet; noted, so that the JSON document has it."""
        if (self._phase, message) in self.said:
            return False
        self.said.append((self._phase, message))
        if self.events is not None:
            self.events.said(message)
        return True

    def asking(self) -> None:
        pass

    def refused(self, plan: Plan) -> None:
        self.result = replace(self.result, plan=plan)

    def planned(self, plan: Plan, tally: Tally) -> None:
        self.result = replace(self.result, plan=plan)
        self.tally = tally
        if self.events is not None:
            self.events.planned(plan, tally)

    def sent(self, count: int, path: str) -> None:
        if self.events is not None:
            self.events.sent(count, path)

    def retrying(self, lost: str, attempt: int, most: int, wait_s: float) -> None:
        if self.events is not None:
            self.events.rewind()
        self.say(words.explain_retry(lost, attempt, most, wait_s))

    def outcome(self, outcome: Outcome) -> None:
        if self.events is not None:
            self.events.outcome(outcome)

    def tell(self, message: str, *, loud: bool = False) -> None:
        """Show something that was said for the first time; ``loud``: also where quiet was asked for."""

    def finish(self, result: Result, exit_code: int) -> None:
        """The run came to its end."""
        self.show_end(result, exit_code)
        self._tell_end(result, "problems" if result.problems else "ok", exit_code)

    def fail(self, status: str, exit_code: int, message: str) -> None:
        """The run broke off. ``message`` says why and what to do."""
        self.show_failure(status, exit_code, message)
        self._tell_end(self.so_far(), status, exit_code, message)

    def abandon(self, exit_code: int, message: str) -> None:
        """The process ends at once, and may be in the middle of anything: called by a signal's handler."""
        self.show_abandoned(exit_code, message)
        self._tell_end(self.so_far(), "interrupted", exit_code, message, at_once=True)

    def _tell_end(
        self, result: Result, status: str, exit_code: int, message: str = "", *, at_once: bool = False
    ) -> None:
        """Once, whatever comes after it."""
        told, self.at_end = self.at_end, []
        said = [text for _, text in self.said]
        ending = Ending(result, status, int(exit_code), message, said, at_once)
        for tell in told:
            tell(ending)

    def show_end(self, result: Result, exit_code: int) -> None:
        """What ``finish`` shows."""

    def show_failure(self, status: str, exit_code: int, message: str) -> None:
        """What ``fail`` shows."""

    def show_abandoned(self, exit_code: int, message: str) -> None:
        """What ``abandon`` shows."""

    def examined(self, checkup: Checkup, exit_code: int) -> None:
        """What was found out of DEST, where that was all that was asked for."""

    def ask_patience(self) -> None:
        """A signal asked the run to end, and it will soon: called by the signal's handler."""

    def unheard(self) -> str:
        """Why what stdout was asked for did not arrive there; empty if it did, or was not asked for."""
        return ""

    def close(self) -> None:
        """Leave the terminal as it was. May be called at any time, and twice."""

    def so_far(self) -> Result:
        """What is known of a run that broke off."""
        self._end_phase()
        return replace(
            self.result,
            ended=self.tally.ended,
            problems=[*self.result.plan.problems, *self.tally.problems],
            notes=[*self.result.plan.notes, *self.tally.notes],
            connected=not self.phases.keys().isdisjoint(("apply", "survey", "recover")),
            duration_s=time.monotonic() - self._began,
            phases=self.phases,
        )

    def _end_phase(self) -> None:
        now = time.monotonic()
        if self._phase != "start":
            self.phases[self._phase] = self.phases.get(self._phase, 0.0) + now - self._phase_began
        self._phase_began = now
