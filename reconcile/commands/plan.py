"""``plan``: what ``run`` would do."""

from __future__ import annotations

from typing import Any

import click

from reconcile.commands.help import Grouped
from reconcile.commands.run import carry_out_job
from reconcile.core.errors import Exit
from reconcile.options import job_options


@click.command("plan", cls=Grouped)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 10 if there are changes.")
@click.option(
    "--out",
    metavar="FILE",
    help="Save the plan: 'reconcile run --plan FILE' then does exactly this, or nothing.",
)
@job_options
@click.pass_context
def command(context: click.Context, /, detailed_exitcode: bool, out: str | None, **values: Any) -> int:
    """Show what run would do. Changes nothing, here or there.

    \b
      reconcile plan ~/photos me@nas:photos --mirror
      reconcile plan                     all jobs of reconcile.toml
      reconcile plan photos --out FILE   saved for: reconcile run --plan FILE
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    changes = Exit.CHANGES if detailed_exitcode else Exit.OK
    return carry_out_job(context, "plan", values, changes=changes, out=out)
