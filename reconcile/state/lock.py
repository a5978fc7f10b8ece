"""One run of a job at a time: a kernel lock that dies with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.json import decode, encode

from reconcile.core.errors import Locked, ReconcileError
from reconcile.state.private import check_folder, create, open_ours
from reconcile.state.store import make_folder

NAME = "lock"
POLL = 0.1  # seconds between attempts while waiting
_LOOK = POLL / 2  # seconds for which a plan may hold the lock, to see whether a run does
_ATTEMPTS = 100
HOLDER = "lock.holder"  # beside it, for people: who holds the lock, not whether it is held


@contextmanager
def hold_lock(folder: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the job's lock for as long as the block runs.

    ``wait`` is how many seconds to wait for another run to end. Raises ``Locked``,
    which names the holder, if it does not end in time.
    """
    give_up = time.monotonic() + max(wait, _LOOK)
    fd = _open(folder)
    try:
        _take(fd, folder, give_up)
        while not _is_there(fd, folder):  # the run before has removed it, or moved the folder
            os.close(fd)
            fd = _open(folder)
            _take(fd, folder, give_up)
        _sign(folder)
        try:
            yield
        finally:
            _unsign(folder)
            _remove_if_empty(folder)
    finally:
        os.close(fd)  # which lets go of the lock


def _open(folder: str) -> int:
    for attempt in reversed(range(_ATTEMPTS)):
        try:
            make_folder(folder)
            check_folder(folder)
            return open_ours(os.path.join(folder, NAME), os.O_RDWR | os.O_CREAT)
        except (FileNotFoundError, FileExistsError) as error:  # another run makes or removes it just now
            if not attempt:
                raise _untakable(folder, error) from error
        except OSError as error:
            raise _untakable(folder, error) from error
    raise AssertionError


def _is_there(fd: int, folder: str) -> bool:
    """Whether what is open is still the job's lock."""
    try:
        there = os.lstat(os.path.join(folder, NAME))
    except OSError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _remove_if_empty(folder: str) -> None:
    """Nothing came of a first run: it leaves nothing behind."""
    try:
        if os.listdir(folder) == [NAME]:
            os.unlink(os.path.join(folder, NAME))
            os.rmdir(folder)
    except OSError:
        pass  # it is in nobody's way


def _take(fd: int, folder: str, give_up: float) -> None:
    """flock(2): of two descriptors of one file only one holds it, in one process too."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise Locked(
                    f"Another run of this job is at work{_describe_holder(folder)}. Nothing was done. "
                    "Wait for it to end, or use --wait SECONDS to do so."
                ) from None
        except OSError as error:
            raise _untakable(folder, error) from error
        else:
            return
        time.sleep(POLL)


def find_run(folder: str) -> str | None:
    """Who is at work on the job now, for a message; None: nobody."""
    try:
        fd = open_ours(os.path.join(folder, NAME))
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _describe_holder(folder)
    except OSError:
        pass  # told by who has to take it
    finally:
        os.close(fd)
    return None


def _untakable(folder: str, error: OSError) -> ReconcileError:
    return ReconcileError(
        f"The lock in {folder!r} can't be taken: {error.strerror}. Nothing was done. "
        "Correct the permissions there, or choose another folder with --state."
    )


def _unsign(folder: str) -> None:
    """Nobody holds it any more: a later run that has not signed yet is not to be taken for us."""
    try:
        os.unlink(os.path.join(folder, HOLDER))
    except OSError:
        pass  # it is for people only


def _sign(folder: str) -> None:
    """Write down who holds the lock. The lock itself does not depend on it."""
    holder = {"pid": os.getpid(), "host": os.uname().nodename, "since": int(time.time())}
    path = os.path.join(folder, HOLDER)
    try:
        with open(create(path), "wb") as file:
            file.write(encode(holder))
    except (OSError, UnicodeError):
        pass  # a full disk is told where it matters: when the journal is written


def _describe_holder(folder: str) -> str:
    try:
        with open(open_ours(os.path.join(folder, HOLDER)), "rb") as file:
            holder = decode(file.read())
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        return f": process {holder['pid']} on {holder['host']}, since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def is_job_folder(folder: str) -> bool:
    """Whether this is the folder of some job that has run."""
    named = re.search(r"-[0-9a-f]{16}$", folder) is not None
    return named and not os.path.islink(folder) and os.path.exists(os.path.join(folder, NAME))
