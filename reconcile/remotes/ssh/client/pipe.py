"""A stream of bytes through a process.

What may live here: our end of the socket that is its stdin and stdout.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable

WINDOW = 2 * 1024 * 1024  # bytes: what sshd grants a channel; what others do is not told
_ROOM = 1024 * 1024  # bytes that may lie between us and the process, as far as the system lets us


class Pipe:
    """See ``lines.Channel``. ``at_end``, told whether anything ever came, may raise what the end means."""

    window = WINDOW

    def __init__(self, sock: socket.socket, at_end: Callable[[bool], None]) -> None:
        self.stuck = False  # it did not take all that it was given
        self._sock = sock
        self._at_end = at_end
        self._timeout = 0.0
        self._heard = False
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable.register(sock, select.POLLOUT)
        sock.setblocking(False)
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, buffer, _ROOM)

    def settimeout(self, timeout: float) -> None:
        """Seconds until ``send`` and ``recv`` raise TimeoutError."""
        self._timeout = timeout

    def send(self, data: memoryview, *, wait: bool) -> int:
        """Send what is taken now, with ``wait`` some at least; returns how many bytes."""
        sent = 0
        try:
            while sent < len(data):
                try:
                    sent += self._sock.send(data[sent:])
                except BlockingIOError:
                    if sent or not wait:
                        break
                    self._await(self._writable)
        except (BrokenPipeError, ConnectionResetError):
            self._at_end(self._heard)
            raise
        self.stuck = sent < len(data)
        return sent

    def recv(self, nbytes: int) -> bytes:
        """Up to ``nbytes``, empty at the end."""
        try:
            data = self._take(nbytes)
        except ConnectionResetError:  # it ended without having read all that we sent
            data = b""
        if not data:
            self._at_end(self._heard)
        self._heard = True
        return data

    def _take(self, nbytes: int) -> bytes:
        while True:
            try:
                return self._sock.recv(nbytes)
            except BlockingIOError:
                self._await(self._readable)

    def recv_ready(self) -> bool:
        """Whether ``recv`` would return at once."""
        return self._sock.fileno() < 0 or bool(self._readable.poll(0))

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close; may be called twice."""
        self._sock.close()

    def _await(self, poll: select.poll) -> None:
        if not poll.poll(max(self._timeout, 0.0) * 1000):
            raise TimeoutError


def wait_for_any(pipes: Iterable[Pipe], seconds: float) -> None:
    """Until something has come on one of them, or one takes more that did not, or for so long."""
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, select.POLLIN | (select.POLLOUT if pipe.stuck else 0))
    poll.poll(max(seconds, 0.0) * 1000)
