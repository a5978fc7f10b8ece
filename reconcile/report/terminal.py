"""For people: colours and a progress display, by rich."""

# ruff: noqa: D102 - what a reporter is told is documented once, where it is told first

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO, cast

from reconcile.core.job import Since
from reconcile.core.model import Plan, Problem, Tally
from reconcile.report import plans, words
from reconcile.report.outlet import Outlet
from reconcile.report.plain import NOT_COUNTED, PlainReporter

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress

    from reconcile.report.checkup import Row

BAR_WIDTH, NAME_WIDTH = 20, 24  # characters; all of it fits into 80 with most names
REFRESH_S = 0.1  # seconds between two drawings of the progress display
_STANDINGS = {"✓": "green", "~": "yellow", "✗": "bold red"}
_COLOURS = {"+": "green", "~": "yellow", "→": "cyan", "-": "red", "?": "cyan", "!": "red"}
_WAITING = {
    "scan": "looking at the source",
    "load": "reading what is known of DEST",
    "connect": "connecting",
    "hash": "reading changed files",
    "survey": "looking at DEST",
    "verify": "reading back",
    "try": "trying what can be done there",
    "recover": "finding out what the run before has done",
}


class TerminalReporter(PlainReporter):
    """Colours and a progress display, by rich. Names are printed as plain text, never as markup.

    What is told in sentences is broken between words; what is a name, or to be typed, by the terminal alone:
    it can be copied in one piece.
    """

    def __init__(
        self, command: str, out: Outlet, err: Outlet, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        super().__init__(command, out, err, quiet=quiet, verbose=verbose)
        from rich.console import Console

        def console(outlet: Outlet) -> Console:
            file = cast("TextIO", outlet)
            return Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)

        self.console, self.errors = console(out), console(err)
        self._status: Live | None = None
        self._progress: Progress | None = None
        self.due = 0.0

    def phase(self, name: str) -> None:
        super().phase(name)
        self.close()
        if self.quiet:
            return
        if name in _WAITING:
            self._show_status(_WAITING[name])

    def planned(self, plan: Plan, tally: Tally) -> None:
        super().planned(plan, tally)
        if not self.quiet:
            self.close()
            self._start_progress()

    def advance(self) -> None:
        self.due = time.monotonic() + REFRESH_S
        self._draw()

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._progress is not None:
            self._draw()
            self._progress.stop()
            self._progress = None

    def asking(self) -> None:
        self.close()

    def ask_patience(self) -> None:
        self.out.force("\r\x1b[K")  # the progress display is drawn again below
        super().ask_patience()

    def show_abandoned(self, exit_code: int, message: str) -> None:
        self.out.force("\r\x1b[K\x1b[?25h")  # away with the progress display, back with the cursor
        super().show_abandoned(exit_code, message)

    def _show_status(self, what: str) -> None:
        """It stands still: with rich's thread to turn it, a scan could not be shared with another process."""
        from rich.live import Live
        from rich.text import Text

        still = Text(f"{what} …", "dim")
        self._status = Live(still, console=self.console, auto_refresh=False, transient=True)
        self._status.start(refresh=True)

    def _start_progress(self) -> None:
        """Drawn by us as things happen: rich's own thread would take time from the one that sends."""
        from rich import progress

        columns: list[progress.ProgressColumn] = [progress.BarColumn(BAR_WIDTH)]
        if self.meter.size:
            columns.append(progress.DownloadColumn())
        columns.append(progress.TextColumn("{task.fields[things]}", markup=False))
        if self.meter.size:
            columns += [progress.TransferSpeedColumn(), progress.TimeRemainingColumn()]
        columns.append(progress.TextColumn("{task.fields[at_work]}", style="dim", markup=False))
        self._progress = progress.Progress(*columns, console=self.console, auto_refresh=False, transient=True)
        self._progress.add_task("", total=self.meter.total, things="", at_work="")
        self._progress.start()
        self._draw()

    def _draw(self) -> None:
        if self._progress is None:
            return
        self.meter.count()
        name = words.show_name(self.meter.at_work.rpartition("/")[2]) if self.meter.at_work else ""
        self._progress.update(
            self._progress.task_ids[0],
            completed=self.meter.shown,
            things=self.meter.count_things(),
            at_work=name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…",
            refresh=True,
        )

    def show(self, line: plans.Line) -> None:
        from rich.text import Text

        text = Text("  ").append(line.sign, _COLOURS.get(line.sign, "")).append(f" {line.text}")
        if line.remark:
            text.append(f"  {line.remark}", "dim")
        self.console.print(text)

    @property
    def width(self) -> int:
        return min(self.console.width, super().width)

    def print_row(self, row: Row) -> None:
        from rich.text import Text

        if row.is_title:
            self.console.print(f"{row.text}", style="bold")
            return
        style = _STANDINGS.get(row.sign, "dim")
        text = Text("  ").append(row.sign or " ", style).append(" ")
        self.console.print(text.append(row.text, "" if row.sign else "dim"))

    def print_title(self, text: str, *, warns: bool = False) -> None:
        self.console.print(text, style="bold red" if warns else "bold")

    def print_legend(self, text: str) -> None:
        self.console.print(f"  {text}", style="dim")

    def print_next(self, command: str, what: str = "do") -> None:
        self.console.print(f"to {what} it: {command}")

    def tell(self, message: str, *, loud: bool = False) -> None:
        if loud or not self.quiet:
            self.print_note(words.show_message(message))

    def print_note(self, text: str) -> None:
        self.console.print(f"note: {text}", style="dim", soft_wrap=False)

    def print_problems(self, problems: Sequence[Problem], failing: Mapping[str, Since] = NOT_COUNTED) -> None:
        from rich.text import Text

        for line in words.fold_problems(problems, failing):
            text = Text("problem: ", "bold red").append(line, "default not bold")
            self.errors.print(text, soft_wrap=False)

    def print_summary(self, text: str, *, well: bool) -> None:
        self.console.print(text, style="bold" if well else "bold yellow", soft_wrap=False)

    def print_error(self, message: str) -> None:
        from rich.text import Text

        text = Text("reconcile: error: ", "bold red").append(message, "default not bold")
        self.errors.print(text, soft_wrap=False)
