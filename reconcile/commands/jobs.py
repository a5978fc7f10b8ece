"""``jobs``: all that are known here, those of the file and those that were sent without one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click
from msgspec import Struct

from reconcile.commands.asked import find_asked, find_job_file
from reconcile.commands.look import folder_of, tell_document, without_telling
from reconcile.config import make_flags, make_job
from reconcile.core.errors import Exit, ReconcileError, UsageError
from reconcile.core.units import show_bytes
from reconcile.jobs.file import show_path
from reconcile.report.past import align, show_time, sum_up_run
from reconcile.report.words import show_name
from reconcile.state.history import Run
from reconcile.state.standing import find_known, weigh
from reconcile.state.store import default_state_base
from reconcile.state.there import read_all_runs


class _Row(Struct, frozen=True):
    name: str  # "": it has none
    source: str
    target: str
    folder: str = ""  # where its state is
    wrong: str = ""  # why it can't be begun
    holds: tuple[int, int] | None = (
        None  # entries and bytes that DEST is known to hold; None: nothing is known
    )
    last: Run | None = None


@click.command("jobs")
@click.option("--config", metavar="FILE", help="The file of jobs, as of run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def command(context: click.Context, /, config: str | None, as_json: bool) -> int:
    """List the jobs: those of reconcile.toml, and those that were sent without a file.

    \b
      reconcile jobs
      reconcile jobs --config ~/sites/reconcile.toml
      reconcile jobs --json

    Of each what is sent where, how much DEST is known to hold, and the last run. Makes no connection.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    rows = list(_find_rows(context, config))
    if as_json:
        return tell_document({"as_json": True}, Exit.OK, jobs=[_document(row) for row in rows])
    if not rows:
        click.echo("no job is known: reconcile init writes one down, or reconcile run SRC DEST is the first")
    else:
        now = time.time()
        table = [("JOB", "SOURCE", "TARGET", "SIZE", "LAST RUN"), *(_cells(row, now) for row in rows)]
        for line in align(table):
            click.echo(line)
    return Exit.OK


def _find_rows(context: click.Context, config: str | None) -> Iterator[_Row]:
    """Those of the file first, in its order."""
    told = set()
    if find_job_file(config) is not None:
        for asked in find_asked(context, {"names": (), "config": config}, whole=True):
            try:
                job = make_job(make_flags(without_telling(asked.values)))
            except UsageError as error:
                yield _Row(asked.name, asked.values["source"], "-", wrong=str(error))
                continue
            folder = folder_of(job)
            told.add(folder)
            yield _row(asked.name, job.source, job.dest, folder)
    try:
        known = list(find_known(default_state_base()))
    except UsageError:  # a user without a home
        known = []
    yield from (_row("", source, target, folder) for folder, source, target in known if folder not in told)


def _row(name: str, source: str, target: str, folder: str) -> _Row:
    runs = read_all_runs(folder)
    try:
        holds = weigh(folder)
    except ReconcileError:
        holds = None  # damaged: the next run says so, and what to do
    return _Row(name, source, target, folder, holds=holds, last=runs[-1] if runs else None)


def _cells(row: _Row, now: float) -> tuple[str, ...]:
    size, last = "-", row.wrong or "never"
    if row.holds is not None:
        count, total = row.holds
        size = f"{count:,} {'entry' if count == 1 else 'entries'}, {show_bytes(total)}"
    if row.last is not None:
        last = f"{show_time(row.last.began, now)}: {sum_up_run(row.last)}"
    return (row.name or "-", show_path(row.source), show_name(row.target), size, last)


def _document(row: _Row) -> Mapping[str, Any]:
    last = row.last
    run = last and {"began": last.began, "status": last.status, "exit_code": last.exit_code}
    return {
        "job": row.name or None,
        "source": row.source,
        "target": row.target,
        "state": row.folder,
        "entries": None if row.holds is None else row.holds[0],
        "bytes": None if row.holds is None else row.holds[1],
        "last_run": run,
        "message": row.wrong or None,
    }
