"""What is remembered of a job goes over to another folder: copied, made true by its snapshot, then let go.

So there is always a folder with all of it: a process that is killed in the middle leaves both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection

from reconcile.core.errors import ReconcileError
from reconcile.state.lock import HOLDER
from reconcile.state.lock import NAME as LOCK
from reconcile.state.private import create, open_ours
from reconcile.state.store import BACKUP
from reconcile.state.store import NAME as SNAPSHOT

_STAYS = frozenset((LOCK, HOLDER, SNAPSHOT, BACKUP))


def copy_rest(former: str, folder: str, without: Collection[str]) -> None:
    """Bring all but the snapshot, and what is named ``without``, into another job's folder.

    Raises ReconcileError, and nothing is as if it had been the case: a job without a snapshot has not run.
    """
    try:
        with os.scandir(former) as entries:
            for entry in entries:
                is_whole = entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
                if is_whole and entry.name not in _STAYS and entry.name not in without:
                    copy_file(former, folder, entry.name)
    except FileNotFoundError:
        return  # nothing was known here of a job whose state lies at DEST
    except OSError as error:
        raise ReconcileError(
            f"What is known of the job can't be copied to {_shown(folder)}: {error.strerror}. Nothing was "
            "done. Make room or correct the permissions there."
        ) from error


def copy_file(former: str, folder: str, name: str) -> None:
    """Bring one of them there, with its times: whole, or not at all. Raises OSError."""
    path, place = os.path.join(former, name), os.path.join(folder, name)
    with open(open_ours(path), "rb") as old, open(create(f"{place}.new"), "wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())
    times = os.stat(path)
    os.utime(f"{place}.new", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(f"{place}.new", place)


def let_go(former: str) -> None:
    """What was there is no more: the snapshot first, without which the rest counts for nothing.

    The lock is held, and goes with it. Raises ReconcileError.
    """
    try:
        names = os.listdir(former)
    except OSError:
        return
    try:
        for name in sorted(names, key=lambda name: (name != SNAPSHOT, name)):
            if name not in (LOCK, HOLDER):
                os.unlink(os.path.join(former, name))
    except OSError as error:
        raise ReconcileError(
            f"The job was moved, and what was known under its former name can't be removed: "
            f"{_shown(former)}: {error.strerror}. Remove that folder."
        ) from error


def _shown(path: str) -> str:
    return repr(path)[1:-1]
