"""The user's SSH agent, which may have died with its socket left behind, or hang.

What may live here: talking to it within a given time. What its keys are used for is in ``keys``.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from reconcile.remotes.ssh.library import paramiko
from reconcile.remotes.ssh.settings import NONE

LISTING = 5.0  # seconds to tell its keys at most: that asks nobody
_IDENTITIES_ANSWER = 12  # its type, RFC draft-miller-ssh-agent, section 6.1
_MOST_KEYS = 2048  # as OpenSSH's own client takes
_MOST = 256 * 1024  # bytes of an answer, as OpenSSH's own client takes


class _Line:
    """A connection that gives up in time, whatever dribbles in. paramiko waits for ever."""

    def __init__(self, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.until = time.monotonic() + LISTING
        try:
            self._hurry()
            self._sock.connect(path)
        except BaseException:
            self._sock.close()
            raise

    def _hurry(self) -> None:
        self._sock.settimeout(max(self.until - time.monotonic(), 0.001))

    def send(self, data: bytes) -> None:
        """All of it."""
        self._hurry()
        self._sock.sendall(data)

    def recv(self, size: int) -> bytes:
        """Some of what comes."""
        if size > _MOST:
            raise paramiko.SSHException(f"an answer of {size} bytes")
        if time.monotonic() >= self.until:
            raise TimeoutError
        self._hurry()
        return self._sock.recv(size)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()


class _Agent(paramiko.agent.AgentSSH):
    """paramiko's agent on a line of ours. Signing may take the user's time: a touch, a confirmation."""

    def __init__(self, line: _Line, seconds_left: Callable[[], float]) -> None:
        super().__init__()
        self._line = line
        line.until = time.monotonic() + min(LISTING, seconds_left() / 3)
        self._connect(line)  # type: ignore[attr-defined]
        self._seconds_left = seconds_left

    def _send_message(self, message: object) -> tuple[int, paramiko.Message]:
        if self.get_keys():
            self._line.until = time.monotonic() + self._seconds_left()
        try:
            kind, answer = super()._send_message(message)  # type: ignore[misc]
        except OSError as error:
            raise paramiko.SSHException(f"the agent: {error}") from None
        if kind == _IDENTITIES_ANSWER:
            count = answer.get_int()
            if count > _MOST_KEYS:  # paramiko would make room for all of them
                raise paramiko.SSHException(f"{count} keys")
            answer.rewind()
            answer.get_byte()
        return kind, answer


@contextmanager
def agent_keys(
    named: str | None, seconds_left: Callable[[], float], skipped: list[str]
) -> Iterator[Sequence[paramiko.AgentKey]]:
    """The keys in the agent, which must stay connected while one of them is offered.

    ``named``: what IdentityAgent says, if it says anything: a socket, or that there is to be none.
    An agent that is gone or talks nonsense is no agent; that one does not answer is named in ``skipped``.
    """
    if named == NONE:
        yield ()
        return
    if sys.platform == "win32":
        with _windows() as keys:
            yield keys
        return
    path = named or os.environ.get("SSH_AUTH_SOCK", "")
    try:
        line = _Line(path)
    except TimeoutError:
        skipped.append(f"the agent at {path}: it does not answer.")
        yield ()
        return
    except OSError as error:
        if named is not None:
            skipped.append(f"the agent at {path}, which IdentityAgent names: {error.strerror or error}.")
        yield ()
        return
    try:
        try:
            keys = _Agent(line, seconds_left).get_keys()
        except Exception as error:  # noqa: BLE001 - whatever its nonsense makes of paramiko's parser
            what = "it does not answer" if time.monotonic() >= line.until else f"it talks nonsense ({error})"
            skipped.append(f"the agent at {path}: {what}.")
            keys = ()
        yield keys
    finally:
        line.close()


@contextmanager
def _windows() -> Iterator[Sequence[paramiko.AgentKey]]:
    try:
        agent = paramiko.Agent()
    except Exception:  # noqa: BLE001 - an agent that is gone or talks nonsense is no agent
        yield ()
        return
    try:
        yield agent.get_keys()
    finally:
        agent.close()
