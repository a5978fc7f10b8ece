"""``undo``: what a run has done is taken back."""

from __future__ import annotations

from functools import partial as bind
from typing import TYPE_CHECKING, Any

import click

from reconcile.commands.asked import find_one, split_names, to_do_it
from reconcile.commands.help import Grouped
from reconcile.commands.run import begin_job, finish_job
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import Result
from reconcile.options import job_options
from reconcile.phases.undo import plan_to_undo, undo
from reconcile.report import make_reporter

if TYPE_CHECKING:
    from reconcile.process import Session


@click.command("undo", cls=Grouped)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--partial", is_flag=True, help="Also if something can't come back: take back the rest.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@job_options
@click.pass_context
def command(context: click.Context, /, dry_run: bool, partial: bool, yes: bool, **values: Any) -> int:
    """Have DEST as it was before a run: the last one that has changed something, or RUN.

    \b
      reconcile undo photos                 the last run of a job
      reconcile undo photos 41              the one that history calls 41
      reconcile undo ~/photos nas:photos

    What was deleted or replaced comes back from the trash (--trash): nothing is sent, and SRC is not
    touched. Later runs leave it so, and do all else, until it changes here or --again is given. What
    another run has changed since stays as it is.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    session: Session = context.obj
    names, runs = split_names(values["names"])
    if len(runs) > 1:
        raise UsageError("undo takes one job, or SRC and DEST, and one run")
    run = runs[0] if runs else ""
    values = dict(find_one(context, {**values, "names": names}).values)
    job, reporter = begin_job(context, "plan" if dry_run else "run", values)

    if dry_run:
        reporter.to_do_it = to_do_it(session.args, "undo")
        return finish_job(
            session, job, reporter, "plan", perform=bind(plan_to_undo, name=run, partial=partial)
        )

    def ask(plan: Result) -> None:
        """Show what would be done, and go on only if that is wanted."""
        if yes or plan.plan.empty:
            return
        session.must_ask(as_json=values["as_json"])
        reporter.asking()
        shown = make_reporter("plan", stdout=session.out, stderr=session.err)
        shown.about(job.source, job.dest)
        shown.show_end(plan, Exit.OK)
        click.confirm("reconcile: do it?", err=True, abort=True)

    return finish_job(session, job, reporter, "run", perform=bind(undo, name=run, partial=partial, may=ask))
