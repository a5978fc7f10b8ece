"""``verify``: whether DEST still is as it was left."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from reconcile.commands.asked import carry_out_jobs
from reconcile.commands.help import Grouped
from reconcile.commands.run import begin_job, finish_job
from reconcile.core.compare import Fault, Finding, Reading
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import Job
from reconcile.options import job_options
from reconcile.phases.verify import verify
from reconcile.report import make_reporter

if TYPE_CHECKING:
    from reconcile.process import Session
    from reconcile.report import Recorder

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@click.command("verify", cls=Grouped)
@click.option("--strict", is_flag=True, help="What is not ours counts as wrong, as it does with --mirror.")
@click.option("--deep", is_flag=True, help="Read back all files, and compare what is in them.")
@click.option(
    "--sample",
    metavar="P%",
    help="Read back so much of the files: the next ones each time, so that over nights all are compared.",
)
@click.option(
    "--budget", metavar="TIME", help="Read back for so long, 90s, 10m or 2h, and go on from there next time."
)
@click.option("--fix", is_flag=True, help="Bring again what is wrong: shows the plan, and asks.")
@click.option("--yes", is_flag=True, help="With --fix: don't ask.")
@job_options
@click.pass_context
def command(
    context: click.Context,
    /,
    strict: bool,
    deep: bool,
    sample: str | None,
    budget: str | None,
    fix: bool,
    yes: bool,
    **values: Any,
) -> int:
    """Compare DEST with what was left there, and change nothing.

    \b
      reconcile verify photos               is all there, as it was left?
      reconcile verify photos --sample 2%   read back 2% of the content, too
      reconcile verify photos --fix         bring again what is missing or changed

    Takes the flags of run. Tells what is missing, changed, or not ours. SRC is not looked at, and DEST need
    not be writable.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    reading = _what_to_read(deep, sample, budget)
    if fix and values["as_json"]:
        raise UsageError(
            "--fix says what it does in words, and --json is one document; leave one of them out"
        )
    session: Session = context.obj

    def check(values: Mapping[str, Any]) -> int:
        job, reporter = begin_job(context, "verify", values)
        result = verify(job, reporter, reading, stop=session.stop, strict=strict or values["mirror"])
        assert result.checked is not None
        wrong = result.checked.wrong
        code = Exit.PROBLEMS if wrong else Exit.OK
        mends = any(each.fault is not Fault.FOREIGN for each in wrong)  # which is not ours to touch
        if mends and not fix:
            reporter.to_do_it = shlex.join(["reconcile", *_with_fix(session.args)])
        session.ending = not (mends and fix)
        reporter.finish(result, code)
        return _mend(context, job, wrong, values, yes=yes) if mends and fix else code

    return carry_out_jobs(context, "verify", values, check)


def _with_fix(args: Sequence[str]) -> Sequence[str]:
    """With the flag that mends: before what ends the flags, if something does."""
    end = args.index("--") if "--" in args else len(args)
    return [*args[:end], "--fix", *args[end:]]


def _mend(
    context: click.Context, job: Job, wrong: Sequence[Finding], values: Mapping[str, Any], *, yes: bool
) -> int:
    """Show what brings again what is wrong, ask, and do it."""
    session: Session = context.obj
    again = frozenset(each.path for each in wrong if each.fault is Fault.CONTENT)
    job = replace(job, options=replace(job.options, refresh=True, again=again))
    if not yes:
        finish_job(session, job, _introduce(session, job, "plan"), "plan", is_last=False)
        session.must_ask()
        if not click.confirm("reconcile: do it?", err=True):
            session.ending = True
            return Exit.PROBLEMS
    reporter = _introduce(session, job, "run", quiet=values["quiet"], verbose=values["verbose"])
    return finish_job(session, job, reporter, "run")


def _introduce(session: Session, job: Job, command: str, **how: bool) -> Recorder:
    """Somebody who tells of what follows the check: errors, too, from then on."""
    session.reporter = reporter = make_reporter(command, stdout=session.out, stderr=session.err, **how)
    reporter.about(job.source, job.dest)
    return reporter


def _what_to_read(deep: bool, sample: str | None, budget: str | None) -> Reading | None:
    """How much is to be read back; None: nothing."""
    if not deep and sample is None and budget is None:
        return None
    share, seconds = 1.0, None
    if sample is not None:
        match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%", sample)
        if match is None or not 0 < float(match[1]) <= 100:
            raise UsageError("--sample takes a share of the files above 0% and up to 100%, such as 1%")
        share = float(match[1]) / 100
    if budget is not None:
        match = re.fullmatch(r"([0-9]{1,6})([smh])", budget)
        if match is None:
            raise UsageError("--budget takes a time in seconds, minutes or hours, such as 90s, 10m or 2h")
        seconds = int(match[1]) * _UNITS[match[2]]
    return Reading(share, seconds)
