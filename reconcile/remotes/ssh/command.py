"""A secret that a command prints: a password manager's, a vault's.

What may live here: running it and judging what it prints. Nothing of that is ever shown.
"""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import time
from contextlib import suppress

from reconcile.core.errors import TurnedAway
from reconcile.leaving import begin, settle

_SHELL = "/bin/sh"
_MOST = 64 * 1024  # bytes; no secret is longer
_NOBODY = "There is no terminal on which it could ask: let it need none. Not logged in."
_LOOK_UP = 0.1  # seconds after which we see that it ended, though what it began still holds its output


def read_secret(command: str, option: str, seconds: float | None) -> str:
    """What ``command``, run by the shell, prints: one line.

    Its errors go where ours do. It is given ``seconds``; None: somebody is there, whom it may ask.
    Raises TurnedAway, naming ``option``, if it fails or prints anything else.
    """
    try:
        process = begin(
            lambda: subprocess.Popen(
                [_SHELL, "-c", command],
                stdin=None if seconds is None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=seconds is not None,  # with all that it starts it can be ended then
            ),
            lambda process: _kill(process, group=seconds is not None),
        )
    except OSError as error:
        raise TurnedAway(f"{option}: can't run {_SHELL}: {error.strerror}. Not logged in.") from None
    try:
        printed = _read(process, seconds)
        if printed is None:
            raise TurnedAway(f"{option}: the command did not end within {seconds:g} s. {_NOBODY}")
        if len(printed) > _MOST:
            raise TurnedAway(f"{option}: the command prints more than any secret is long. Not logged in.")
    finally:
        _end(process, group=seconds is not None)
    if process.returncode:
        how = f"code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise TurnedAway(f"{option}: the command failed ({how}): try it alone. Not logged in.")
    return _judge(printed, option)


def _read(process: subprocess.Popen[bytes], seconds: float | None) -> bytes | None:
    """All that it prints until it ends, not much more than ``_MOST``. None: it did not end in time."""
    assert process.stdout is not None
    give_up = math.inf if seconds is None else time.monotonic() + seconds
    pipe, printed, more = process.stdout.fileno(), b"", True
    while more and len(printed) <= _MOST and time.monotonic() < give_up:
        ended = process.poll() is not None
        if select.select([pipe], [], [], _LOOK_UP)[0]:
            piece = os.read(pipe, _MOST + 1 - len(printed))
            printed, more = printed + piece, bool(piece)
        elif ended:
            more = False
    if len(printed) > _MOST:
        return printed
    with suppress(subprocess.TimeoutExpired):
        process.wait(None if seconds is None else max(give_up - time.monotonic(), 0.001))
    return None if process.returncode is None else printed


def _end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    assert process.stdout is not None
    process.stdout.close()
    _kill(process, group=group)
    process.wait()
    settle(process)


def _kill(process: subprocess.Popen[bytes], *, group: bool) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            if group:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()


def _judge(printed: bytes, option: str) -> str:
    try:
        lines = printed.decode().rstrip("\r\n").split("\n")
    except UnicodeDecodeError:
        raise TurnedAway(f"{option}: what the command prints is no text in UTF-8. Not logged in.") from None
    if len(lines) > 1:
        raise TurnedAway(
            f"{option}: the command prints {len(lines)} lines, and nothing says which is the secret. Let it "
            "print that alone (… | head -n 1). Not logged in."
        )
    if not lines[0]:
        raise TurnedAway(f"{option}: the command prints nothing. Not logged in.")
    return lines[0]
