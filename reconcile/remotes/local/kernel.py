"""What the kernel can do and Python has no name for.

What may live here: system calls of Linux. Each is done without where it is not.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
from collections.abc import Callable
from functools import cache

_AT_FDCWD = -100
_NOREPLACE = 1  # renameat2(2)
_PDEATHSIG = 1  # prctl(2)
_FICLONE = 0x40049409  # ioctl_ficlone(2)


@cache
def _function(name: str) -> Callable[..., int] | None:
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    return found


def rename_to_nothing(old: bytes, new: bytes, old_at: int | None, new_at: int | None) -> bool:
    """Rename, atomically refusing what exists. False: neither this system nor that file system can."""
    rename = _function("renameat2")
    if rename is None:
        return False
    old_at, new_at = _AT_FDCWD if old_at is None else old_at, _AT_FDCWD if new_at is None else new_at
    if rename(old_at, old, new_at, new, _NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number))


def share(source: int, target: int) -> None:
    """Let ``target`` hold what ``source`` does, by the same blocks. Raises OSError, mostly."""
    fcntl.ioctl(target, _FICLONE, source)


def die_with_parent() -> None:
    """Be killed when the thread that made this process ends, if the system can do that."""
    if (prctl := _function("prctl")) is not None:
        prctl(_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
