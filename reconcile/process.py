"""What our process makes of signals, its streams and its terminal, whatever it is at.

What may live here: that, and what a command line has open meanwhile. What it does is ``cli``'s.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from msgspec import Struct, field

from reconcile.ci import in_ci
from reconcile.core.errors import Exit, Interrupted, Refused
from reconcile.core.job import Stop
from reconcile.leaving import leave, put_off

if TYPE_CHECKING:
    from reconcile.report import Recorder


class Session(Struct, eq=False):
    """What a command line has open while it runs."""

    stop: Stop = field(default_factory=Stop)
    args: Sequence[str] = ()
    reporter: Recorder | None = None  # as soon as it is known which
    ending: bool = False  # what is left to say takes no time, and is said once
    terminal: list[Any] | None = None  # how it was before a prompt hid what is typed
    several: bool = False  # jobs are carried out, one after the other
    to_do: bool = False  # something was planned, by one of them at least
    out: TextIO | None = None  # in the place of stdout: what the job that is carried out says goes there
    err: TextIO | None = None
    # Called with the exit code where the process ends at once, after the reporter has said so: by a signal's
    # handler, so they are to be short, and never to fail.
    farewells: list[Callable[[int], object]] = field(default_factory=list)

    def may_ask(self) -> bool:
        """Whether somebody is there who may be asked for a secret: how the terminal is now is noted."""
        if sys.stdin is None or not sys.stdin.isatty() or in_ci():
            return False
        import termios

        self.terminal = termios.tcgetattr(sys.stdin.fileno())
        return True

    def must_ask(self, *, as_json: bool = False) -> None:
        """Raises Refused where that is nobody, or only a document is to be printed."""
        if as_json or not self.may_ask():
            raise Refused("Nothing was done: there is nobody to ask. Add --yes to have it done.")


def make_safe() -> None:
    """Names are bytes, held as UTF-8 with surrogateescape: under another encoding Python starts anew.

    Output that can't be encoded is escaped, never a crash, and what has no place to go is lost.
    """
    if sys.getfilesystemencoding().lower() not in {"utf-8", "utf8"} and not sys.flags.utf8_mode:
        again = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, [os.fsencode(arg) for arg in again])  # noqa: S606 - ourselves, same arguments
    # None where the shell closed it. What is written to a stdout that was opened to read fails, as it should.
    sys.stdout = sys.stdout or open(os.devnull)  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(errors="backslashreplace")


def heed_signals(session: Session) -> None:
    """The first interrupt, terminate or hang-up asks the run to end (see ``Stop``); a second one ends it.

    But for terminate after interrupt: what cancels jobs of a CI sends both, and a save may be under way.

    A job that has nothing under way ends with the first. Its handler raises nothing: an exception
    out of a handler may strike within an import or a destructor, where Python swallows it and
    leaves a lock held. What is ignored from the start (nohup) stays so.
    """
    every = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heeded = [each for each in every if signal.getsignal(each) is not signal.SIG_IGN]
    asked: list[int] = []

    def heed(signum: int, frame: FrameType | None) -> None:
        if put_off(lambda: heed(signum, frame)):
            return
        stop, reporter = session.stop, session.reporter
        idle = reporter is not None and not stop.graceful and not session.ending
        ends = asked != [signal.SIGINT] or signum != signal.SIGTERM if asked else idle
        if ends:
            for each in heeded:  # should the farewell take long, another one needs nothing of ours
                signal.signal(each, signal.SIG_DFL)
            _leave(session, signum)
        asked.append(signum)
        stop.requested = stop.requested or signum
        if session.ending or len(asked) > 1:
            return
        if reporter is None:
            raise Interrupted(signum)  # if it is swallowed, the job's first step is to check
        reporter.ask_patience()

    for each in heeded:
        signal.signal(each, heed)


def _leave(session: Session, signum: int) -> None:
    """End the process at once. The journal tells the next run what was under way."""
    try:
        _restore_terminal(session.terminal)
        if (reporter := session.reporter) is not None:
            from reconcile.report.words import explain_interruption

            message = explain_interruption(Exit(128 + signum), reporter.so_far(), at_once=True)
            reporter.abandon(Exit(128 + signum), message)
        for farewell in session.farewells:
            farewell(128 + signum)
    finally:
        leave(128 + signum)


def _restore_terminal(settings: list[Any] | None) -> None:
    """Show again what is typed: the signal may have come at a prompt for a password."""
    if settings is not None:
        import termios

        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # in the background we may not, and would be halted
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, settings)
