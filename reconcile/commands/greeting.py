"""What ``reconcile`` says to somebody who types nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.commands import NAMES
from reconcile.commands.asked import find_job_file
from reconcile.core.errors import ReconcileError
from reconcile.jobs.file import show_path

_WHAT = """\
reconcile pushes a folder to an SFTP server, to a bucket on S3 or to another folder, and remembers what it
sent. The next run sends only what changed, renames there what was renamed here, and makes no connection if
there is nothing to do. It may be killed, cut off or run out of space: run it again, and it goes on."""


def greet() -> Iterator[str]:
    """The lines: what this is, and what to type next."""
    yield _WHAT
    yield ""
    rows = list(_next())
    width = max(len(row[0]) for row in rows)
    yield from (f"  {typed:{width}}   {what}" for typed, what in rows)


def _next() -> Iterator[tuple[str, str]]:
    try:
        file = find_job_file(None)
    except ReconcileError as error:
        yield "reconcile config show", f"tells what is wrong: {str(error).splitlines()[-1].strip()}"
        file = None
    else:
        if file is None:
            yield "reconcile plan SRC DEST", "show what would be done; changes nothing"
            yield "reconcile run SRC DEST", "do it"
            yield (
                "reconcile init",
                "give that a name, in a file: then 'reconcile run' is all that is typed",
            )
        else:
            yield (
                "reconcile plan",
                f"what would be done for {', '.join(file.jobs) or 'the jobs'} of {show_path(file.path)}",
            )
            yield "reconcile run", f"do it; or only some of it: reconcile run {next(iter(file.jobs), 'JOB')}"
            if "status" in NAMES:
                yield "reconcile status", "how the last runs went"
    yield "reconcile demo", "see it work, here and now"
    yield "reconcile --help", "all commands; 'reconcile run --help' has all options"
