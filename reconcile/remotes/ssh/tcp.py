"""A TCP connection, or a message that says why there is none. Of SSH only the first word is said here."""

from __future__ import annotations

import errno
import socket
import time
from contextlib import suppress

from reconcile import __version__
from reconcile.core.errors import TurnedAway, Unreachable

HELLO = f"SSH-2.0-reconcile_{__version__}\r\n".encode()  # RFC 4253, section 4.2


def dial(host: str, port: int, seconds: float) -> socket.socket:
    """Connect to the first address of ``host`` that answers, within ``seconds`` in all, and say hello.

    The server goes on with that while we are getting ready. Raises Unreachable.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # UnicodeError: no name that could be a host's
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        # A resolver that can't be asked just now says EAI_AGAIN; a name that there is not stays so.
        may_pass = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        error_type = Unreachable if may_pass else TurnedAway
        raise error_type(
            f"can't find the host {host!r}: {reason}. Check its spelling, or the network."
        ) from None
    give_up = time.monotonic() + seconds
    failure: OSError = TimeoutError()
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        # An address that swallows packets must leave time for the ones after it.
        share = (give_up - time.monotonic()) / (len(addresses) - index)
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(share, 0.1))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            tune(sock)
            with suppress(OSError):  # it hung up: whoever listens will hear of it
                sock.sendall(HELLO)
            return sock
    raise Unreachable(_explain(failure, host, port, seconds))


def tune(sock: socket.socket) -> None:
    """Small packets at once, and a dead peer is noticed in the end."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _explain(error: OSError, host: str, port: int, seconds: float) -> str:
    where = f"{host}, port {port}"
    if isinstance(error, ConnectionRefusedError):
        return f"{where}, refused the connection. Is its SSH server running, and is that its port (--port)?"
    if isinstance(error, TimeoutError):
        return (
            f"{where}, did not answer within {seconds:g} s. "
            "Check the name and the port, and whether a firewall is in between."
        )
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"there is no way to {where}: {error.strerror}. Check the network, a VPN perhaps."
    return f"can't connect to {where}: {error.strerror or error}."
