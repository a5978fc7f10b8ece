"""``trash``: what runs have deleted or replaced, and how it is had back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from reconcile.commands.asked import split_names
from reconcile.commands.help import Grouped
from reconcile.commands.look import about, end_of, find_job, find_jobs, tell_document
from reconcile.config import read_time
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import Job
from reconcile.core.model import Kind, Seen
from reconcile.core.units import show_bytes, show_count
from reconcile.options import job_options
from reconcile.phases.trash import open_bin
from reconcile.remotes import Bin, Binned
from reconcile.report import make_reporter
from reconcile.report.past import align, show_time
from reconcile.report.words import show_name

if TYPE_CHECKING:
    from reconcile.process import Session


@click.group("trash", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Look at what runs have deleted or replaced (--trash AGE), and have it back.

    \b
      reconcile trash ls photos           the runs that have something there
      reconcile trash show photos RUN     what one has
      reconcile trash restore photos RUN 2024/img.jpg
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    end_of(context)


@command.command("ls", cls=Grouped)
@job_options
@click.pass_context
def ls(context: click.Context, /, **values: Any) -> int:
    """List the runs that have something in the trash.

    \b
      reconcile trash ls                           of all jobs
      reconcile trash ls photos                    of one
      reconcile trash ls ~/photos nas:photos
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    told = []
    for job in find_jobs(context, values):
        with _opened(context, job, values, changes=False) as bin_there:
            runs, others = bin_there.runs(), bin_there.others()
        beside = {"runs": len(others), "count": _things(others), "bytes": sum(run.size for run in others)}
        told.append(
            {
                **about(job),
                "runs": [{"run": r.name, "count": r.count, "bytes": r.size, "since": r.since} for r in runs],
                "others": beside,
            }
        )
        if not values["as_json"]:
            now = time.time()
            rows = [_about_run(run, now) for run in reversed(runs)]
            lines = (
                [*align([("RUN", "ENDED", "THINGS", "SIZE"), *rows], right=(2,))]
                if rows
                else ["nothing is there"]
            )
            if others:
                lines.append(f"beside that, of other jobs at this DEST: {_sum_up(others)}")
            for line in [f"{job.name}:", *lines] if job.name else lines:
                click.echo(line)
    return tell_document(values, Exit.OK, jobs=told)


@command.command("show", cls=Grouped)
@job_options
@click.pass_context
def show(context: click.Context, /, **values: Any) -> int:
    """Show what a run has in the trash, by the paths at which it was.

    \b
      reconcile trash show photos RUN
      reconcile trash show photos RUN --json
      reconcile trash show ~/photos nas:photos RUN
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    job, run, rest = _split(context, values)
    if rest:
        raise UsageError("show takes one run")
    with _opened(context, job, values, changes=False) as bin_there:
        found = [*bin_there.walk(_known(bin_there, run))]
    if not values["as_json"]:
        rows = [_row(path, seen) for path, seen in found]
        for line in align(rows, right=(0,)) if rows else ["nothing is there"]:
            click.echo(line)
    entries = [
        {"path": path, "kind": str(seen.kind), "size": seen.size, "mtime": seen.mtime} for path, seen in found
    ]
    return tell_document(values, Exit.OK, **about(job), run=run, entries=entries)


@command.command("restore", cls=Grouped)
@job_options
@click.pass_context
def restore(context: click.Context, /, **values: Any) -> int:
    """Put back on DEST what a run has deleted or replaced, or what of it was at or below the paths.

    \b
      reconcile trash restore photos RUN 2024/img.jpg
      reconcile trash restore photos RUN           all of it
      reconcile trash restore ~/photos nas:photos RUN 2024

    Nothing that is there by now is replaced: then it comes beside that, as PATH.from-RUN. SRC is not
    touched, and later runs leave what came back alone.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    job, run, paths = _split(context, values)
    paths = [path.rstrip("/") for path in paths]
    for path in paths:
        if not path or path.startswith("/") or {".", ".."} & {*path.split("/")}:
            raise UsageError(f"{path!r} is no path from DEST on")
    with _opened(context, job, values, changes=True) as bin_there:
        back = sorted(bin_there.bring_back(_known(bin_there, run), paths), key=lambda each: each.path)
    failed = [each for each in back if each.problem]
    if not values["as_json"]:
        for each in back:
            if not each.problem:
                beside = f" → {show_name(each.place)}" if each.place != each.path else ""
                click.echo(f"back: {show_name(each.path)}{beside}")
        for each in failed:
            click.echo(f"reconcile: problem: {show_name(each.path)} {show_name(each.problem)}", err=True)
    restored = [{"path": each.path, "place": each.place} for each in back if not each.problem]
    problems = [{"path": each.path, "message": each.problem} for each in failed]
    code = Exit.PROBLEMS if failed else Exit.OK
    return tell_document(values, code, **about(job), run=run, restored=restored, problems=problems)


