"""One SFTP channel: bytes out, many requests at a time, and replies in.

What may live here: what belongs to one channel. Who is waiting for which reply
is the session's to know.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from reconcile.core.errors import ConnectionLost, ProtocolError
from reconcile.remotes.sftp import wire

RECEIVE = 4 * 1024 * 1024  # bytes taken at once: all that may have come, as what stays is moved each time
MOST_KEPT = 4 * 1024 * 1024  # bytes that the server did not take yet: twice of what it takes on its way
NO_VERSION = "the server did not begin with its SFTP version"


class Channel(Protocol):
    """What is needed of a paramiko channel."""

    def send(self, data: memoryview, /, *, wait: bool) -> int:
        """Send what is taken now, with ``wait`` some at least; returns how many bytes.

        Raises OSError or TimeoutError.
        """

    def recv(self, nbytes: int, /) -> bytes:
        """Up to ``nbytes``, empty at the end; raises OSError or TimeoutError."""

    def recv_ready(self) -> bool:
        """Whether ``recv`` would return at once."""

    def settimeout(self, timeout: float, /) -> None:
        """Seconds until ``send`` and ``recv`` raise TimeoutError."""

    def close(self) -> None:
        """Close; may be called twice."""


def _allow() -> None:
    """Anything may be sent at any time."""


class SftpChannel:
    """A channel with what waits to be sent on it (``out``, of ``size`` bytes) and what came in part.

    ``silence``: seconds for which the server may take no data.
    """

    def __init__(self, pipe: Channel, silence: float) -> None:
        self.pipe = pipe
        self.out: list[bytes] = []
        self.size = 0
        self.sent = self.received = 0  # bytes
        self.unanswered = 0  # bytes of small files' content
        self.turn: deque[Callable[[None], None]] = deque()  # who waits until it takes more
        self.check: Callable[[], None] = _allow  # raises what keeps us from sending more
        self._silence = silence
        self._decoder = wire.Decoder()
        self._cut: deque[memoryview] = deque()  # comes before ``out``: what the server did not take yet
        self._torn = False

    def greet(self, patience: float = 0.0) -> dict[bytes, bytes]:
        """Agree on version 3; returns the server's extensions. Comes first, once.

        The server gets ``patience`` seconds more than for other answers: it has to start.
        Raises Unreachable where there is no SFTP, ConnectionLost, or ProtocolError for another version.
        """
        self.queue_greeting()
        self.push()
        until = time.monotonic() + self._silence + patience
        while not (replies := self.receive(max(until - time.monotonic(), 0.0))):
            if time.monotonic() >= until:
                raise ConnectionLost(f"the server said nothing for {self._silence + patience:.0f} s")
        (_, reply), *more = replies
        if more:
            raise ProtocolError(NO_VERSION)
        return extensions_of(reply)

    def queue_greeting(self) -> None:
        """Send it along with what comes next."""
        first = wire.init()
        self.out.append(first)
        self.size += len(first)

    @property
    def stuck(self) -> bool:
        """Whether something waits that the server did not take when it was offered."""
        return bool(self._cut)

    @property
    def kept(self) -> int:
        """Bytes of that."""
        return sum(map(len, self._cut))

    def flush(self) -> None:
        """Send what the server takes by now of what waits. Raises ConnectionLost.

        The rest is kept, but no more than ``MOST_KEPT``: beyond that it is waited for.
        """
        self._send(wait=False)
        while self.kept > MOST_KEPT:
            self.push()

    def push(self) -> None:
        """The same, once it takes some. Raises ConnectionLost."""
        self._send(wait=True)

    def _send(self, *, wait: bool) -> None:
        if self.size:
            self._cut.append(memoryview(b"".join(self.out)))
            self.out.clear()
            self.size = 0
        if not self._cut:
            return
        if self._torn:
            raise ConnectionLost("the connection was given up in the middle of a request")
        self.check()  # RACE: what halts us between this and the next line halts us for too long to know
        self._torn = True  # until it is known how much was sent
        try:
            self.pipe.settimeout(self._silence)
            while self._cut:
                count = self.pipe.send(self._cut[0], wait=wait)
                self.sent += count
                if count < len(self._cut[0]):
                    self._cut[0] = self._cut[0][count:]
                    break
                self._cut.popleft()
                wait = False
        except TimeoutError as error:
            raise ConnectionLost(f"the server took no data for {self._silence:.0f} s") from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke while sending: {error}") from error
        self._torn = False

    def receive(self, seconds: float) -> list[tuple[int, wire.Reply]] | None:
        """The replies that are whole by now; None if the server was silent for so long.

        Raises ConnectionLost, or ProtocolError for what is no SFTP v3.
        """
        try:
            self.pipe.settimeout(seconds)
            data = self.pipe.recv(RECEIVE)
        except TimeoutError:
            return None
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error}") from error
        if not data:
            raise ConnectionLost("the server closed the connection")
        self.received += len(data)
        return self._decoder.feed(data)


def extensions_of(reply: wire.Reply | None) -> dict[bytes, bytes]:
    """What the server can do beyond version 3. Raises ProtocolError for any other word, or version."""
    if not isinstance(reply, wire.Version):
        raise ProtocolError(NO_VERSION)
    if reply.version < wire.VERSION:
        raise ProtocolError(f"the server speaks SFTP version {reply.version}; version 3 is needed")
    return reply.extensions
