"""A folder that only we write to: refused where others may have been, and no file is opened through a link.

What is in a job's folder decides what is deleted on the server, and it is written as this
user, whoever that is: in a place that others can write to they might have laid a link there.
"""

from __future__ import annotations

import os

from reconcile.core.errors import Refused

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_ROOT = 0  # could do everything anyway


def check_folder(folder: str) -> None:
    """Raises Refused if somebody else owns the job's folder or anything in it, or it holds a link.

    A folder that is not there is fine. RACE: somebody who can write to the folder may lay a link
    later: it is not followed, but what they do to whole files is not seen.
    """
    try:
        here = [os.lstat(folder), os.stat(folder)]
        entries = list(os.scandir(folder))
    except OSError:  # told by who needs it
        return
    if not all(map(_is_ours, here)):
        raise Refused(
            f"The folder {_shown(folder)}, where what was sent is remembered, is owned by another user "
            f"(uid {here[1].st_uid}, and this is {os.geteuid()}). Nothing was done. Run as that user, make "
            "the folder yours with chown -R, or choose another with --state."
        )
    for entry in entries:
        if entry.is_symlink() or not _is_ours(entry.stat(follow_symlinks=False)):
            what = "a link" if entry.is_symlink() else "another user's"
            raise Refused(
                f"{_shown(entry.path)} is {what}, in a folder where only this job's own files may be. "
                "Nothing was done. Remove it if you know where it comes from, or choose another folder "
                "with --state."
            )


def create(path: str) -> int:
    """A new file in the place of whatever is there, open for writing, for nobody else to read."""
    try:
        return os.open(path, _NEW, 0o600)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, _NEW, 0o600)


def open_ours(path: str, flags: int = os.O_RDONLY) -> int:
    """A file of ours, not through a link. Raises OSError."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)


def _is_ours(info: os.stat_result) -> bool:
    return info.st_uid in (os.geteuid(), _ROOT)


def _shown(path: str) -> str:
    return repr(path)[1:-1]