@command.command("empty", cls=Grouped)
@click.option("--older-than", metavar="AGE", help="What has been there for longer: 30d, 12h or 8w, say.")
@click.option(
    "--all", "of_all", is_flag=True, help="And what other jobs have there, in the trash of the same DEST."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
@job_options
@click.pass_context
def empty(context: click.Context, /, older_than: str | None, of_all: bool, yes: bool, **values: Any) -> int:
    """Remove for good what the runs of a job have in the trash.

    \b
      reconcile trash empty photos
      reconcile trash empty photos --older-than 30d
      reconcile trash empty photos --all --yes

    What others wrote and a run has moved aside is not part of it: see --keep. Of other jobs it is all or
    nothing: none of them may be at work.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    if of_all and older_than is not None:
        raise UsageError(
            "--older-than goes without --all: when those of other jobs may go is for these to say"
        )
    job = find_job(context, values)
    age = None if older_than is None else read_time(older_than, "--older-than")
    session: Session = context.obj
    with _opened(context, job, values, changes=True) as bin_there:
        now = time.time()
        runs = [run for run in bin_there.runs() if age is None or run.since + age < now]
        others = bin_there.others() if of_all else []
        if (runs or others) and not yes:
            session.must_ask(as_json=values["as_json"])
            theirs = f", {show_count(_things(others), 'thing')} of other jobs among them," if others else ""
            count = show_count(_things([*runs, *others]), "thing")
            click.confirm(f"reconcile: {count}{theirs} will go for good; do it?", err=True, abort=True)
        gone = [run for run in runs if bin_there.empty(run.name)]
        others_went = not others or bin_there.empty_others()
    if not values["as_json"]:
        went = [*gone, *(others if others_went else ())]
        click.echo(f"gone for good: {show_count(_things(went), 'thing')} of {show_count(len(went), 'run')}")
        if not others_went:
            click.echo("reconcile: problem: not all that other jobs have there could be removed", err=True)
    code = Exit.OK if others_went and len(gone) == len(runs) else Exit.PROBLEMS
    removed = [run.name for run in gone]
    return tell_document(
        values, code, **about(job), removed=removed, others=_things(others) if others_went else 0
    )


def _opened(
    context: click.Context, job: Job, values: dict[str, Any], *, changes: bool
) -> AbstractContextManager[Bin]:
    session: Session = context.obj
    session.reporter = make_reporter("trash", as_json=values["as_json"])
    session.reporter.about(job.source, job.dest)
    session.stop.check()
    return open_bin(job, session.reporter, session.stop, changes=changes)


def _split(context: click.Context, values: dict[str, Any]) -> tuple[Job, str, Sequence[str]]:
    """The job, the run, and the paths that are named after it."""
    names, rest = split_names(values["names"])
    if not rest:
        raise UsageError("name the job, or SRC and DEST, and then the run, as 'reconcile trash ls' shows it")
    run, *paths = rest
    return find_job(context, {**values, "names": tuple(names)}), run, paths


def _known(bin_there: Bin, run: str) -> str:
    runs = [each.name for each in bin_there.runs()]
    if run not in runs:
        raise UsageError(
            f"no run {run!r} has anything in the trash; 'reconcile trash ls' shows those that do"
        )
    return run


def _things(runs: Sequence[Binned]) -> int:
    return sum(run.count for run in runs)


def _sum_up(runs: Sequence[Binned]) -> str:
    size = show_bytes(sum(run.size for run in runs))
    return f"{show_count(_things(runs), 'thing')} of {show_count(len(runs), 'run')} ({size})"


def _about_run(run: Binned, now: float) -> tuple[str, str, str, str]:
    return run.name, show_time(run.since, now), f"{run.count:,}", show_bytes(run.size)


def _row(path: str, seen: Seen) -> tuple[str, str]:
    slash = "/" if seen.kind is Kind.DIR else ""
    link = f" → {show_name(seen.link)}" if seen.link is not None else ""
    return show_bytes(seen.size) if seen.kind is Kind.FILE else "", f"{show_name(path)}{slash}{link}"
