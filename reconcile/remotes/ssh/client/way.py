"""A way to a server that can't be called directly, on which paramiko speaks.

What may live here: opening it, and closing it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from reconcile.remotes.ssh.client.call import Call
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.remotes.ssh.tcp import HELLO


def dial_by_way(
    target: SshTarget, settings: Settings, login: Login, secrets: Secrets, say: Callable[[str], None]
) -> tuple[socket.socket, Callable[[], None]]:
    """The server at the other end of what the configuration leads through, and how to end that.

    As with ``tcp.dial`` hello is said there, and here also heard. Raises Unreachable, UsageError.
    """
    call = Call(target, settings, login, say, secrets, settings.proxy or "")
    try:
        process = call.make_way()
    except BaseException:
        call.close()
        raise
    process.listen()
    with suppress(OSError):  # it hung up: whoever listens will hear of it
        process.sock.sendall(HELLO)

    def end() -> None:
        process.end()
        call.close()

    return process.sock, end
