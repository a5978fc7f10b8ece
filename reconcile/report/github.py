"""For GitHub's log: what can be folded, what is shown beside the code, and a summary of the job.

A line that begins with ``::`` is a command to the runner, and ``##[`` is one anywhere. So nothing but
what is written here may have either: names, and what a server says, are theirs who chose them.
"""

# ruff: noqa: D102 - what a reporter is told is documented once, where it is told first

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from reconcile.core.job import Result, Since
from reconcile.core.model import Problem
from reconcile.report import words
from reconcile.report.outlet import Outlet
from reconcile.report.plain import NOT_COUNTED, PlainReporter
from reconcile.report.summary import LIMIT, write_outputs, write_summary

_TITLE = "reconcile"


class LogOutlet(Outlet):
    """A stream of which the runner reads commands."""

    def line(self, text: str) -> None:
        """One line, which is no command."""
        super().line(defuse(text))

    def command(self, name: str, text: str = "", **properties: str) -> None:
        """One that is."""
        told = ",".join(f"{key}={_escape_property(value)}" for key, value in properties.items())
        super().line(f"::{name}{' ' if told else ''}{told}::{_escape(text)}")


class GithubReporter(PlainReporter):
    """As for any log, and more that GitHub can show."""

    out: LogOutlet
    err: LogOutlet

    def __init__(
        self, command: str, out: LogOutlet, err: LogOutlet, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        super().__init__(command, out, err, quiet=quiet, verbose=verbose)

    def tell(self, message: str, *, loud: bool = False) -> None:
        if loud:
            self.err.command("warning", words.show_message(message), title=_TITLE)
        else:
            super().tell(message)

    def show_plan(self, result: Result) -> None:
        if result.plan.empty:
            return
        self.out.command("group", f"Plan → {words.show_name(result.target)}")
        super().show_plan(result)
        self.out.command("endgroup")

    def print_problems(self, problems: Sequence[Problem], failing: Mapping[str, Since] = NOT_COUNTED) -> None:
        for line in words.fold_problems(problems, failing):
            self.err.command("error", line, title=f"{_TITLE}: problem")

    def print_error(self, text: str) -> None:
        self.err.command("error", text, title=_TITLE)

    def show_end(self, result: Result, exit_code: int) -> None:
        super().show_end(result, exit_code)
        if result.checked is None:
            self._tell_others(result, "")

    def show_failure(self, status: str, exit_code: int, message: str) -> None:
        super().show_failure(status, exit_code, message)
        self._tell_others(self.so_far(), message)

    def _tell_others(self, result: Result, message: str) -> None:
        """The job's summary, and the steps that follow."""
        _append("GITHUB_OUTPUT", write_outputs(result))
        if not self.quiet or message or result.problems:
            room = LIMIT - _size_of("GITHUB_STEP_SUMMARY")
            _append("GITHUB_STEP_SUMMARY", write_summary(result, message, room=room))


def defuse(text: str) -> str:
    """The same as a person reads it, and no command to the runner."""
    if "::" not in text and "##[" not in text:
        return text
    return re.sub(r"(?m)^(\s*):(?=:)", r"\1: ", text).replace("##[", "## [")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace("##[", "## [")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def _size_of(variable: str) -> int:
    try:
        return os.path.getsize(os.environ[variable])
    except (KeyError, OSError):
        return 0


def _append(variable: str, text: str) -> None:
    """To the file that a variable names; where there is none, or it can't be written, nothing is lost."""
    try:
        with open(os.environ[variable], "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except (KeyError, OSError):
        pass
