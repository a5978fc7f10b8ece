"""``unlock``: the lock on the server is looked at, and taken from a run that is dead."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from reconcile.apply.turn import describe
from reconcile.commands.asked import find_dest
from reconcile.config import check_name, make_flags, make_visit
from reconcile.core.errors import Exit, Refused
from reconcile.core.turns import NAMELESS, last_turn, name_end, name_turn, read_holder
from reconcile.core.units import show_duration
from reconcile.options import place_options
from reconcile.remotes import open_remote
from reconcile.report import make_reporter

if TYPE_CHECKING:
    from reconcile.process import Session


@click.command("unlock")
@place_options
@click.option(
    "--job",
    metavar="NAME",
    help="The job of that name.  [default: DEST, if that names a job, else the one that has none]",
)
@click.option("--id", "holder", metavar="ID", help="Of the run that holds it: take it from that one.")
@click.option("--remote-workdir", metavar="PATH", help="Our folder with DEST.  [default: .reconcile in DEST]")
@click.pass_context
def command(context: click.Context, /, job: str | None, holder: str | None, **values: Any) -> int:
    """Tell who holds the lock on the server (--lock remote), and with its --id take it away.

    \b
      reconcile unlock me@host:/srv/www --job www
      reconcile unlock me@host:/srv/www --job www --id ID
      reconcile unlock www                     the DEST of a job in reconcile.toml

    A lock that is not renewed for five minutes needs none of this. A run that is alive does nothing more
    once its lock is taken, and exits with 5. Exits with 5, too, if a lock is held and stays.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    session: Session = context.obj
    session.reporter = make_reporter("unlock")
    session.stop.check()
    found = find_dest(context, values)
    if job is None and found["target"] != values["target"]:
        job = values["target"]
    name = NAMELESS if job is None else check_name(job)
    visit = make_visit(make_flags({"source": "", **found}), interactive=session.may_ask())
    remote = open_remote(visit, session.reporter)
    try:
        store = remote.store
        turn = last_turn(store.names(), name)
        if turn.is_over:
            click.echo(f"nobody holds the lock of job {name!r} on the server")
            return Exit.OK
        taken = name_turn(name, turn.number)
        who, age = read_holder(store.get(taken)), store.age(taken)
        known = who.id if who is not None else f"turn-{turn.number}"  # a run that died before it said more
        told = describe(who) if who is not None else "a run that did not say whose it is"
        if holder is None:
            click.echo(
                f"job {name!r} is locked on the server by {told}; renewed {show_duration(age or 0)} ago\n"
                f"if that run is dead: {shlex.join(['reconcile', *session.args, '--id', known])}"
            )
            return Exit.LOCKED
        if holder != known:
            raise Refused(
                f"The lock of job {name!r} is not {holder!r}'s, but held by {told} (--id {known}), and was "
                "left as it is."
            )
        store.claim(name_end(name, turn.number))
        if who is not None and who.lineage:  # what it has asked for, and is not done yet
            remote.fence(who.lineage)
        click.echo(f"the lock of job {name!r} was taken from {told}")
        return Exit.OK
    finally:
        remote.close()
