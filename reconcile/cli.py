"""The command line. Parses, calls ``run``, maps errors to exit codes; nothing else.

Whatever is slow to import is imported where it is needed: ``--version`` and a run with nothing to do
shall be quick. With ``--json`` every way out prints exactly one document on stdout.
"""

from __future__ import annotations

import gc
import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from reconcile import __version__
from reconcile.core.errors import Exit, Interrupted, ReconcileError, UsageError
from reconcile.options import job_options
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
    gc.set_threshold(200_000, 20, 50)  # a run makes objects by the million, and hardly a cycle
    sys.setswitchinterval(0.05)  # seconds; our thread and SSH's hand over when they wait, not by turns
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
    from reconcile.report import JsonReporter, make_reporter

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
    state = "nothing was changed" if reporter.result.command == "plan" else "what the run did is remembered"
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


def script() -> NoReturn:
    """The command. Leaves at once: taking a million objects down one by one helps nobody."""
    code = main()
    sys.stderr.flush()
    os._exit(code)


def _flush(code: int) -> int:
    """A reader that went away (``| head``) is no error, and not for Python to complain about at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        from reconcile.report import Outlet

        Outlet(sys.stdout).flush()
    return code


@click.group(
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
      reconcile demo               see it work, here and now

    DEST is sftp://[user@]host[:port]/path, sftp://host/~/path or user@host:path, or a folder here:
    /a/folder, ./a/folder or file:///a/folder.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(Exit.USAGE)


@commands.command()
@click.option("-n", "--dry-run", is_flag=True, help="The same as plan.")
@job_options
@click.pass_context
def run(context: click.Context, /, dry_run: bool, **values: Any) -> int:
    """Bring DEST up to SRC: send what is new or changed, move what was moved.

    SRC/z/a becomes DEST/z/a; DEST and its parents are made. What was deleted here stays there unless
    --mirror is given.
    """
    return _carry_out(context, "plan" if dry_run else "run", values)


@commands.command()
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 10 if there are changes.")
@job_options
@click.pass_context
def plan(context: click.Context, /, detailed_exitcode: bool, **values: Any) -> int:
    """Show what run would do. Changes nothing, here or there."""
    return _carry_out(context, "plan", values, changes=Exit.CHANGES if detailed_exitcode else Exit.OK)


def _carry_out(
    context: click.Context, command: str, values: dict[str, Any], *, changes: Exit = Exit.OK
) -> int:
    """Flags → job → result → exit code. ``changes`` is the exit code of a plan with something to do."""
    from reconcile.config import make_flags, make_job
    from reconcile.remotes import scheme_of
    from reconcile.report import make_reporter
    from reconcile.state.store import has_snapshot

    as_json, quiet, verbose = (values.pop(name) for name in ("as_json", "quiet", "verbose"))
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other", context)
    reporter = make_reporter(command, as_json=as_json, quiet=quiet, verbose=verbose)
    session: Session = context.obj
    session.reporter = reporter
    session.stop.check()
    interactive = sys.stdin is not None and sys.stdin.isatty()
    if interactive:
        import termios

        session.terminal = termios.tcgetattr(sys.stdin.fileno())
    job = make_job(make_flags(values), interactive=interactive)
    reporter.about(job.source, str(job.target), _to_do_it(session.args))
    if not has_snapshot(job.state) and (hint := scheme_of(job.target).doubt(values["target"])) is not None:
        reporter.say(hint)

    from reconcile.run import make_plan
    from reconcile.run import run as run_job

    carry_out = make_plan if command == "plan" else run_job
    result = carry_out(job, reporter, stop=session.stop)
    code = Exit.OK
    if result.problems:
        code = Exit.PROBLEMS
    elif command == "plan" and not result.plan.empty:
        code = changes
    session.ending = True
    reporter.finish(result, code)
    return code


def _to_do_it(args: Sequence[str]) -> str:
    """The command line that does what this one shows."""
    only_shows = {"-n", "--dry-run", "--detailed-exitcode"}
    words = ["run" if place == 0 else arg for place, arg in enumerate(args)]
    return shlex.join(["reconcile", *(word for word in words if word not in only_shows)])


@commands.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Port.  [default: a free one]"
)
@click.option("--user", metavar="NAME", help="User name to ask for.  [default: reconcile]")
@click.option("--password-env", metavar="NAME", help="Environment variable with the password to ask for.")
@click.option("--authorized-keys", metavar="FILE", help="Public keys to let in, as of OpenSSH.")
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on; any other than loopback lets other machines in.",
)
def serve(
    folder: str, port: int, user: str | None, password_env: str | None, authorized_keys: str | None, bind: str
) -> int:
    """Serve DIR by SFTP, for trying things out. Not for production.

    Ends with Ctrl-C. Without a password or keys given, a random password is made and printed.
    """
    from reconcile.serve import server
    from reconcile.state.store import default_state_base

    try:
        state: str | None = default_state_base()
    except UsageError:  # a user without a home: the host key is made anew each time
        state = None
    server.serve(
        folder,
        host=bind,
        port=port,
        user=user,
        password_env=password_env,
        authorized_keys=authorized_keys,
        state=state,
        say=click.echo,
    )
    return Exit.OK


@commands.command()
def demo() -> int:
    """See it work: a server of its own, some hundred files, plan and run.

    Takes a few seconds, asks nothing, and leaves nothing behind.
    """
    from reconcile.demo import demo as show

    return show()
