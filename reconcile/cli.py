"""The command line. Finds the command, and maps errors to exit codes; nothing else.

Whatever is slow to import is imported where it is needed: ``--version`` and a run with nothing to do
shall be quick. With ``--json`` every way out prints exactly one document on stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from reconcile import __version__
from reconcile.commands import Commands
from reconcile.commands.ending import fail, own_up
from reconcile.core.errors import Exit
from reconcile.process import Session, heed_signals, make_safe

COMPLETION = "_RECONCILE_COMPLETE"  # by which a shell asks what a line may go on with


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; nothing is raised."""
    args = list(sys.argv[1:] if argv is None else argv)
    make_safe()
    if COMPLETION in os.environ:
        from reconcile.commands.completion import complete

        return complete(commands, os.environ)
    session = Session(args=tuple(args))  # click takes from the list what it has read
    try:
        heed_signals(session)
        with commands.make_context("reconcile", args, obj=session) as context:
            code = commands.invoke(context)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every way out has its exit code
        session.ending = True
        if isinstance(error, BrokenPipeError) and session.reporter is None:  # `reconcile --help | head`
            code = Exit.OK
        else:
            code = fail(error, session)
    return own_up(_flush(code), session.reporter)


def _flush(code: int) -> int:
    """A reader that went away (``| head``) is no error, and not for Python to complain about at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        from reconcile.report import Outlet

        Outlet(sys.stdout).flush()
    return code


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done · 1 fatal error · 2 wrong usage · 3 some paths have problems · "
    "4 refused, nothing done · 5 another run is at work · 6 server unreachable · 130 interrupted.",
)
@click.version_option(__version__, message="reconcile %(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """Push a folder to an SFTP server or another folder, and remember what was sent.

    The next run sends only what changed, renames what was moved, and makes no connection at all if
    there is nothing to do.

    \b
      reconcile plan SRC DEST      show what would be done
      reconcile run  SRC DEST      do it
      reconcile verify SRC DEST    compare DEST with what was left there
      reconcile init SRC DEST      give that a name, in a file of jobs: reconcile run NAME
      reconcile demo               see it work, here and now

    DEST is sftp://[user@]host[:port]/path, sftp://host/~/path or user@host:path, or a folder here:
    /a/folder, ./a/folder or file:///a/folder.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    if context.invoked_subcommand is None:
        from reconcile.commands.greeting import greet

        click.echo("\n".join(greet()))
        context.exit(Exit.USAGE)
