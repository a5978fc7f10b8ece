"""For logs and for cron: lines of text, and a mail only if there is something to say."""

# ruff: noqa: ARG002, D102 - what a reporter is told is documented once, where it is told first

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconcile.ci import in_ci
from reconcile.core.job import Result, Since
from reconcile.core.model import Outcome, Plan, Problem, Tally
from reconcile.report import words
from reconcile.report.meter import Meter
from reconcile.report.outlet import Outlet
from reconcile.report.recorder import Recorder

if TYPE_CHECKING:  # for a run with nothing to do nothing of it is needed
    from reconcile.core.checkup import Checkup
    from reconcile.core.compare import Checked
    from reconcile.report.checkup import Row
    from reconcile.report.plans import Line

TELL_EVERY_S = 30.0  # seconds between two lines of a long run that nobody watches
IN_CI_EVERY_S = 10.0  # where somebody may, and silence looks like a hang
LONG = 110  # characters of a line that is read with ease
NOT_COUNTED: Mapping[str, Since] = MappingProxyType({})  # a run that broke off counts no problems


class PlainReporter(Recorder):
    """No control codes. stdout: the plan if one was asked for, then one line. stderr: what is wrong."""

    def __init__(
        self, command: str, out: Outlet, err: Outlet, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        super().__init__(command)
        self.out, self.err = out, err
        self.quiet, self.verbose = quiet, verbose
        self.meter = Meter(Plan(), (), 0.0)
        self.every = IN_CI_EVERY_S if in_ci() else TELL_EVERY_S
        self.due = time.monotonic() + self.every  # when to say again how things stand

    def planned(self, plan: Plan, tally: Tally) -> None:
        super().planned(plan, tally)
        self.meter = Meter(plan, tally.done, time.monotonic())

    def sent(self, count: int, path: str) -> None:
        super().sent(count, path)
        self.meter.sent(count, path)
        if time.monotonic() >= self.due:
            self.advance()

    def retrying(self, lost: str, attempt: int, most: int, wait_s: float) -> None:
        self.meter.rewind(time.monotonic())
        super().retrying(lost, attempt, most, wait_s)

    def advance(self) -> None:
        """Something went on: a long run says now and then how it stands."""
        now = time.monotonic()
        self.due = now + self.every
        if not self.quiet:
            self.err.line(f"reconcile: {self.meter.tell(now)}")

    def tell(self, message: str, *, loud: bool = False) -> None:
        if loud or not self.quiet:
            self.err.line(f"reconcile: note: {words.show_message(message)}")

    def outcome(self, outcome: Outcome) -> None:
        super().outcome(outcome)
        if time.monotonic() >= self.due:
            self.advance()
        achieved = outcome.achieved if self.verbose else None
        if achieved is not None and not achieved.parks:
            from reconcile.report import plans

            self.show(plans.describe(achieved))

    def show_end(self, result: Result, exit_code: int) -> None:
        self.close()
        if result.checked is not None:
            self._show_check(result.checked, result.target)
            return
        if result.command == "plan" and not self.quiet:
            self.show_plan(result)
        if self.verbose:
            for note in result.notes:
                self.print_note(f"{words.show_name(note.path)}: {words.show_message(note.message)}")
            if result.unsynced:
                self.print_note(words.explain_unsynced(result.unsynced))
        self.print_problems(result.problems, result.failing)
        if result.problems and self.quiet:
            self.err.line(f"reconcile: {words.summarise(result, verbose=self.verbose)}")
        elif not self.quiet:
            self.print_summary(words.summarise(result, verbose=self.verbose), well=not result.problems)
            if result.command == "plan" and not result.plan.empty and self.to_do_it:
                self.print_next(words.show_message(self.to_do_it))

    def examined(self, checkup: Checkup, exit_code: int) -> None:
        from reconcile.report import checkup as checkups

        self.close()
        for row in checkups.rows(checkup, self.width):
            self.print_row(row)
        self.print_summary(checkups.summarise(checkup), well=checkup.healthy)

    @property
    def width(self) -> int:
        """Characters of a line that is broken so that it is read with ease."""
        return LONG

    def print_row(self, row: Row) -> None:
        self.out.line(row.plain)

    def _show_check(self, checked: Checked, target: str) -> None:
        """What is not as it was left; with ``quiet`` only if that counts."""
        if self.quiet and not checked.wrong:
            return
        from reconcile.report import findings, plans

        lines = findings.list_findings(checked.findings, limit=None if self.verbose else plans.LINES)
        if lines:
            self.print_legend(f"({plans.explain_signs(lines, findings.MEANINGS)})")
        for line in plans.align(lines, self.width):
            self.show(line)
        self.print_summary(findings.summarise_check(checked, target), well=not checked.wrong)
        if checked.wrong and self.to_do_it:
            self.print_next(words.show_message(self.to_do_it), "mend")

    def show_failure(self, status: str, exit_code: int, message: str) -> None:
        self.close()
        result = self.so_far()
        self.print_problems(result.problems)
        if result.done and result.command == "run":
            how = "stopped" if status == "interrupted" else "broke off"
            self.err.line(f"reconcile: {words.summarise(result, failed=how)}")
        self.print_error(words.show_message(message))

    def refused(self, plan: Plan) -> None:
        super().refused(plan)
        self.close()
        self.show_plan(self.result)

    def ask_patience(self) -> None:
        if not self.quiet:
            self.err.force(f"reconcile: note: {words.PATIENCE}\n")

    def show_abandoned(self, exit_code: int, message: str) -> None:
        self.err.force(f"reconcile: error: {message}\n")

    def unheard(self) -> str:
        return self.out.lost if self.result.command in ("plan", "verify") and not self.quiet else ""

    def show_plan(self, result: Result) -> None:
        """What the signs mean, and a line for each thing to do, or for many of a folder."""
        from reconcile.report import plans

        lines, deleted = plans.list_plan(result.plan, limit=None if self.verbose else plans.LINES)
        if not lines and not deleted:
            return
        self.print_title(f"{words.show_name(result.source)} → {words.show_name(result.target)}")
        self.print_legend(f"({plans.explain_signs([*lines, *deleted])})")
        aligned = plans.align([*lines, *deleted], self.width)
        for line in aligned[: len(lines)]:
            self.show(line)
        if deleted:
            self.print_title("To delete there:", warns=True)
        for line in aligned[len(lines) :]:
            self.show(line)

    def print_title(self, text: str, *, warns: bool = False) -> None:
        """What the lines below are about."""
        self.out.line(text)

    def print_legend(self, text: str) -> None:
        """What the signs mean."""
        self.out.line(f"  {text}")

    def print_next(self, command: str, what: str = "do") -> None:
        """What to type to have done what was planned, or found wrong."""
        self.out.line(f"reconcile: to {what} it: {command}")

    def show(self, line: Line) -> None:
        """One line of a plan, or one action that was done."""
        self.out.line(f"  {line}")

    def print_note(self, text: str) -> None:
        self.out.line(f"reconcile: note: {text}")

    def print_problems(self, problems: Sequence[Problem], failing: Mapping[str, Since] = NOT_COUNTED) -> None:
        for line in words.fold_problems(problems, failing):
            self.err.line(f"reconcile: problem: {line}")

    def print_summary(self, text: str, *, well: bool) -> None:
        self.out.line(f"reconcile: {text}")

    def print_error(self, text: str) -> None:
        self.err.line(f"reconcile: error: {text}")
