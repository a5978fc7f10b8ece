"""The way into SRC: directories opened one below the other, so that no link is followed by accident."""

from __future__ import annotations

import os

from reconcile.core.errors import Refused

HELD = 50  # directories held open on the way to a file, and one more
_CLOSED = -1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Way:
    """From SRC down to the directory that was used last, held open: the next is mostly near it.

    O_NOFOLLOW is about the last name only, so that each step is taken by itself. Nothing is
    opened by a path: one that a swapped parent leads out of SRC may be a device, and act.
    """

    def __init__(self, root: int, *, follow: bool) -> None:
        self._root = root
        self._flags = _DIRECTORY if follow else _DIRECTORY | os.O_NOFOLLOW
        self._at = ""
        self._steps: list[tuple[str, int]] = []  # the names, and the descriptors; the latter none if too deep

    def to(self, directory: str) -> int:
        """The descriptor of a directory, good until the next call. Raises OSError."""
        if directory != self._at:
            names = directory.split("/") if directory else []
            common = 0
            while common < min(len(names), len(self._steps)) and names[common] == self._steps[common][0]:
                common += 1
            self._back_to(common)
            for name in names[len(self._steps) :]:
                self._step(name)
            self._at = directory
        return self._steps[-1][1] if self._steps else self._root

    def _step(self, name: str) -> None:
        above = self._steps[-1][1] if self._steps else self._root
        self._at = "\0"  # nowhere, should this fail
        fd = os.open(name, self._flags, dir_fd=above)
        if len(self._steps) > HELD:
            parent, _ = self._steps[-1]
            os.close(above)
            self._steps[-1] = parent, _CLOSED
        self._steps.append((name, fd))

    def _back_to(self, depth: int) -> None:
        """Up again, or to the root where the way back is not held."""
        self._at = "\0"
        if depth and self._steps[depth - 1][1] == _CLOSED:
            depth = 0
        while len(self._steps) > depth:
            _, fd = self._steps.pop()
            if fd != _CLOSED:
                os.close(fd)

    def close(self) -> None:
        """Let go of all. May be called twice."""
        self._back_to(0)
        if self._root >= 0:
            os.close(self._root)
            self._root = _CLOSED


def open_root(root: str) -> int:
    """A descriptor of SRC itself, which may be a link. Raises Refused, saying what is there instead."""
    shown = repr(root)[1:-1]
    try:
        return os.open(root, _DIRECTORY)
    except FileNotFoundError:
        what = "does not exist. Check the path, and that the disk it is on is mounted"
    except NotADirectoryError:
        what = "is not a directory. Give the folder that holds what shall be sent"
    except OSError as error:
        what = f"can't be opened: {error.strerror}. Run as a user who may read it, or change its permissions"
    raise Refused(f"The source {shown} {what}. Nothing was done.")


def open_directory(root: int, path: str, *, follow: bool) -> int:
    """A descriptor of the directory ``path`` below ``root``, opened step by step. Raises OSError.

    Unless ``follow``, a link on the way is an error.
    """
    flags = _DIRECTORY if follow else _DIRECTORY | os.O_NOFOLLOW
    fd = os.open(".", _DIRECTORY, dir_fd=root)
    for name in path.split("/") if path else ():
        try:
            deeper = os.open(name, flags, dir_fd=fd)
        finally:
            os.close(fd)
        fd = deeper
    return fd
