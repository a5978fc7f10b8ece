"""``forget``: what is remembered of a job goes; what was sent stays."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from reconcile.commands.help import Grouped
from reconcile.commands.look import find_jobs, folder_of, tell_document
from reconcile.core.errors import Exit, ReconcileError, Refused, UsageError
from reconcile.core.job import Job
from reconcile.options import job_options
from reconcile.phases.recall import left_open, recall
from reconcile.report.words import show_name
from reconcile.state.lock import hold_lock
from reconcile.state.private import check_folder

if TYPE_CHECKING:
    from reconcile.process import Session


@click.command("forget", cls=Grouped)
@click.option("--yes", is_flag=True, help="Don't ask.")
@job_options
@click.pass_context
def command(context: click.Context, /, yes: bool, **values: Any) -> int:
    """Forget what was sent by a job: its state here goes, and nothing else, here or there.

    \b
      reconcile forget photos
      reconcile forget ~/photos nas:photos
      reconcile forget photos --yes

    A job that runs again is a new one, and --adopt-existing tells it that DEST holds something already. A
    state that lies at DEST stays there. Takes the flags of run.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    jobs = find_jobs(context, values)
    if len(jobs) != 1:
        raise UsageError("name one job")
    (job,) = jobs
    folder, session = folder_of(job), context.obj
    if not os.path.isdir(folder):
        raise UsageError(f"nothing is known of it: there is no {show_name(folder)}")
    with hold_lock(folder, job.options.wait):
        check_folder(folder)
        _refuse_unfinished(replace(job, state=folder))
        _ask(session, f"what is known of {show_name(job.source)} → {show_name(job.dest)} goes", yes=yes)
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise ReconcileError(f"{show_name(folder)} could not be removed: {error.strerror}.") from error
    if not job.shared:
        with suppress(OSError):  # the folder of a job of a file, if nothing else is in it
            os.rmdir(os.path.dirname(folder))
    if not values["as_json"]:
        stays = "; the state at DEST stays" if job.shared else ""
        click.echo(f"forgotten: {show_name(folder)}{stays}")
    return tell_document(values, Exit.OK, forgotten=folder)


def _refuse_unfinished(job: Job) -> None:
    try:
        known = recall(job)
    except Refused:  # it can't be read: so be it
        return
    if known is not None and left_open(job.state, known) is not None:
        raise Refused(
            "A run broke off, and what it has moved aside at DEST is known nowhere else. Nothing was done. "
            "Run it to its end first; if that is no more to be had, with --start-over."
        )


def _ask(session: Session, what: str, *, yes: bool) -> None:
    if yes:
        return
    if not session.may_ask():
        raise Refused("Nothing was done: there is nobody to ask. Add --yes to have it done.")
    click.confirm(f"reconcile: {what}; do it?", err=True, abort=True)
