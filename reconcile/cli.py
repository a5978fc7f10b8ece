"""The command line. Finds the command, and maps errors to exit codes; nothing else.

Whatever is slow to import is imported where it is needed: ``--version`` and a run with nothing to do
shall be quick. With ``--json`` every way out prints exactly one document on stdout.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from reconcile import __version__
from reconcile.commands import Commands
from reconcile.core.errors import Exit, Interrupted, ReconcileError
from reconcile.process import Session, heed_signals, make_safe

if TYPE_CHECKING:
    from reconcile.report import Recorder

DEBUG = "RECONCILE_DEBUG"  # set to anything: bugs show their traceback

# What rsync, rclone and lftp call it.
PEERS_OPTIONS = {
    **dict.fromkeys(("--delete", "--del", "--delete-after", "--delete-during"), "that is --mirror here"),
    **dict.fromkeys(("--archive", "-a"), "modes, times and links are kept anyway, owners are not"),
    **dict.fromkeys(("--checksum", "-c"), "content decides anyway; --rehash reads every file again"),
    "--progress": "progress is shown on a terminal anyway",
    "--recursive": "folders are sent with all that is in them anyway",
    "--backup-dir": "what others wrote to DEST is kept there anyway: see --on-drift",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; nothing is raised."""
    args = list(sys.argv[1:] if argv is None else argv)
    make_safe()
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
            code = _fail(error, session)
    return _own_up(_flush(code), session.reporter)


def _fail(error: BaseException, session: Session) -> int:
    """Say what ended the run, in the manner that was asked for; the exit code."""
    from reconcile.report import make_reporter
    from reconcile.report.json import JsonReporter

    args, reporter = session.args, session.reporter
    if reporter is None:  # it never came to a job: the flags were not read, or not understood
        options = args[: args.index("--")] if "--" in args else args
        command = "plan" if "plan" in options[:1] or {"-n", "--dry-run"} & set(options) else "run"
        reporter = session.reporter = make_reporter(command, as_json="--json" in options)
    status, code, message = _explain(error, reporter)
    reporter.fail(status, code, message)
    if (
        isinstance(error, click.UsageError)
        and error.ctx is not None
        and not isinstance(reporter, JsonReporter)
    ):
        click.echo(f"Try '{error.ctx.command_path} --help'.", err=True)
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    return code


def _own_up(code: int, reporter: Recorder | None) -> int:
    """A plan, or a document, that could not be written is no success, whatever it would have said."""
    if reporter is None or not (why := reporter.unheard()):
        return code
    state = (
        "nothing was changed"
        if reporter.result.command in ("plan", "verify")
        else "what the run did is remembered"
    )
    click.echo(f"reconcile: error: stdout can't be written to: {why}; {state}", err=True)
    return Exit.FATAL if code in (Exit.OK, Exit.PROBLEMS, Exit.CHANGES) else code


def _explain(error: BaseException, reporter: Recorder) -> tuple[str, Exit, str]:
    """Status, exit code and message of whatever may end a run."""
    from reconcile.report.words import explain_interruption, show_name

    match error:
        case ReconcileError():
            return error.status, error.exit_code, str(error)
        case click.NoSuchOption() if error.option_name in PEERS_OPTIONS:
            said = f"no such option: {error.option_name}; {PEERS_OPTIONS[error.option_name]}"
            return "error", Exit.USAGE, said
        case click.ClickException():
            return "error", Exit.USAGE, _blot_passwords(error.format_message())
        case Interrupted():
            return error.status, error.exit_code, explain_interruption(error.exit_code, reporter.so_far())
        case KeyboardInterrupt() | click.Abort():
            return _explain(Interrupted(signal.SIGINT), reporter)
        case OSError():
            named = isinstance(error.filename, str | bytes)
            where = f": {show_name(os.fsdecode(error.filename))}" if named else ""
            return "error", Exit.FATAL, f"{error.strerror or error}{where}"
    what = " ".join([f"{type(error).__name__}:", *str(error).split()])  # one line, whatever it says
    return "error", Exit.FATAL, f"{what} (this is a bug in reconcile; {DEBUG}=1 shows the traceback)"


def _blot_passwords(text: str) -> str:
    """Usage errors quote what was typed; the password of a ``user:password@host`` in it is left out."""
    return re.sub(r"([^\s'\"(/:@]+):[^\s'\"]*@", r"\1:***@", text)


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
      reconcile demo               see it work, here and now

    DEST is sftp://[user@]host[:port]/path, sftp://host/~/path or user@host:path, or a folder here:
    /a/folder, ./a/folder or file:///a/folder.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(Exit.USAGE)
