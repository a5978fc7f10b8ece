"""``forget``: what is remembered of a job goes, here and, if that is wanted, there; what was sent stays."""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from reconcile.commands.help import Grouped
from reconcile.commands.look import find_job, folder_of, tell_document
from reconcile.core.errors import Exit, ReconcileError, Refused, UsageError
from reconcile.core.job import Job
from reconcile.options import job_options
from reconcile.phases.recall import recall, refuse_unfinished
from reconcile.report import make_reporter
from reconcile.report.words import show_name
from reconcile.state.lock import hold_lock
from reconcile.state.private import check_folder

if TYPE_CHECKING:
    from reconcile.process import Session


@click.command("forget", cls=Grouped)
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--remote", is_flag=True, help="What the job has at DEST beside its files goes, too.")
@job_options
@click.pass_context
def command(context: click.Context, /, yes: bool, remote: bool, **values: Any) -> int:
    """Forget what was sent by a job: its state here goes, and no file, here or there.

    \b
      reconcile forget photos
      reconcile forget ~/photos nas:photos
      reconcile forget photos --remote --yes

    A job that runs again is a new one, and --adopt-existing tells it that DEST holds something already. The
    state that lies at DEST, and what else of the job is in our folder there, goes with --remote alone: not
    while runs have something in the trash, or moved aside. Takes the flags of run.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    job = find_job(context, values)
    folder, session = folder_of(job), context.obj
    if not os.path.isdir(folder) and not (remote and job.shared):
        raise UsageError(f"nothing is known of it: there is no {show_name(folder)}")
    session.reporter = make_reporter("forget", as_json=values["as_json"])
    session.reporter.about(job.source, job.dest)
    session.stop.check()
    called = job.name if values["names"] == (job.name,) else shlex.join(values["names"])
    with hold_lock(folder, job.options.wait):
        check_folder(folder)
        here = replace(job, state=folder)
        _refuse_unfinished(here)
        places = ", here and at DEST" if remote else ""
        _ask(
            session, f"what is known of {show_name(job.source)} → {show_name(job.dest)} goes{places}", yes=yes
        )
        if remote:
            from reconcile.phases.forget import forget_there

            forget_there(here, called, session.reporter, session.stop)
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise ReconcileError(f"{show_name(folder)} could not be removed: {error.strerror}.") from error
    if not job.shared:
        with suppress(OSError):  # the folder of a job of a file, if nothing else is in it
            os.rmdir(os.path.dirname(folder))
    if not values["as_json"]:
        stays = "; the state at DEST stays" if job.shared and not remote else ""
        there = ", and what the job had at DEST beside its files" if remote else ""
        click.echo(f"forgotten: {show_name(folder)}{there}{stays}")
    return tell_document(values, Exit.OK, forgotten=folder, remote=remote)


def _refuse_unfinished(job: Job) -> None:
    try:
        known = recall(job)
    except Refused:  # it can't be read: so be it
        return
    refuse_unfinished(job.state, known)


def _ask(session: Session, what: str, *, yes: bool) -> None:
    if not yes:
        session.must_ask()
        click.confirm(f"reconcile: {what}; do it?", err=True, abort=True)
