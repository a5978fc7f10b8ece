"""``doctor``: what a job may expect of DEST."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from reconcile.commands.asked import find_dest
from reconcile.config import make_flags, make_visit
from reconcile.core.checkup import Checkup, Fact, Part, in_order, of_caps
from reconcile.core.errors import Exit
from reconcile.core.job import Job, Reporter, Stop
from reconcile.core.units import show_moment
from reconcile.options import dest_options
from reconcile.remotes import Examinable, Remote, open_remote, scheme_of
from reconcile.report import make_reporter
from reconcile.state.names import name_run

if TYPE_CHECKING:
    from reconcile.process import Session


@click.command("doctor")
@dest_options
@click.option("--remote-workdir", metavar="PATH", help="Our folder with DEST.  [default: .reconcile in DEST]")
@click.pass_context
def command(context: click.Context, /, as_json: bool, **values: Any) -> int:
    """Show what a job may expect of DEST: the way there, the server, and what it does.

    \b
      reconcile doctor me@nas:photos
      reconcile doctor sftp://me@nas:2222/~/photos --password-env NAS
      reconcile doctor photos                  the DEST of a job in reconcile.toml

    What can't be known from its words is tried, in a folder of our own in DEST, which goes again. A DEST
    that is not there is not made. Exits with 0 if a job gets all that it may ask for, with 3 if not, with
    6 if DEST can't be reached.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    reporter = make_reporter("doctor", as_json=as_json)
    session: Session = context.obj
    session.reporter = reporter
    session.stop.check()
    values = find_dest(context, values)
    job = make_visit(make_flags({"source": "", **values}), interactive=session.may_ask())
    reporter.about("", str(job.target))
    if (hint := scheme_of(job.target).doubt(values["target"])) is not None:
        reporter.say(hint)
    checkup = _examine(job, reporter, session.stop)
    code = Exit.OK if checkup.healthy else Exit.PROBLEMS
    session.ending = True
    reporter.examined(checkup, code)
    return code


def _examine(job: Job, reporter: Reporter, stop: Stop) -> Checkup:
    reporter.phase("connect")
    remote = open_remote(job, reporter)
    try:
        if not isinstance(remote, Examinable):
            return in_order(str(job.target), _ask(remote))
        reporter.phase("try")
        stop.graceful = True  # what is tried is cleared away, whatever comes
        return in_order(str(job.target), remote.examine(name_run(job.state), stop))
    finally:
        stop.graceful = False
        remote.close()


def _ask(remote: Remote) -> Iterator[Fact]:
    """What a remote tells that tries nothing, once it has answered."""
    began = time.perf_counter()
    next(remote.walk(""), None)  # raises where we may not look
    seconds = time.perf_counter() - began
    yield Fact(Part.LINE, "round trip", show_moment(seconds), value=round(seconds, 6))
    yield Fact(Part.DEST, "folder", remote.base, value=remote.base)
    yield from of_caps(remote.caps)
