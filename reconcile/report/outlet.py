"""Where text goes: a stream that never ends a run.

An output that is gone (a closed pipe, a full disk under a log) is simply not written to any more.
Who was asked for that very text can tell by ``lost`` that it did not arrive.
"""

from __future__ import annotations

import os
from typing import TextIO


class Outlet:
    """A text stream that never fails: once it is broken, what is written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.broken = False
        self.lost = ""  # why text was lost; a reader that went away (``| head``) had enough

    def write(self, text: str) -> int:
        """As a stream's ``write``."""
        if not self.broken:
            try:
                self.stream.write(text)
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """As a stream's ``flush``."""
        if not self.broken:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def line(self, text: str) -> None:
        """One line, out at once."""
        self.write(text + "\n")
        self.flush()

    def force(self, text: str) -> None:
        """Past every buffer, since a signal may have come in the middle of a ``write``."""
        try:
            os.write(self.stream.fileno(), text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            pass  # not a real file, or gone

    def isatty(self) -> bool:
        """Whether a person is looking."""
        try:
            return self.stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """As a stream's ``fileno``; rich asks."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:
        """As a stream's ``encoding``; rich asks."""
        return self.stream.encoding

    def _give_up(self, error: OSError | ValueError) -> None:
        """Send what is still buffered nowhere, else Python complains about it when it exits."""
        self.broken = True
        if not isinstance(error, BrokenPipeError):
            self.lost = getattr(error, "strerror", None) or "it is closed"
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass  # not a real file: nothing is flushed at exit either
