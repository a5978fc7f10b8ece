"""A folder that only we can look into, by which the client's processes reach us.

What may live here: the socket at which prompts arrive, the program that brings them, and the place
of the socket by which more channels are opened.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import tempfile
from contextlib import suppress

from reconcile.leaving import before_leaving, settle
from reconcile.remotes.ssh.client import helper

_LONGEST = 100  # bytes of a socket's path: unix(7) has 108, others 104
_SUFFIX = 18  # bytes that ssh adds to it for a while
_MOST = 64 * 1024  # bytes of a prompt
_PATIENCE = 5.0  # seconds for a prompt to be handed over


class Corner:
    """Made by `find_corner`. Without ``asks`` no prompt can be brought here."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.control = os.path.join(folder, "c")  # see ControlPath, ssh_config(5)
        self.asking = os.path.join(folder, "ask")  # see SSH_ASKPASS, ssh(1)
        self._socket = os.path.join(folder, "s")
        before_leaving(self, self._take_away)
        self.listener = socket.socket(socket.AF_UNIX)
        try:
            self.listener.bind(self._socket)
            self.listener.listen()
            self._write_program()
        except BaseException:
            self.close()
            raise

    def _write_program(self) -> None:
        """It has to be one file, which is started with the prompt alone."""
        start = shlex.join([sys.executable, "-I", "-S", helper.__file__, "ask", self._socket])
        fd = os.open(self.asking, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with os.fdopen(fd, "w") as file:
            file.write(f'#!/bin/sh\nexec {start} "$1"\n')

    @property
    def asks(self) -> bool:
        """Whether that program may be run where it is: some systems allow none in such folders."""
        return bool(sys.executable) and os.access(self.asking, os.X_OK)

    def take_call(self) -> tuple[socket.socket, list[str]] | None:
        """The next prompt: where to answer, and whose it is, the host on the way, its kind and its text.

        The first is the number of the process that asks. None: gone.
        """
        line, _ = self.listener.accept()
        try:
            line.settimeout(_PATIENCE)
            data = b""
            while len(data) < _MOST and (piece := line.recv(_MOST)):
                data += piece
        except OSError:
            data = b""
        words = data.decode(errors="replace").split("\0", 3)
        if len(words) == 4:
            return line, words
        line.close()
        return None

    def close(self) -> None:
        """Take all of it away. May be called twice."""
        self.listener.close()
        self._take_away()
        settle(self)

    def _take_away(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def reply(line: socket.socket, answer: str | None) -> None:
    """Hand an answer to who waits for it, and hang up. None: there is none."""
    with line, suppress(OSError):
        if answer is not None:
            line.sendall(b"+" + answer.encode(errors="surrogateescape"))


def find_corner() -> Corner | None:
    """One where sockets and programs may be. None: there is no such place."""
    last: Corner | None = None
    for place in dict.fromkeys((os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")):  # noqa: S108
        if not place or not os.path.isabs(place):
            continue
        try:
            folder = tempfile.mkdtemp(prefix="reconcile-", dir=place)
        except OSError:
            continue
        if len(os.fsencode(folder)) + len("/c") + _SUFFIX > _LONGEST:
            os.rmdir(folder)
            continue
        try:
            corner = Corner(folder)
        except OSError:
            continue
        if corner.asks:
            if last is not None:
                last.close()
            return corner
        if last is not None:
            last.close()
        last = corner
    return last
