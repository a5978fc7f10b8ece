"""OpenSSH's client as a process that never asks a terminal, and that ends with us.

What may live here: starting it, hearing it, ending it. It has a session of its own, without a terminal.
Should we be killed, its stdin ends, and so does it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Thread

from reconcile.core.errors import UsageError
from reconcile.leaving import begin, settle
from reconcile.remotes.ssh.client.talk import Talk

_FAREWELL = 1.0  # seconds in which it may end by itself, and again after it was asked to
_LAST_WORDS = 2.0  # seconds for what is still in its stderr once it has ended
_PIECE = 65536  # bytes


class Process:
    """One client: ``sock`` is our end of its stdin and stdout."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.sock, theirs = socket.socketpair()
        self.talk = Talk()
        self._listening: Thread | None = None
        try:
            self._process: subprocess.Popen[bytes] = begin(
                lambda: subprocess.Popen(
                    command,
                    env=env,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                ),
                lambda process: _signal(process, signal.SIGTERM),
            )
        except OSError as error:
            self.sock.close()
            raise UsageError(
                f"can't start {command[0]}: {error.strerror}. It is OpenSSH's client that is wanted: install "
                "it, or name it with --ssh-command."
            ) from None
        finally:
            theirs.close()
        assert self._process.stderr is not None
        self.stderr = self._process.stderr

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def hear(self) -> bool:
        """Take what it says now, waiting for some. False: that was the last of it."""
        data = os.read(self.stderr.fileno(), _PIECE)
        self.talk.feed(data)
        return bool(data)

    def hear_all(self, seconds: float) -> None:
        """The same until that was the last of it, or for so long."""
        until = time.monotonic() + seconds
        while select.select([self.stderr], [], [], max(until - time.monotonic(), 0.0))[0] and self.hear():
            pass

    def listen(self) -> None:
        """Have that done beside, from now on: else it would stop when nobody takes what it says."""
        self._listening = Thread(target=self._listen, name="what ssh says", daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        with suppress(OSError), self.stderr:
            while self.hear():
                pass

    def ended(self, seconds: float = _FAREWELL) -> int | None:
        """Its exit status, once all that it said was heard; None: it has not ended within so long."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        if self._listening is not None:  # somebody whom it started may hold its stderr for longer
            self._listening.join(_LAST_WORDS)
        return status

    def end(self, *, at_once: bool = False) -> None:
        """Close its stdin, let it say goodbye, and see to it that it is gone. May be called twice."""
        self.sock.close()
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if not at_once and self.ended() is not None:
                break
            at_once = False
            _signal(self._process, signum)
        self._process.wait()
        settle(self._process)
        if self._listening is None:
            self.stderr.close()
        else:  # which closes it, if perhaps later
            self._listening.join(_LAST_WORDS)


def _signal(process: subprocess.Popen[bytes], signum: int) -> None:
    """To it, and all that it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
