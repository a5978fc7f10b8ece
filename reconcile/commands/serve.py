"""``serve``: a folder of this machine, by SFTP."""

from __future__ import annotations

import click

from reconcile.core.errors import Exit, UsageError
from reconcile.serve import server
from reconcile.state.store import default_state_base


@click.command("serve")
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
def command(
    folder: str, port: int, user: str | None, password_env: str | None, authorized_keys: str | None, bind: str
) -> int:
    """Serve DIR by SFTP, for trying things out. Not for production.

    \b
      reconcile serve /tmp/there
      reconcile serve /tmp/there --port 2222 --user me
      reconcile serve /tmp/there --authorized-keys ~/.ssh/authorized_keys

    Ends with Ctrl-C. Without a password or keys given, a random password is made and printed.
    """  # noqa: D301 - click takes the \\b for "do not wrap this"
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
