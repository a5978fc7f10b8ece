"""Who tells the user: a terminal (rich), plain text for cron, JSON for machines.

All of them are told the same things (:class:`reconcile.model.Reporter`) and end with either ``finish``
or ``fail``. What is said is decided in ``wording``; here only where and how. A reporter never ends a
run: an output that is gone (a closed pipe, a full disk under a log) is simply not written to any more.
"""

# ruff: noqa: ARG002, D102 - what a reporter is told is documented once, where it is told first

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TextIO, cast

from reconcile import wording
from reconcile.model import COUNTED_OPS, Action, Kind, Op, Outcome, Plan, Problem, Result, Since, Tally

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.status import Status

_NOT_COUNTED: Mapping[str, Since] = MappingProxyType({})  # a run that broke off counts no problems
REFRESH_S = 0.1  # seconds between two drawings of the progress display
_COLOURS = {"+": "green", "~": "yellow", "→": "cyan", "-": "red", "*": "bold"}
# Not while connecting: there may be a prompt.
_WAITING = {
    "scan": "looking at the source",
    "hash": "reading changed files",
    "survey": "looking at DEST",
    "recover": "finding out what the run before has done",
}


class Outlet:
    """A text stream that never fails: once it is broken, what is written is lost in silence."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.broken = False

    def write(self, text: str) -> int:
        """As a stream's ``write``."""
        if not self.broken:
            try:
                self.stream.write(text)
            except (OSError, ValueError):  # ValueError: it was closed
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """As a stream's ``flush``."""
        if not self.broken:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def line(self, text: str) -> None:
        """One line, out at once."""
        self.write(text + "\n")
        self.flush()

    def force(self, text: str) -> None:
        """Past every buffer, since a signal may have come in the middle of a ``write``."""
        try:
            os.write(self.stream.fileno(), text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            pass  # not a real file, or gone

    def isatty(self) -> bool:
        """Whether a person is looking."""
        try:
            return self.stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """As a stream's ``fileno``; rich asks."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:
        """As a stream's ``encoding``; rich asks."""
        return self.stream.encoding

    def _give_up(self) -> None:
        """Send what is still buffered nowhere, else Python complains about it when it exits."""
        self.broken = True
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass  # not a real file: nothing is flushed at exit either


class Recorder:
    """What every reporter does: remember, so that a run that breaks off can still be accounted for."""

    def __init__(self, command: str) -> None:
        self.result = Result(command=command, source="", target="")
        self.tally = Tally()
        self.said: list[tuple[str, str]] = []  # phase, message
        self.phases: dict[str, float] = {}
        self.parked: dict[int, str] = {}  # what stands in which parking place
        self._phase = "start"
        self._began = self._phase_began = time.monotonic()

    def about(self, source: str, target: str) -> None:
        """Which job this is, as soon as it is known."""
        self.result = replace(self.result, source=source, target=target)

    def phase(self, name: str) -> None:
        self._end_phase()
        self._phase = name

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
        return True

    def planned(self, plan: Plan) -> None:
        self.result = replace(self.result, plan=plan)
        self.parked = wording.parking(plan.actions)

    def sent(self, count: int) -> None:
        pass

    def outcome(self, outcome: Outcome) -> None:
        self.tally.add(outcome)

    def tell(self, message: str, *, loud: bool = False) -> None:
        """Show something that was said for the first time; ``loud``: also where quiet was asked for."""

    def finish(self, result: Result, exit_code: int) -> None:
        """The run came to its end."""

    def fail(self, status: str, exit_code: int, message: str) -> None:
        """The run broke off. ``message`` says why and what to do."""

    def ask_patience(self) -> None:
        """A signal asked the run to end, and it will soon: called by the signal's handler."""

    def abandon(self, exit_code: int, message: str) -> None:
        """The process ends at once, and may be in the middle of anything: called by a signal's handler."""

    def close(self) -> None:
        """Leave the terminal as it was. May be called at any time, and twice."""

    def so_far(self) -> Result:
        """What is known of a run that broke off."""
        self._end_phase()
        return replace(
            self.result,
            ended=self.tally.done,
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


class JsonReporter(Recorder):
    """One document on stdout at the end, and nothing else anywhere."""

    def __init__(self, command: str, out: Outlet) -> None:
        super().__init__(command)
        self.out = out
        self._printed = False

    def finish(self, result: Result, exit_code: int) -> None:
        self._print(result, "problems" if result.problems else "ok", exit_code)

    def fail(self, status: str, exit_code: int, message: str) -> None:
        self._print(self.so_far(), status, exit_code, message)

    def abandon(self, exit_code: int, message: str) -> None:
        if not self._printed:
            self.fail("interrupted", exit_code, message)

    def _print(self, result: Result, status: str, exit_code: int, message: str | None = None) -> None:
        self._printed = True
        notes = [{"path": "", "stage": phase, "reason": "said", "message": text} for phase, text in self.said]
        body = wording.document(result, status=status, exit_code=exit_code, notes=notes)
        if message is not None:
            body["message"] = message
            if (
                result.command == "run" and result.connected
            ):  # how much went over a connection that broke was not counted
                body |= {"requests": None, "bytes_sent": None, "bytes_received": None}
        self.out.line(json.dumps(body))


class PlainReporter(Recorder):
    """No control codes. stdout: the plan if one was asked for, then one line. stderr: what is wrong."""

    def __init__(
        self, command: str, out: Outlet, err: Outlet, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        super().__init__(command)
        self.out, self.err = out, err
        self.quiet, self.verbose = quiet, verbose

    def tell(self, message: str, *, loud: bool = False) -> None:
        if loud or not self.quiet:
            self.err.line(f"reconcile: note: {wording.show_message(message)}")

    def outcome(self, outcome: Outcome) -> None:
        super().outcome(outcome)
        if self.verbose and outcome.done and outcome.action.op in COUNTED_OPS:
            self.show(wording.describe(outcome.action, self.parked))

    def finish(self, result: Result, exit_code: int) -> None:
        self.close()
        if result.command == "plan" and not self.quiet:
            for line in wording.list_plan(result.plan, limit=None if self.verbose else wording.LINES):
                self.show(line)
        if self.verbose:
            for note in result.notes:
                self.print_note(f"{wording.show_name(note.path)}: {wording.show_message(note.message)}")
            if result.unsynced:
                self.print_note(wording.explain_unsynced(result.unsynced))
        self.print_problems(result.problems, result.failing)
        if result.problems and self.quiet:
            self.err.line(f"reconcile: {wording.summarise(result, verbose=self.verbose)}")
        elif not self.quiet:
            self.print_summary(wording.summarise(result, verbose=self.verbose), well=not result.problems)

    def fail(self, status: str, exit_code: int, message: str) -> None:
        self.close()
        result = self.so_far()
        self.print_problems(result.problems)
        if result.done and result.command == "run":
            self.err.line(f"reconcile: {wording.summarise(result, failed='broke off')}")
        self.print_error(wording.show_message(message))

    def ask_patience(self) -> None:
        if not self.quiet:
            self.err.force(f"reconcile: note: {wording.PATIENCE}\n")

    def abandon(self, exit_code: int, message: str) -> None:
        self.err.force(f"reconcile: error: {message}\n")

    def show(self, line: wording.Line) -> None:
        """One line of a plan, or one action that was done."""
        self.out.line(f"  {line}")

    def print_note(self, text: str) -> None:
        self.out.line(f"reconcile: note: {text}")

    def print_problems(
        self, problems: Sequence[Problem], failing: Mapping[str, Since] = _NOT_COUNTED
    ) -> None:
        for line in wording.fold_problems(problems, failing):
            self.err.line(f"reconcile: problem: {line}")

    def print_summary(self, text: str, *, well: bool) -> None:
        self.out.line(f"reconcile: {text}")

    def print_error(self, text: str) -> None:
        self.err.line(f"reconcile: error: {text}")


class TerminalReporter(PlainReporter):
    """Colours and a progress display, by rich. Names are printed as plain text, never as markup."""

    def __init__(
        self, command: str, out: Outlet, err: Outlet, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        super().__init__(command, out, err, quiet=quiet, verbose=verbose)
        from rich.console import Console

        def console(outlet: Outlet) -> Console:
            file = cast("TextIO", outlet)
            return Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)

        self.console, self.errors = console(out), console(err)
        self._status: Status | None = None
        self._progress: Progress | None = None
        self._size = 0  # bytes that the plan sends
        self._things = 0  # files to upload, or actions if there are none
        self._size_done = self._things_done = 0
        self._drawn = 0.0  # monotonic seconds

    def phase(self, name: str) -> None:
        super().phase(name)
        self.close()
        if self.quiet:
            return
        if name in _WAITING:
            self._status = self.console.status(_WAITING[name])
            self._status.start()

    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        self._size_done = self._things_done = 0  # it is not always the first
        self._size = plan.bytes_to_send
        self._things = sum(1 for action in plan.actions if self._is_thing(action))
        if not self.quiet:
            self.close()
            self._start_progress()

    def sent(self, count: int) -> None:
        self._size_done += count
        self._draw()

    def outcome(self, outcome: Outcome) -> None:
        super().outcome(outcome)
        if self._is_thing(outcome.action):
            self._things_done += 1
        self._draw()

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._progress is not None:
            self._draw(now=True)
            self._progress.stop()
            self._progress = None

    def ask_patience(self) -> None:
        self.out.force("\r\x1b[K")  # the progress display is drawn again below
        super().ask_patience()

    def abandon(self, exit_code: int, message: str) -> None:
        self.out.force("\r\x1b[K\x1b[?25h")  # away with the progress display, back with the cursor
        super().abandon(exit_code, message)

    def _is_thing(self, action: Action) -> bool:
        """Whether the display counts it: files where content is sent, else every action."""
        if self._size:
            return action.op in (Op.CREATE, Op.MODIFY) and action.kind is Kind.FILE
        return action.op in COUNTED_OPS

    def _start_progress(self) -> None:
        """Drawn by us as things happen: rich's own thread would take time from the one that sends."""
        from rich import progress

        columns: list[progress.ProgressColumn] = [progress.BarColumn()]
        if self._size:
            columns += [
                progress.DownloadColumn(),
                progress.TextColumn("{task.fields[things]}"),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
            ]
        else:
            columns.append(progress.TextColumn("{task.fields[things]}"))
        self._progress = progress.Progress(*columns, console=self.console, auto_refresh=False, transient=True)
        self._progress.add_task("", total=self._size or self._things, things="")
        self._progress.start()
        self._draw(now=True)

    def _draw(self, *, now: bool = False) -> None:
        clock = time.monotonic()
        if self._progress is None or (clock - self._drawn < REFRESH_S and not now):
            return
        self._drawn = clock
        what = "files" if self._size else "steps"
        self._progress.update(
            self._progress.task_ids[0],
            completed=min(self._size_done, self._size) if self._size else self._things_done,
            things=f"{self._things_done:,}/{self._things:,} {what}",
            refresh=True,
        )

    def show(self, line: wording.Line) -> None:
        from rich.text import Text

        text = Text("  ").append(line.sign, _COLOURS.get(line.sign, "")).append(f" {line.text}")
        if line.remark:
            text.append(f"  ({line.remark})", "dim")
        self.console.print(text)

    def tell(self, message: str, *, loud: bool = False) -> None:
        if loud or not self.quiet:
            self.print_note(wording.show_message(message))

    def print_note(self, text: str) -> None:
        self.console.print(f"note: {text}", style="dim")

    def print_problems(
        self, problems: Sequence[Problem], failing: Mapping[str, Since] = _NOT_COUNTED
    ) -> None:
        from rich.text import Text

        for line in wording.fold_problems(problems, failing):
            self.errors.print(Text("problem: ", "bold red").append(line, "default not bold"))

    def print_summary(self, text: str, *, well: bool) -> None:
        self.console.print(text, style="bold" if well else "bold yellow")

    def print_error(self, text: str) -> None:
        from rich.text import Text

        self.errors.print(Text("reconcile: error: ", "bold red").append(text, "default not bold"))


def make_reporter(
    command: str, *, as_json: bool = False, quiet: bool = False, verbose: bool = False
) -> Recorder:
    """The one that fits: ``--json``, a terminal, or neither."""
    out, err = Outlet(sys.stdout), Outlet(sys.stderr)
    if as_json:
        return JsonReporter(command, out)
    if out.isatty() and os.environ.get("TERM") != "dumb":
        return TerminalReporter(command, out, err, quiet=quiet, verbose=verbose)
    return PlainReporter(command, out, err, quiet=quiet, verbose=verbose)
