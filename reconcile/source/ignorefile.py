"""``.reconcileignore`` at the top of SRC: patterns that go with the folder."""

from __future__ import annotations

import errno
import os
from stat import S_ISREG

from reconcile.core.errors import Refused
from reconcile.core.filters import check_patterns
from reconcile.source.way import open_root

IGNORE_FILE = ".reconcileignore"
IGNORE_FILE_LIMIT = 1 << 20  # bytes


def read_ignore_file(root: str) -> list[str]:
    """The lines of ``.reconcileignore`` in SRC, none if there is no such file.

    Raises UsageError for a line that is no pattern, and Refused if SRC can't be
    opened, or if the file is there but can't be read as it should: without its
    patterns the run would send what it was told to leave out.
    """
    folder = open_root(root)  # first, so that what is wrong with SRC isn't blamed on the file
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(IGNORE_FILE, flags, dir_fd=folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        link = error.errno == errno.ELOOP
        what = "is a symbolic link" if link else f"can't be read: {error.strerror}"
        raise _refused(what) from error
    finally:
        os.close(folder)
    try:
        if not S_ISREG(os.fstat(fd).st_mode):
            raise _refused("is not a regular file")
        content = os.read(fd, IGNORE_FILE_LIMIT + 1)
    except OSError as error:
        raise _refused(f"can't be read: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(content) > IGNORE_FILE_LIMIT:
        raise _refused(f"is larger than {IGNORE_FILE_LIMIT >> 20} MiB")
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    check_patterns(lines, IGNORE_FILE)
    return lines


def _refused(what: str) -> Refused:
    return Refused(
        f"{IGNORE_FILE} in the source {what}. Nothing was done. Make it a readable text file, or remove it."
    )
