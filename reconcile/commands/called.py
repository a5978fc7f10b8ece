"""What programs call, ``reconcile.job``, ``plan`` and ``run``: the same as typed, without a command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from os import PathLike

import click

from reconcile import pipeline
from reconcile.commands import find_command
from reconcile.commands.asked import find_asked
from reconcile.commands.ending import explain
from reconcile.commands.look import without_telling
from reconcile.config import make_flags, make_job
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import Job, Result
from reconcile.jobs.settings import key_of
from reconcile.report.log import LogReporter
from reconcile.state.history import note_run
from reconcile.told import TELLING

_NOT_OURS = frozenset((*TELLING, "json", "quiet", "verbose", "dry_run", "plan"))  # of whoever types


def find(name_or_source: str | PathLike[str], target: str | None, options: Mapping[str, object]) -> Job:
    """The job that a command line with these options names. Raises UsageError, and Refused."""
    names = [os.fspath(name_or_source), *([] if target is None else [target])]
    command = find_command("run")
    try:
        args = [*_spell(command, options), "--", *names]
        context = command.make_context("run", args)
        values = {name: value for name, value in context.params.items() if name not in ("dry_run", "plan")}
        asked = find_asked(context, values)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from None
    return make_job(make_flags(without_telling(asked[0].values)))


def make_plan(job: Job) -> Result:
    """See ``pipeline.make_plan``."""
    reporter = LogReporter("plan")
    return _account(job, reporter, partial(pipeline.make_plan, job, reporter))


def run(job: Job) -> Result:
    """See ``pipeline.run``."""
    reporter = LogReporter("run")
    reporter.at_end.append(partial(note_run, job.state))
    return _account(job, reporter, partial(pipeline.run, job, reporter))


def _account(job: Job, reporter: LogReporter, do: Callable[[], Result]) -> Result:
    """Have it told how it ended, and raise what it raises."""
    reporter.about(job.source, job.dest)
    try:
        result = do()
    except BaseException as error:
        reporter.fail(*explain(error, reporter))
        raise
    reporter.finish(result, Exit.PROBLEMS if result.problems else Exit.OK)
    return result


def _spell(command: click.Command, options: Mapping[str, object]) -> Iterator[str]:
    """The options as they are typed. Raises UsageError for a strange one, or a strange value."""
    known = {key_of(each): each for each in command.params if isinstance(each, click.Option)}
    for key, value in options.items():
        option = known.get(key)
        if option is None or key in _NOT_OURS:
            others = ", ".join(sorted(known.keys() - _NOT_OURS))
            raise UsageError(f"{key} is no option of a job; there are: {others}")
        long = max(option.opts, key=len)
        if option.is_flag:
            if not isinstance(value, bool):
                raise UsageError(f"{key} takes True or False, not {type(value).__name__}")
            yield from ([long] if value else option.secondary_opts)
        elif option.multiple and not isinstance(value, str):
            if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
                raise UsageError(f"{key} takes a list of strings")
            yield from (f"{long}={each}" for each in value)
        elif isinstance(value, str | int | float | PathLike) and not isinstance(value, bool):
            yield f"{long}={os.fspath(value) if isinstance(value, PathLike) else value}"
        elif value is not None:
            raise UsageError(f"{key} takes {option.metavar or 'a word'}, not {type(value).__name__}")
