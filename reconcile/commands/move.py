"""``move``: SRC or DEST of a job is elsewhere now, and what is known of it goes along."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from reconcile.commands.asked import Asked, find_one
from reconcile.commands.help import Grouped
from reconcile.commands.look import about, folder_of, tell_document, without_telling
from reconcile.config import make_flags, make_job
from reconcile.core.errors import Exit, Refused, UsageError
from reconcile.core.job import Job
from reconcile.core.units import show_count
from reconcile.home import absolute
from reconcile.options import job_options
from reconcile.phases.move import Moved, move_source, move_target
from reconcile.remotes import parse_target
from reconcile.report import make_reporter
from reconcile.report.words import show_name
from reconcile.state.standing import find_known
from reconcile.state.store import has_snapshot, job_folder

if TYPE_CHECKING:
    from reconcile.process import Session

_SHOWN = 5  # paths


@click.command("move", cls=Grouped)
@click.option("--source", "new_source", metavar="SRC", help="Where the folder is now.")
@click.option("--target", "new_target", metavar="DEST", help="Where that is now.")
@job_options
@click.pass_context
def command(context: click.Context, /, new_source: str | None, new_target: str | None, **values: Any) -> int:
    """Go on with a job whose folder was moved, here or there, or whose server has another name.

    \b
      reconcile move photos --target nas2:photos
      reconcile move ~/photos nas:photos --source /mnt/photos
      reconcile move photos --source ~/pictures

    It looks whether the same is there: here most of what was sent, there the mark of the job, and most of
    what it left. Then nothing is sent again but what differs. The job is named as it was; nothing changes in
    reconcile.toml.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    if (new_source is None) == (new_target is None):
        raise UsageError("move takes --source or --target: where it is now")
    key, new = ("source", new_source) if new_source is not None else ("target", new_target)
    asked = find_one(context, values)
    session: Session = context.obj
    session.reporter = make_reporter("move", as_json=values["as_json"])
    session.stop.check()
    old, job = _both(asked, key, str(new))
    session.reporter.about(job.source, job.dest)
    carry_out = move_source if key == "source" else move_target
    moved = carry_out(old, job, session.reporter, session.stop)
    if not values["as_json"]:
        _tell(job, moved, asked.name)
    if asked.file is not None and not _says(asked, key, str(new)):
        line = f"{key} = {show_name(job.source if key == 'source' else str(new))!r}"
        click.echo(
            f"reconcile: warning: {show_name(asked.file.path)} says otherwise still: write {line} for "
            f"{asked.name} before the next run",
            err=True,
        )
    body = {"entries": moved.entries, "again": [*moved.again], "state": moved.state}
    return tell_document(values, Exit.OK, **about(job), **body)


def _both(asked: Asked, key: str, new: str) -> tuple[Job, Job]:
    """The job as it was, and as it is from now on, each with its own folder of state."""
    flags = make_flags({**without_telling(asked.values), key: new})
    job = make_job(flags)
    source = absolute(new) if key == "source" else job.source
    folder = job_folder(os.path.dirname(job.state), job.name or source, job.target)
    job = replace(job, source=source, state=folder, former="", formerly="", likely=None)
    if _says(asked, key, new):
        return _find_old(job, key), job
    old = make_job(make_flags(without_telling(asked.values)))
    return replace(old, state=folder_of(old)), job


def _says(asked: Asked, key: str, new: str) -> bool:
    """Whether the job is asked for with SRC or DEST as it is to be already."""
    said = asked.values[key]
    if key == "source":
        return absolute(said) == absolute(new)
    return str(parse_target(said)) == str(parse_target(new))


def _find_old(job: Job, key: str) -> Job:
    """The job as it was, where it is asked for as it is to be: the one whose state is beside its own.

    Raises Refused where that can't be told.
    """
    if has_snapshot(job.state) or job.shared or not job.name:
        return job
    known = find_known(os.path.dirname(job.state), 1)
    others = [(folder, source, target) for folder, source, target in known if folder != job.state]
    if len(others) != 1:
        names = " and ".join(sorted({repr(target) for _, _, target in others})) or "none"
        raise Refused(
            f"Nothing is known of the job {job.name!r} as it is asked for, and what it was can't be told: "
            f"its state is of {names}. Nothing was done. Say {key} as it was, in the file or as SRC DEST, "
            "and do this again."
        )
    ((folder, source, target),) = others
    return replace(job, state=folder, source=source, target=parse_target(target), named="")


def _tell(job: Job, moved: Moved, name: str) -> None:
    title = name or f"{show_name(job.source)} → {show_name(job.dest)}"
    click.echo(f"moved: {title}: {show_count(moved.entries, 'entry', 'entries')} are known there")
    for path in moved.again[:_SHOWN]:
        click.echo(f"  not as it was left, and comes again: {show_name(path)}")
    if len(more := moved.again[_SHOWN:]) > 0:
        click.echo(f"  and {len(more):,} more")
    if moved.unfinished:
        click.echo("  a run had broken off; the next one goes on with it")
