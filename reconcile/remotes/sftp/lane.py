"""One SFTP channel: bytes out, many requests at a time, and replies in.

What may live here: what belongs to one channel. Who is waiting for which reply
is the session's to know.
"""

from __future__ import annotations

from typing import Protocol

from reconcile.errors import ConnectionLost
from reconcile.remotes.sftp import wire

RECEIVE = 256 * 1024  # bytes taken at once


class Channel(Protocol):
    """What is needed of a paramiko channel."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of ``data``; raises OSError or TimeoutError."""

    def recv(self, nbytes: int, /) -> bytes:
        """Up to ``nbytes``, empty at the end; raises OSError or TimeoutError."""

    def recv_ready(self) -> bool:
        """Whether ``recv`` would return at once."""

    def settimeout(self, timeout: float, /) -> None:
        """Seconds until ``sendall`` and ``recv`` raise TimeoutError."""

    def close(self) -> None:
        """Close; may be called twice."""


class Lane:
    """A channel with what waits to be sent on it (``out``, of ``size`` bytes) and what came in part.

    ``silence``: seconds for which the server may take no data.
    """

    def __init__(self, channel: Channel, silence: float) -> None:
        self.channel = channel
        self.out: list[bytes] = []
        self.size = 0
        self.sent = self.received = 0  # bytes
        self._silence = silence
        self._decoder = wire.Decoder()
        self._torn = False

    def flush(self) -> None:
        """Send what waits. Raises ConnectionLost."""
        if not self.size:
            return
        if self._torn:
            raise ConnectionLost("the connection was given up in the middle of a request")
        data = b"".join(self.out)
        self.out.clear()
        self.size = 0
        self._torn = True  # until all is sent: half a request can't be taken back
        try:
            self.channel.settimeout(self._silence)
            self.channel.sendall(data)
        except TimeoutError as error:
            raise ConnectionLost(f"the server took no data for {self._silence:.0f} s") from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke while sending: {error}") from error
        self._torn = False
        self.sent += len(data)

    def receive(self, seconds: float) -> list[tuple[int, wire.Reply]] | None:
        """The replies that are whole by now; None if the server was silent for so long.

        Raises ConnectionLost, or ProtocolError for what is no SFTP v3.
        """
        try:
            self.channel.settimeout(seconds)
            data = self.channel.recv(RECEIVE)
        except TimeoutError:
            return None
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error}") from error
        if not data:
            raise ConnectionLost("the server closed the connection")
        self.received += len(data)
        return self._decoder.feed(data)
