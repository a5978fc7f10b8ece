"""``releases``: those that DEST holds, and which of them is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from reconcile.commands.asked import find_dest
from reconcile.commands.look import tell_document, without_telling
from reconcile.config import as_shelf, make_flags, make_visit
from reconcile.core.errors import Exit, Refused
from reconcile.core.shelf import CURRENT, RELEASES
from reconcile.options import dest_options
from reconcile.phases.release import shelf_of
from reconcile.remotes import open_remote
from reconcile.report import make_reporter

if TYPE_CHECKING:
    from reconcile.process import Session


@click.command("releases")
@dest_options
@click.option("--activate", "chosen", metavar="ID", help="Show this one: in one request, forwards or back.")
@click.pass_context
def command(context: click.Context, /, chosen: str | None, **values: Any) -> int:
    """List the releases in DEST (--publish release), and with --activate show another of them.

    \b
      reconcile releases me@host:/srv/www
      reconcile releases me@host:/srv/www --activate ID
      reconcile releases www                   the DEST of a job in reconcile.toml

    The next run that has something to bring makes a new one, and shows that.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    session: Session = context.obj
    session.reporter = make_reporter("releases", as_json=values["as_json"])
    session.stop.check()
    found = without_telling(find_dest(context, values))
    visit = make_visit(make_flags({"source": "", **found}), interactive=session.may_ask())
    target, workdir = as_shelf(visit.target, None)
    visit = replace(visit, target=target, options=replace(visit.options, remote_workdir=workdir))
    remote = open_remote(visit, session.reporter)
    try:
        shelf = shelf_of(remote)
        ids, now = shelf.ids(), shelf.current()
        if chosen is None:
            _list(ids, now, quiet=values["as_json"])
            return tell_document(values, Exit.OK, current=now, releases=ids)
        if chosen not in ids:
            raise Refused(
                f"There is no {RELEASES}/{chosen}. {CURRENT} is as it was. Without --activate all are listed."
            )
        if chosen != now:
            shelf.try_out()
            shelf.switch(chosen)
        if not values["as_json"]:
            before = f", before to {now}" if now != chosen else " already"
            click.echo(f"{CURRENT} leads to {RELEASES}/{chosen}{before}")
        return tell_document(values, Exit.OK, current=chosen, before=now)
    finally:
        remote.close()


def _list(ids: Sequence[str], now: str | None, *, quiet: bool) -> None:
    if quiet:
        return
    for name in ids:
        click.echo(f"{name}  {CURRENT}" if name == now else name)
    if not ids:
        click.echo("there are no releases")
