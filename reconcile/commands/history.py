"""``history``: what became of the runs of a job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from reconcile.commands.look import about, find_jobs, folder_of, tell_document
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import Job
from reconcile.options import job_options
from reconcile.report import past
from reconcile.state.history import read_deeds
from reconcile.state.there import read_all_runs

_LAST = 20  # runs that are shown


@click.command("history")
@click.option("-n", "--count", type=click.IntRange(min=1), default=_LAST, metavar="N",
              help=f"Show so many runs.  [default: {_LAST}]")  # fmt: skip
@job_options
@click.pass_context
def command(context: click.Context, /, count: int, **values: Any) -> int:
    """Show what became of the runs of a job; with a number after it, all that one run did.

    \b
      reconcile history                      of all jobs
      reconcile history photos               of one
      reconcile history photos 118           what its run 118 did

    Takes the flags of run, and makes no connection.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    names, number = _split(values["names"])
    jobs = find_jobs(context, {**values, "names": names})
    if number is not None and len(jobs) != 1:
        raise UsageError("a run has its number in one job: name that, too")
    if values["as_json"]:
        return tell_document(values, Exit.OK, jobs=_documents(jobs, count, number))
    for place, job in enumerate(jobs):
        if len(jobs) > 1:
            click.echo(f"{'' if not place else chr(10)}{job.name}")
        for line in _lines(job, count, number):
            click.echo(line)
    return Exit.OK


def _split(names: Sequence[str]) -> tuple[tuple[str, ...], int | None]:
    """What names the job, and the number of a run, if the last of them is one."""
    *rest, end = names or ("",)
    if end.removeprefix("#").isdecimal() and end.isascii() and len(names) in (1, 2, 3):
        return tuple(rest), int(end.removeprefix("#"))
    return tuple(names), None


def _lines(job: Job, count: int, number: int | None) -> Sequence[str]:
    now, folder = time.time(), folder_of(job)
    runs = read_all_runs(folder)
    if number is None:
        return [*past.list_runs(runs[-count:], now)] if runs else ["no run is known"]
    for run in runs:
        if run.n == number:
            noted = read_deeds(folder, number)
            deeds, more = noted or ([], sum(run.counts.values()))
            return [*past.describe_run(run, deeds, more, now)]
    raise _unknown(number)


def _documents(jobs: Sequence[Job], count: int, number: int | None) -> list[dict[str, Any]]:
    told = []
    for job in jobs:
        folder = folder_of(job)
        runs = read_all_runs(folder)
        chosen = runs[-count:] if number is None else [run for run in runs if run.n == number]
        if number is not None and not chosen:
            raise _unknown(number)
        documents = [
            past.run_document(
                run,
                None if number is None else read_deeds(folder, number) or ((), sum(run.counts.values())),
            )
            for run in chosen
        ]
        told.append({**about(job), "runs": documents})
    return told


def _unknown(number: int) -> UsageError:
    return UsageError(f"no run #{number} is known; leave the number out to see those that are")
