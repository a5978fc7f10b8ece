"""A TCP connection, or a message that says why there is none. No SSH in here."""

from __future__ import annotations

import errno
import socket
import time

from reconcile.errors import Unreachable


def dial(host: str, port: int, seconds: float) -> socket.socket:
    """Connect to the first address of ``host`` that answers, within ``seconds`` in all.

    Raises Unreachable.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # UnicodeError: no name that could be a host's
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unreachable(
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
