"""``status``: how jobs stand, and whether they have run at all."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from reconcile.commands.asked import find_job_file
from reconcile.commands.look import find_jobs, folder_of, tell_document
from reconcile.core.errors import Exit, Refused, Unreachable, UsageError
from reconcile.core.job import Job
from reconcile.core.timetable import minutes_until
from reconcile.options import job_options
from reconcile.report import past
from reconcile.state.history import Run
from reconcile.state.lock import find_run
from reconcile.state.schedule import recall_schedule
from reconcile.state.standing import find_known, size_of
from reconcile.state.store import default_state_base
from reconcile.state.there import read_all_runs
from reconcile.state.trouble import recall_failing
from reconcile.state.unfinished import is_unfinished

if TYPE_CHECKING:
    from reconcile.process import Session

_AGE = r"([0-9]{1,6})([smhdw])"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PATHS = 5  # that fail, and are named


@click.command("status")
@click.option(
    "--max-age",
    metavar="AGE",
    help="Exit with 3 if a job has not gone well for so long, 26h or 8d, or never did: with -q it says "
    "nothing else.",
)
@click.option(
    "--remote",
    is_flag=True,
    help="Connect, and look: whether DEST is as it was left, and who is at work there.",
)
@job_options
@click.pass_context
def command(context: click.Context, /, max_age: str | None, remote: bool, **values: Any) -> int:
    """Show how jobs stand: the last run, what fails, when the next one is due.

    \b
      reconcile status                       all jobs
      reconcile status photos --remote       one, with a look at the server
      reconcile status --max-age 26h -q      exits with 3 if one is late

    Makes no connection without --remote. Takes the flags of run. Without a name it shows all jobs of
    reconcile.toml; where there is none, all that have run by SRC and DEST.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    most, now = _seconds(max_age), time.time()
    standings = _find_standings(context, values, remote=remote)
    old = [each for each in standings if most is not None and _is_older(each, most, now)]
    code = Exit.PROBLEMS if old else Exit.OK
    if values["as_json"]:
        jobs = [past.standing_document(each, now, too_old=each in old) for each in standings]
        return tell_document(values, code, jobs=jobs)
    if not values["quiet"]:
        for line in _lines(standings, now, in_full=values["verbose"]):
            click.echo(line)
    for each in old:
        click.echo(f"reconcile: problem: {_tell_age(each, now)}", err=True)
    return code


def _find_standings(
    context: click.Context, values: Mapping[str, Any], *, remote: bool
) -> Sequence[past.Standing]:
    if not values["names"] and find_job_file(values["config"]) is None:
        if remote:
            raise UsageError("--remote needs to know which job: name it, or SRC and DEST")
        base = os.path.abspath(values["state"] or default_state_base())
        known = find_known(base)
        return [_stand("", source, target, at, read_all_runs(at)) for at, source, target in known]
    standings = []
    for job in find_jobs(context, values):
        there: Sequence[str] = ()
        folder = folder_of(job)
        runs: Sequence[Run] = read_all_runs(folder)
        try:
            if remote:
                there, runs = _look_there(context, job, values)
        except Unreachable as error:
            there = (str(error),)
        standing = _stand(job.name, job.source, job.dest, folder, runs)
        standings.append(replace(standing, there=there))
    return standings


def _stand(name: str, source: str, target: str, folder: str, runs: Sequence[Run]) -> past.Standing:
    failing = recall_failing(folder)
    return past.Standing(
        name=name,
        source=source,
        target=target,
        folder=folder,
        runs=runs,
        size=size_of(folder),
        at_work=find_run(folder),
        unfinished=is_unfinished(folder),
        failing=[(path, since.day, since.runs) for (path, _), since in [*failing.items()][:_PATHS]],
        due=_find_due(folder),
    )


def _find_due(folder: str) -> float | None:
    """When the next run is due, in seconds since the epoch, by this machine's clock; None: not known."""
    table = recall_schedule(folder)
    if table is None:
        return None
    now = datetime.now().astimezone()
    left = minutes_until(table, now.weekday(), now.hour * 60 + now.minute)
    wall = now.replace(second=0, microsecond=0, tzinfo=None) + timedelta(minutes=left)
    return wall.timestamp()  # as the clock on the wall then shows it, also if summer ends meanwhile


def _look_there(
    context: click.Context, job: Job, values: Mapping[str, Any]
) -> tuple[Sequence[str], Sequence[Run]]:
    """What is found on DEST, in words, and all runs that are known then."""
    from reconcile.apply.turn import find_holder
    from reconcile.core.turns import NAMELESS
    from reconcile.phases.held import hold
    from reconcile.phases.recall import footing_of, recall
    from reconcile.report import make_reporter

    session: Session = context.obj
    session.reporter = reporter = make_reporter("status", as_json=values["as_json"])
    reporter.about(job.source, job.dest)
    job = replace(job, state=folder_of(job))
    told = []
    try:
        with hold(job, reporter, None, session.stop, keeps=False) as this:
            with this.phase("connect"):
                this.remote.open()
            try:
                if this.shared is not None:
                    this.shared.fetch(repair=False)
                snapshot = recall(this.job)
                if snapshot is not None:
                    this.remote.check(footing_of(this.job, snapshot))
                    told.append("as it was left, by its mark")
            except Refused as error:
                told.append(str(error).replace(" Nothing was done.", ""))
            if this.remote.is_torn():
                told.append("a run is at work, or broke off: something is moved aside")
            if (holder := find_holder(this.remote.store, job.name or NAMELESS)) is not None:
                told.append(f"locked{holder}")
            return told or ["nothing of ours"], read_all_runs(job.state, this.job.state)
    finally:
        reporter.close()


def _lines(standings: Sequence[past.Standing], now: float, *, in_full: bool) -> Sequence[str]:
    if not standings:
        return ["no job is known: reconcile run SRC DEST is the first"]
    if len(standings) > 1 and not in_full:
        return [*past.list_standings(standings, now)]
    return [line for each in standings for line in past.describe_standing(each, now)]


def _is_older(standing: past.Standing, most: float, now: float) -> bool:
    age = standing.age(now)
    return age is None or age > most


def _tell_age(standing: past.Standing, now: float) -> str:
    age = standing.age(now)
    how = "has never gone well" if age is None else f"has not gone well for {past.show_age(age)}"
    return f"{standing.title} {how}"


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(_AGE, text)
    if match is None:
        raise UsageError("--max-age takes an age in minutes, hours, days or weeks, such as 90m, 26h or 8d")
    return int(match[1]) * _UNITS[match[2]]
