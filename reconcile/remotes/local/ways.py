"""The way to what is in DEST: by the descriptors of its directories, so that no link is followed by accident.

DEST stays open from the first look on. Should its disk be taken away, what comes then fails: nothing
is ever written to the folder underneath.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

HELD = 64  # directories that are open at a time
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class Ways:
    """Directories held open below ``tops``, each opened from the one above it.

    What is opened is used until it is renamed or removed by us, or a level of actions ends.
    RACE: a directory that somebody else moves meanwhile gets what we bring, wherever it is then.
    """

    def __init__(self, tops: Sequence[bytes]) -> None:
        self._tops = {top: top.rstrip(b"/") + b"/" for top in tops}
        self._roots: dict[bytes, int] = {}
        self._open: dict[bytes, int] = {}  # what is above one of them, up to a top, is among them or a top

    def to(self, path: bytes) -> tuple[int | None, bytes]:
        """The directory of a path, and the name in it; None, and the path itself, of what is in no top.

        The descriptor is good until the next call. Raises OSError.
        """
        if len(self._open) > HELD:
            self.let_go()
        return self._to(path)

    def both(self, one: bytes, other: bytes) -> tuple[int | None, bytes, int | None, bytes]:
        """The same of two paths."""
        return *self.to(one), *self._to(other)

    def _to(self, path: bytes) -> tuple[int | None, bytes]:
        directory, _, name = path.rpartition(b"/")
        fd = self._open.get(directory)
        if fd is not None:
            return fd, name
        if path in self._tops:
            root = self._root_of(path)
            return (None, path) if root is None else (root, b".")
        directory = directory or b"/"
        for top, below in self._tops.items():
            if path.startswith(below):
                return self._descend(top, directory), name
        return None, path

    def _root_of(self, top: bytes) -> int | None:
        if top not in self._roots:
            try:
                self._roots[top] = os.open(top, _DIRECTORY)
            except OSError:
                return None
        return self._roots[top]

    def _descend(self, top: bytes, directory: bytes) -> int:
        """Open a directory, step by step from the nearest that is open."""
        if top not in self._roots:
            self._roots[top] = os.open(top, _DIRECTORY)
        missing: list[bytes] = []
        while directory != top and directory not in self._open:
            missing.append(directory)
            directory = directory.rpartition(b"/")[0] or b"/"
        fd = self._roots[top] if directory == top else self._open[directory]
        for path in reversed(missing):
            fd = self._open[path] = os.open(path.rpartition(b"/")[2], _DIRECTORY, dir_fd=fd)
        return fd

    def forget(self, path: bytes) -> None:
        """What was a directory at this path is another now, or none, and so is all below it."""
        if path in self._open:
            below = path + b"/"
            for each in [each for each in self._open if each == path or each.startswith(below)]:
                os.close(self._open.pop(each))

    def let_go(self) -> None:
        """Hold nothing but the tops."""
        while self._open:
            os.close(self._open.popitem()[1])

    def close(self) -> None:
        """Hold nothing at all."""
        self.let_go()
        while self._roots:
            os.close(self._roots.popitem()[1])
