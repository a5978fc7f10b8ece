"""Commands of the user's own, which the shell runs here, never on the server: before a run, and after it.

They learn of it by variables that begin with ``RECONCILE_RUN_``: other names that begin with ``RECONCILE_``
are options of a ``reconcile`` that they may start themselves. What they print goes where our errors do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.errors import Exit, ReconcileError
from reconcile.core.job import Ending, Job, Result
from reconcile.core.model import Problem, Reason, Stage
from reconcile.leaving import begin, settle
from reconcile.report.endings import MOST, sum_up, tell_end
from reconcile.report.words import count_actions
from reconcile.state.lock import hold_lock
from reconcile.told import TELLING

PATIENCE = 5.0  # seconds for those that tidy up where the process is to end at once
_SHELL = "/bin/sh"
_FACTS = "RECONCILE_RUN_"
_OURS = frozenset(f"RECONCILE_{name.upper()}" for name in TELLING)  # not for what they start in turn


class Hooks(Struct, frozen=True):
    """What is to be run, and when; empty: nothing."""

    before: str = ""
    after: str = ""
    on_success: str = ""
    on_failure: str = ""


class Companion:
    """Runs what goes beside one run. ``warn``: how to say that something failed which stops nothing."""

    def __init__(self, hooks: Hooks, job: Job, warn: Callable[[str], None]) -> None:
        self._hooks, self._warn = hooks, warn
        self._facts = {
            "JOB": job.name,
            "SOURCE": job.source,
            "TARGET": job.dest,
            "STATE": job.state,
        }
        self._job = job
        self._prepared = False  # and not tidied up yet

    def carry_out(self, run: Callable[[], Result]) -> Result:
        """Before, the run, after. What goes wrong after it is a problem of the run.

        Raises ReconcileError, and nothing is run, if what goes before it fails; and whatever ``run`` raises.
        """
        if self._hooks.before:
            with hold_lock(self._job.former or self._job.state, self._job.options.wait):
                why = self._call("before", self._hooks.before, {})
            if why:
                raise ReconcileError(f"The command before the run failed: {why}. Nothing was done.")
        self._prepared = True
        result = run()
        if why := self._tidy_up(_facts_of_result(result)):
            result = replace(result, problems=[*result.problems, _problem(why)])
        return result

    def end(self, ending: Ending) -> None:
        """It ended: tidy up if that was not done yet, and tell who wants to know."""
        facts = _facts_of_ending(ending)
        if why := self._tidy_up(facts, at_once=ending.at_once):
            self._warn(_problem(why).message)
        well = ending.exit_code == Exit.OK
        name, command = (
            ("on-success", self._hooks.on_success) if well else ("on-failure", self._hooks.on_failure)
        )
        if command and (why := self._call(name, command, facts, tell_end(ending), at_once=ending.at_once)):
            self._warn(f"the command --{name} failed: {why}")

    def _tidy_up(self, facts: Mapping[str, object], *, at_once: bool = False) -> str:
        if not (self._hooks.after and self._prepared):
            return ""
        self._prepared = False
        return self._call("after", self._hooks.after, facts, at_once=at_once)

    def _call(
        self, name: str, command: str, facts: Mapping[str, object], text: str = "", *, at_once: bool = False
    ) -> str:
        """Run it, with ``text`` on its stdin; why it failed, or ''.

        ``at_once``: in a session of its own, where no signal that is meant for us gets to it, and left to
        itself once it takes too long.
        """
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        told = {f"{_FACTS}{fact}": str(value) for fact, value in {**self._facts, **facts}.items()}
        try:
            process = begin(
                lambda: subprocess.Popen(
                    [_SHELL, "-c", command],
                    env={**inherited, **told, f"{_FACTS}HOOK": name},
                    stdin=subprocess.PIPE,
                    stdout=sys.stderr.fileno(),
                    start_new_session=at_once,
                ),
                (lambda _: None) if at_once else subprocess.Popen[bytes].terminate,
            )
        except OSError as error:
            return f"{_SHELL} can't be run: {error.strerror}"
        try:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(
                    text.encode("utf-8", "backslashreplace")[-MOST:], PATIENCE if at_once else None
                )
        finally:
            settle(process)
        code = process.returncode
        if not code:  # None: it goes on without us
            return ""
        return f"it was ended by signal {-code}" if code < 0 else f"it exited with {code}"


def _problem(why: str) -> Problem:
    return Problem("", Stage.AFTER, Reason.FAILED, f"the command after the run failed: {why}")


def _facts_of_ending(ending: Ending) -> dict[str, object]:
    message = ending.message or sum_up(ending)
    status = {"STATUS": ending.status, "EXIT_CODE": ending.exit_code, "MESSAGE": message}
    return {**_facts_of_result(ending.result), **status}


def _facts_of_result(result: Result) -> dict[str, object]:
    done = result.done if result.command == "run" else ()
    counts, _ = count_actions(done)
    return {
        **{op.name: count for op, count in counts.items()},
        "BYTES": sum(action.bytes for action in done),
        "PROBLEMS": len(result.problems),
        "SECONDS": round(result.duration_s, 3),
    }
