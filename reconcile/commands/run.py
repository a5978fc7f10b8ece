"""``run``: a job is carried out. And what ``plan`` has in common with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from reconcile.commands.asked import carry_out_jobs, to_do_it
from reconcile.commands.help import Grouped
from reconcile.config import make_flags, make_job
from reconcile.core.errors import Exit
from reconcile.options import job_options
from reconcile.pipeline import make_plan, run
from reconcile.remotes import scheme_of
from reconcile.report import make_reporter
from reconcile.state.history import note_run
from reconcile.state.store import has_snapshot
from reconcile.told import find_companion, take_telling, tell_events, tell_monitor

if TYPE_CHECKING:
    from reconcile.core.job import Job, Result
    from reconcile.process import Session
    from reconcile.report import Recorder
    from reconcile.told.hooks import Companion


@click.command("run", cls=Grouped)
@click.option("-n", "--dry-run", is_flag=True, help="The same as plan.")
@click.option(
    "--plan",
    metavar="FILE",
    help="Do what 'reconcile plan --out FILE' has shown and saved, or nothing: 4 is the exit code where "
    "something is not as it was then.",
)
@job_options
@click.pass_context
def command(context: click.Context, /, dry_run: bool, plan: str | None, **values: Any) -> int:
    """Bring DEST up to SRC: send what is new or changed, move what was moved.

    \b
      reconcile run ~/photos me@nas:photos    a folder to a server
      reconcile run                           all jobs of reconcile.toml
      reconcile run photos --mirror           one of them, with a flag more

    SRC/z/a becomes DEST/z/a; DEST and its parents are made. What was deleted here stays there unless
    --mirror is given.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    return carry_out_job(context, "plan" if dry_run else "run", values, plan=plan)


def carry_out_job(
    context: click.Context,
    command: str,
    values: Mapping[str, Any],
    *,
    changes: Exit = Exit.OK,
    out: str | None = None,
    plan: str | None = None,
) -> int:
    """Flags → jobs → results → exit code. ``changes`` is the exit code of a plan with something to do.

    ``out``: where it is saved. ``plan``: one that was saved, and is to be done.
    """
    session: Session = context.obj
    reviewed, file = None, out or plan
    if file is not None:
        from reconcile.commands.reviewed import leave_out, recall, saver, to_apply
    if plan is not None:
        reviewed = recall(context, plan, values)
        values = {**values, "names": values["names"] or reviewed.names}

    def carry_out(values: Mapping[str, Any]) -> int:
        if file is not None:
            if session.several:
                raise click.UsageError("a plan is saved, and carried out, of one job: name it", context)
            values = leave_out({**values, **reviewed.flags} if reviewed is not None else values, file)
        job, reporter = begin_job(context, command, values)
        if not session.several:
            reporter.to_do_it = to_apply(context, out) if out else to_do_it(session.args)
        if file is not None:
            job = replace(job, reviewed=None if reviewed is None else reviewed.reviewed, exact=True)
        companion = None if command == "plan" else find_companion(job, reporter, values)
        save = saver(context, out, values) if out else None
        return finish_job(session, job, reporter, command, changes=changes, companion=companion, save=save)

    return carry_out_jobs(context, command, values, carry_out)


def finish_job(
    session: Session,
    job: Job,
    reporter: Recorder,
    command: str,
    *,
    changes: Exit = Exit.OK,
    is_last: bool = True,
    companion: Companion | None = None,
    save: Callable[[Job, Result], None] | None = None,
    perform: Callable[..., Result] | None = None,
) -> int:
    """Job → result → exit code. Unless it ``is_last`` something else comes after it.

    ``companion``: runs what goes beside it. ``perform``: in the place of ``run`` or ``make_plan``.
    """
    if command != "plan":
        reporter.at_end.insert(0, partial(note_run, job.state))
    do = perform or (make_plan if command == "plan" else run)
    carry_out = partial(do, job, reporter, stop=session.stop)
    result = carry_out() if companion is None else companion.carry_out(carry_out)
    code = Exit.OK
    if result.problems:
        code = Exit.PROBLEMS
    elif command == "plan" and not result.plan.empty:
        code = changes
    session.to_do |= command == "plan" and not result.plan.empty
    if save is not None:
        save(job, result)
    session.ending = is_last
    reporter.finish(result, code)
    return code


def begin_job(context: click.Context, command: str, values: Mapping[str, Any]) -> tuple[Job, Recorder]:
    """What job the flags name, and who tells of it: errors, too, from then on."""
    flags = dict(values)
    as_json, quiet, verbose = (flags.pop(name) for name in ("as_json", "quiet", "verbose"))
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other", context)
    session: Session = context.obj
    telling = take_telling(flags)
    out = session.out
    if telling["events"] == "-":
        if as_json:
            raise click.UsageError("--json and --events - would both write to stdout", context)
        out = session.err or sys.stderr
    reporter = make_reporter(
        command, as_json=as_json, quiet=quiet, verbose=verbose, stdout=out, stderr=session.err
    )
    session.reporter = reporter
    session.stop.check()
    if telling["ping"] and command == "run":
        tell_monitor(telling["ping"], reporter)
    if telling["events"]:
        tell_events(telling["events"], flags.get("job") or "", reporter)
    job = make_job(make_flags(flags), interactive=session.may_ask())
    reporter.about(job.source, job.dest)
    if not has_snapshot(job.state) and (hint := scheme_of(job.target).doubt(flags["target"])) is not None:
        reporter.say(hint)
    return job, reporter
