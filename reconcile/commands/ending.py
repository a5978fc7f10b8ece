"""What ended a command, in words and as an exit code: of the whole command line, or of one job of several."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from reconcile.core.errors import Exit, Interrupted, ReconcileError
from reconcile.told import tell_monitors

if TYPE_CHECKING:
    from reconcile.process import Session
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


def fail(error: BaseException, session: Session) -> int:
    """Say what ended the run, in the manner that was asked for; the exit code."""
    from reconcile.report import make_reporter
    from reconcile.report.json import JsonReporter

    args, reporter = session.args, session.reporter
    if reporter is None:  # it never came to a job: the flags were not read, or not understood
        options = args[: args.index("--")] if "--" in args else args
        command = "plan" if "plan" in options[:1] or {"-n", "--dry-run"} & set(options) else "run"
        reporter = session.reporter = make_reporter(
            command, as_json="--json" in options, stdout=session.out, stderr=session.err
        )
        if options[:1] == ("run",) and command == "run":
            with suppress(
                Exception
            ):  # what is broken may be what is needed for that: it is told all the same
                tell_monitors(_find_urls(args[1:]), reporter)
    status, code, message = explain(error, reporter)
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


def _find_urls(args: Sequence[str]) -> Sequence[str]:
    """Whom to ping that a run was not begun: as far as can be told of flags that were not understood."""
    from reconcile.commands import find_command
    from reconcile.jobs.pings import find_pings

    options = [each for each in find_command("run").params if isinstance(each, click.Option)]
    with_value = {name for option in options if not option.is_flag for name in option.opts}
    given: dict[str, str] = {}
    names: list[str] = []
    left = list(args)
    while left:
        option, equals, value = left.pop(0).partition("=")
        if not option.startswith("-"):
            names.append(option + equals + value)
        elif option in with_value and (equals or left):
            given[option] = value if equals else left.pop(0)
    if url := given.get("--ping") or os.environ.get("RECONCILE_PING"):
        return [url]
    return find_pings(names, given.get("--config") or os.environ.get("RECONCILE_CONFIG") or None)


def own_up(code: int, reporter: Recorder | None) -> int:
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


def explain(error: BaseException, reporter: Recorder) -> tuple[str, Exit, str]:
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
            return explain(Interrupted(signal.SIGINT), reporter)
        case OSError():
            named = isinstance(error.filename, str | bytes)
            where = f": {show_name(os.fsdecode(error.filename))}" if named else ""
            return "error", Exit.FATAL, f"{error.strerror or error}{where}"
    what = " ".join([f"{type(error).__name__}:", *str(error).split()])  # one line, whatever it says
    return "error", Exit.FATAL, f"{what} (this is a bug in reconcile; {DEBUG}=1 shows the traceback)"


def _blot_passwords(text: str) -> str:
    """Usage errors quote what was typed; the password of a ``user:password@host`` in it is left out."""
    return re.sub(r"([^\s'\"(/:@]+):[^\s'\"]*@", r"\1:***@", text)
