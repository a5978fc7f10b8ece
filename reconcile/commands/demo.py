"""``demo``: all of it, on a server of its own."""

from __future__ import annotations

import click

from reconcile.demo import demo


@click.command("demo")
def command() -> int:
    """See it work: a server of its own, some hundred files, plan and run.

    Takes a few seconds, asks nothing, and leaves nothing behind.
    """
    return demo()
