"""What commands have in common that only look at jobs: which they are, without a connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from reconcile.commands.asked import Asked, find_asked, find_one
from reconcile.config import make_flags, make_job
from reconcile.core.errors import Exit
from reconcile.core.job import Job
from reconcile.told import TELLING

_OF_OUTPUT = ("as_json", "quiet", "verbose")


def find_jobs(context: click.Context, values: Mapping[str, Any]) -> list[Job]:
    """The jobs that are asked for, as ``run`` would be told of them. Raises UsageError."""
    return [_as_job(asked) for asked in find_asked(context, values)]


def find_job(context: click.Context, values: Mapping[str, Any]) -> Job:
    """The same of one, where there may be no more. Raises UsageError."""
    return _as_job(find_one(context, values))


def _as_job(asked: Asked) -> Job:
    return make_job(make_flags(without_telling(asked.values)))


def folder_of(job: Job) -> str:
    """Where its state is now: also if a run would take it over from elsewhere."""
    return job.former or job.state


def about(job: Job) -> dict[str, Any]:
    """Which it is, for a document."""
    return {"job": job.name or None, "source": job.source, "target": job.dest}


def tell_document(values: Mapping[str, Any], code: Exit, /, **body: Any) -> int:
    """Print what ``--json`` has, if that was asked for; the exit code."""
    if values["as_json"]:
        status = "ok" if code is Exit.OK else "problems"
        click.echo(json.dumps({"version": 1, "status": status, "exit_code": int(code), **body}))
    return code


def end_of(group: click.Context) -> None:
    """What a group of commands says where none of them is named."""
    if group.invoked_subcommand is None:
        click.echo(group.get_help())
        group.exit(Exit.USAGE)


def without_telling(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What says how a job is carried out, without who is told of it."""
    return {name: value for name, value in values.items() if name not in (*_OF_OUTPUT, *TELLING)}
