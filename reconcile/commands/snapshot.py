"""``snapshot``: what DEST is believed to hold, without a connection."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click
from msgspec.structs import replace

from reconcile.commands.help import Grouped
from reconcile.commands.look import about, end_of, find_jobs, folder_of, tell_document
from reconcile.core.chosen import is_in_scope
from reconcile.core.errors import Exit, Refused
from reconcile.core.job import Job
from reconcile.core.model import NS, DirectorySnapshot, Entry, Kind
from reconcile.core.units import show_bytes, show_count
from reconcile.options import job_options
from reconcile.phases.recall import left_open, recall
from reconcile.report.past import align, show_time
from reconcile.report.words import show_name

_SIGNS = {Kind.DIR: "d", Kind.FILE: "-", Kind.SYMLINK: "l"}
_UNTOLD = "   "  # in the place of a mode that nobody has set


@click.group("snapshot", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Look at what DEST is believed to hold. Makes no connection.

    \b
      reconcile snapshot show photos               how much, and as of when
      reconcile snapshot ls photos                 all of it
      reconcile snapshot ls photos --only 2024     what is in there
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    end_of(context)


@command.command("ls", cls=Grouped)
@job_options
@click.pass_context
def ls(context: click.Context, /, **values: Any) -> int:
    """List what DEST is believed to hold: modes, sizes, times, and what is no more here.

    \b
      reconcile snapshot ls photos
      reconcile snapshot ls photos --only 2024 --only a/b
      reconcile snapshot ls ~/photos nas:photos --json

    What is marked "kept" was deleted here, "not ours" was there before, "excluded" is left out by now.
    Takes the flags of run.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    documents = []
    for job in find_jobs(context, values):
        known = _recall(job)
        found = [(path, entry) for path, entry in sorted(known.walk()) if is_in_scope(path, job.scope)]
        documents.append({**about(job), "entries": [_document(path, entry) for path, entry in found]})
        if not values["as_json"]:
            if job.name and len(values["names"]) != 1:
                click.echo(f"{job.name}:")
            rows = [_row(path, entry) for path, entry in found]
            for line in align(rows, right=(1,)) if rows else ["nothing"]:
                click.echo(line)
    return tell_document(values, Exit.OK, jobs=documents)


@command.command("show", cls=Grouped)
@job_options
@click.pass_context
def show(context: click.Context, /, **values: Any) -> int:
    """Sum up what DEST is believed to hold.

    \b
      reconcile snapshot show                      of all jobs
      reconcile snapshot show photos               of one
      reconcile snapshot show photos --json

    Takes the flags of run.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    documents = []
    for job in find_jobs(context, values):
        known = _recall(job)
        body = _sum_up(job, known)
        documents.append({**about(job), **body})
        if not values["as_json"]:
            for line in _lines(job, body):
                click.echo(line)
    return tell_document(values, Exit.OK, jobs=documents)


def _recall(job: Job) -> DirectorySnapshot:
    known = recall(replace(job, state=folder_of(job)))
    if known is None:
        raise Refused(f"No run of {job.name or show_name(job.source)} has ended yet, so nothing is known.")
    return known


def _sum_up(job: Job, known: DirectorySnapshot) -> dict[str, Any]:
    counts = dict.fromkeys(("files", "folders", "links", "bytes", "retained", "foreign", "excluded"), 0)
    names = {Kind.FILE: "files", Kind.DIR: "folders", Kind.SYMLINK: "links"}
    for _, entry in known.walk():
        counts[names[entry.kind]] += 1
        counts["bytes"] += entry.size if entry.kind is Kind.FILE else 0
        for flag in ("retained", "foreign", "excluded"):
            counts[flag] += getattr(entry, flag)
    folder = folder_of(job)
    return {
        **counts,
        "taken": known.taken_ns / NS,
        "serial": known.serial,
        "lineage": known.lineage,
        "unfinished": left_open(folder, known) is not None,
        "state": folder,
    }


def _lines(job: Job, body: Mapping[str, Any]) -> Iterator[str]:
    title = f"{job.name}   " if job.name else ""
    yield f"{title}{show_name(job.source)} → {show_name(job.dest)}"
    counts = ", ".join(
        show_count(body[what], what.removesuffix("s")) for what in ("files", "folders", "links") if body[what]
    )
    rows = [("holds", f"{counts or 'nothing'}; {show_bytes(body['bytes'])}")]
    flags = {
        "retained": "deleted here, and kept there",
        "foreign": "there before, and not ours",
        "excluded": "left out by now",
    }
    rows += [("of that", f"{body[flag]:,} {what}") for flag, what in flags.items() if body[flag]]
    rows.append(("as of", f"{show_time(body['taken'], time.time())} (number {body['serial']:,})"))
    if body["unfinished"]:
        rows.append(("unfinished", "a run broke off since; what it did is not in here"))
    rows.append(("state", f"{show_name(body['state'])}, lineage {body['lineage']}"))
    yield from (f"  {line}" for line in align(rows))


def _row(path: str, entry: Entry) -> tuple[str, str, str, str]:
    mode = f"{entry.mode:03o}" if entry.mode >= 0 else _UNTOLD
    size = show_bytes(entry.size) if entry.kind is Kind.FILE else ""
    when = ""
    if entry.kind is Kind.FILE and entry.mtime_ns:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.mtime))
    slash = "/" if entry.kind is Kind.DIR else ""
    link = f" → {show_name(entry.link)}" if entry.link is not None else ""
    flags = [
        word
        for word, is_so in (
            ("kept", entry.retained),
            ("not ours", entry.foreign),
            ("excluded", entry.excluded),
        )
        if is_so
    ]
    told = f"  ({', '.join(flags)})" if flags else ""
    return f"{_SIGNS[entry.kind]} {mode}", size, when, f"{show_name(path)}{slash}{link}{told}"


def _document(path: str, entry: Entry) -> dict[str, Any]:
    return {
        "path": path,
        "kind": str(entry.kind),
        "mode": f"{entry.mode:03o}" if entry.mode >= 0 else None,
        "size": entry.size,
        "mtime": entry.mtime_ns / NS if entry.kind is Kind.FILE else None,
        "xxh3_128": None if entry.digest is None else entry.digest.hex(),
        "link": entry.link,
        "retained": entry.retained,
        "foreign": entry.foreign,
        "excluded": entry.excluded,
    }
