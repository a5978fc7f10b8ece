"""``watch``: a job is run whenever something in its SRC has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from reconcile.commands.asked import Asked, attempt, find_asked
from reconcile.commands.help import Grouped
from reconcile.commands.look import without_telling
from reconcile.commands.run import begin_job, finish_job
from reconcile.config import make_flags, make_job, read_time
from reconcile.core.errors import ReconcileError, UsageError
from reconcile.core.filters import Filter
from reconcile.core.job import Job, Reporter, Result, Stop
from reconcile.core.rounds import Rounds
from reconcile.home import expand_option
from reconcile.options import job_options
from reconcile.phases.look import find_filter
from reconcile.pipeline import run
from reconcile.report import PlainReporter
from reconcile.report.several import Titled
from reconcile.report.words import show_name
from reconcile.source.watch import Watcher
from reconcile.told import find_companion

if TYPE_CHECKING:
    from reconcile.process import Session

# And not each time.
_ONCE = ("adopt_orphans", "allow_mass_delete", "moved_from", "release_held", "start_over")
_BREATH = 1.0  # seconds at least between two watchers
_TRIES = 5  # at hearing of all that a command has changed


@click.command("watch", cls=Grouped)
@click.option(
    "--settle", metavar="TIME", default="2s", help="Run once nothing has changed for so long.  [default: 2s]"
)
@click.option(
    "--every",
    metavar="TIME",
    default="15m",
    help="Run at least so often: not all that changes is told, on network file systems nothing.  "
    "[default: 15m]",
)
@job_options
@click.pass_context
def command(context: click.Context, /, settle: str, every: str, **values: Any) -> int:
    """Watch SRC, and run the job whenever something there has changed.

    \b
      reconcile watch                                 all jobs of reconcile.toml
      reconcile watch photos --settle 10s
      reconcile watch public me@web:/srv/www --mirror

    The runs are those of run, and take its flags. None that fails ends the watch; a signal does. What
    changed while no connection could be made is brought once one can. It needs the library watchfiles.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    if values["as_json"]:
        raise click.UsageError("--json is one document, and this has no end: --events FILE has all", context)
    if once := [name for name in _ONCE if values[name]]:
        option = once[0].replace("_", "-")
        raise click.UsageError(f"--{option} is meant for one run: do that first, and watch then", context)
    pause, period = read_time(settle, "--settle"), read_time(every, "--every")
    if period < 1:
        raise UsageError("--every takes a time from 1s on")
    watched = [_make(asked, Rounds(pause, period)) for asked in find_asked(context, values)]
    return _Watch(context, watched, period).go_on()


class _Watched(Struct, frozen=True):
    """A job, and when it is to be run."""

    asked: Asked
    job: Job
    rounds: Rounds
    events: str | None  # a file that each run writes to, maybe in SRC

    def minds(self, paths: Iterable[str]) -> bool:
        """Whether a run may have something to do if these paths in SRC have changed."""
        top = os.path.realpath(self.job.source)
        try:
            filter = find_filter(self.job)
        except ReconcileError:  # which the run tells
            filter = Filter()
        for path in paths:
            full = os.path.join(top, path)
            is_dir = os.path.isdir(full) and not os.path.islink(full)
            if not path or (full != self.events and not filter.excludes(path, is_dir)):
                return True
        return False


class _Watch:
    """All of them, in one process, one after the other."""

    def __init__(self, context: click.Context, watched: Sequence[_Watched], every: float) -> None:
        self._context, self._watched, self._every = context, watched, every
        self._session: Session = context.obj
        self._stop: Stop = self._session.stop
        self._blind = ""  # why nothing is seen, as it was told

    def go_on(self) -> int:
        """Until a signal comes, whose exit code it is."""
        self._session.ending = True  # between runs nothing is under way: a signal is only noted
        self._open()
        for each in self._watched:
            self._say(each, f"watching {show_name(each.job.source)} → {show_name(each.job.dest)}")
        try:
            while not self._stop.requested:
                self._see()
                for each in self._watched:
                    if self._is_to_run(each):
                        self._run(each)
        finally:
            self._watcher.close()
        return 128 + self._stop.requested

    def _open(self) -> None:
        """Watch from now on. Whatever was not seen before counts as changed."""
        sources = [each.job.source for each in self._watched]
        self._opened = time.monotonic()
        self._watcher = Watcher(sources, lambda: bool(self._stop.requested))
        for each in self._watched:
            each.rounds.changed(self._opened)
        if (blind := self._watcher.blind) and blind != self._blind:
            message = f"reconcile: note: what changes can't be seen ({blind}): runs are made by --every alone"
            click.echo(message, err=True)
        self._blind = blind

    def _see(self) -> bool:
        """Note what has changed; whether anything did."""
        age = time.monotonic() - self._opened
        if age >= self._every or (age >= _BREATH and self._watcher.is_lost()):
            self._watcher.close()
            self._open()
        seen: dict[int, list[str]] = {}
        for number, path in self._watcher.look():
            seen.setdefault(number, []).append(path)
        for number, paths in seen.items():
            if self._watched[number].minds(paths):
                self._watched[number].rounds.changed(time.monotonic())
        return bool(seen)

    def _is_to_run(self, each: _Watched) -> bool:
        """A folder that is gone is, as a rule, about to be made anew: that it stays away is told when due."""
        if self._stop.requested:
            return False
        now = time.monotonic()
        return each.rounds.is_due(now) or (each.rounds.is_quiet(now) and os.path.isdir(each.job.source))

    def _run(self, each: _Watched) -> None:
        session, begun = self._session, time.strftime("%H:%M:%S")
        session.out, session.err = Titled.both(", ".join(filter(None, [each.asked.name, begun])))
        each.rounds.begin()

        def perform(job: Job, reporter: Reporter, *, stop: Stop) -> Result:
            if each.asked.values["before"]:  # what that has changed this run sees: no reason for another
                for _ in range(_TRIES):
                    if not self._see():
                        break
                each.rounds.begin()
            result = run(job, reporter, stop=stop)
            if isinstance(reporter, PlainReporter) and not result.done and not result.problems:
                reporter.quiet = not reporter.verbose  # or it would be said four times an hour
            return result

        def carry_out(values: Mapping[str, Any]) -> int:
            job, reporter = begin_job(self._context, "run", values)
            companion = find_companion(job, reporter, values)
            return finish_job(session, job, reporter, "run", companion=companion, perform=perform)

        code = attempt(session, each.asked, carry_out)
        session.ending = True
        session.out = session.err = None
        each.rounds.end(time.monotonic(), code)

    def _say(self, each: _Watched, text: str) -> None:
        if not each.asked.values["quiet"]:
            click.echo(f"reconcile: {text}", err=each.asked.values["events"] == "-")


def _make(asked: Asked, rounds: Rounds) -> _Watched:
    job = make_job(make_flags(without_telling(asked.values)))
    events = asked.values["events"]
    file = os.path.realpath(expand_option(events, "--events")) if events not in (None, "", "-") else None
    return _Watched(asked, job, rounds, file)
