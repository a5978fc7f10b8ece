"""What came on a channel and was not read yet, in the pieces in which it came.

What may live here: what takes the place of paramiko's ``BufferedPipe``, which copies each byte four times.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue

from reconcile.remotes.ssh.library import PipeTimeout

_ENOUGH = 64 * 1024  # bytes: what is smaller is read together, what is larger is not worth a copy
_END = b""  # nothing more comes; it stays in the queue


class Inbox:
    """One thread feeds, and another reads. As ``paramiko.buffered_pipe.BufferedPipe``."""

    def __init__(self) -> None:
        self._pieces: SimpleQueue[bytes] = SimpleQueue()
        self._rest = b""  # of the piece that is read
        self._event: threading.Event | None = None

    def set_event(self, event: threading.Event) -> None:
        """Have ``event`` set when something comes, or nothing more, and now if something is here."""
        self._event = event
        if self.read_ready():
            event.set()

    def feed(self, data: bytes) -> None:
        """So much came."""
        if data:
            self._put(data)

    def close(self) -> None:
        """Nothing more comes. What did can still be read."""
        self._put(_END)

    def read_ready(self) -> bool:
        """Whether ``read`` would return at once."""
        return bool(self._rest) or not self._pieces.empty()

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """Up to ``nbytes``, empty at the end. Raises PipeTimeout after so many seconds; None: never."""
        data = self._rest or self._take(timeout)
        if len(data) < _ENOUGH:
            data = self._gather(data)
        self._rest = data[nbytes:]
        return data[:nbytes]

    def __len__(self) -> int:
        """More than none if something is here: paramiko asks where it shows a channel in words."""
        return len(self._rest) + self._pieces.qsize()

    def _put(self, data: bytes) -> None:
        self._pieces.put(data)
        if self._event is not None:
            self._event.set()

    def _take(self, timeout: float | None) -> bytes:
        try:
            data = self._pieces.get(timeout=None if timeout is None else max(timeout, 0.0))
        except Empty:
            raise PipeTimeout from None
        if data is _END:
            self._pieces.put(_END)
        return data

    def _gather(self, first: bytes) -> bytes:
        """``first``, and small pieces that came after it."""
        pieces, size = [first], len(first)
        while size < _ENOUGH and not self._pieces.empty():
            if not (piece := self._take(0.0)):
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)
