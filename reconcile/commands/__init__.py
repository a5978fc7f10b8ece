"""What can be typed: a module for each command, which is imported once that is typed."""

from __future__ import annotations

from importlib import import_module

import click

NAMES = (
    "run",
    "plan",
    "verify",
    "watch",
    "init",
    "config",
    "jobs",
    "status",
    "history",
    "undo",
    "trash",
    "snapshot",
    "move",
    "forget",
    "schedule",
    "doctor",
    "releases",
    "unlock",
    "trust",
    "completion",
    "serve",
    "demo",
)  # in the order of the help


class Commands(click.Group):
    """Finds them. Each is called ``command`` in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """Those that there are."""
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """One of them."""
        return find_command(cmd_name) if cmd_name in NAMES else None


def find_command(name: str) -> click.Command:
    """One of ``NAMES``."""
    command: click.Command = import_module(f"{__name__}.{name}").command
    return command
