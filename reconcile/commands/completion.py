"""``completion``: what a shell is to be told so that it completes commands, options and names of jobs."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import click

from reconcile.commands.asked import find_job_file
from reconcile.core.errors import Exit

VARIABLE = "_RECONCILE_COMPLETE"  # by which the shell's script asks us


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> int:
    """Print what has a shell complete commands, options and names of jobs.

    \b
      eval "$(reconcile completion bash)"          in ~/.bashrc
      eval "$(reconcile completion zsh)"           in ~/.zshrc, below compinit
      reconcile completion fish | source           in ~/.config/fish/config.fish
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "reconcile", VARIABLE).source())
    return Exit.OK


def complete(commands: click.Command, variables: MutableMapping[str, str]) -> int:
    """Answer the shell, which asks what a line may go on with."""
    from click.shell_completion import shell_complete

    asked = variables.pop(VARIABLE)
    return shell_complete(commands, {"obj": names_of_jobs}, "reconcile", VARIABLE, asked)


def names_of_jobs(config: str | None) -> Iterator[str]:
    """The jobs that could be meant. What is wrong with the file is told by the command itself."""
    try:
        file = find_job_file(config)
    except Exception:  # noqa: BLE001 - there is nobody to tell
        return
    yield from () if file is None else file.jobs
