"""What was read back of DEST before it is adopted: a run that broke off need not read that again.

    magic "RECONRBK" · format version, 4 bytes, big-endian · frames, each of [path, tag, digest]

Nothing that a run relies on: what is torn or was written by a newer program is read again. So nothing here is
fsynced, and a disk that is full is no failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from reconcile.core.model import Tag
from reconcile.state.frames import frame, payloads
from reconcile.state.private import create, open_ours

NAME = "readback"

_MAGIC = b"RECONRBK" + (1).to_bytes(4, "big")


class ReadBack:
    """Digests by path, each as long as DEST shows the same of the file. Open for more to be noted.

    Unless it ``keeps`` them, they are in memory only.
    """

    def __init__(self, folder: str, *, keeps: bool = True) -> None:
        self._keeps = keeps
        self._path = os.path.join(folder, NAME)
        self._known = dict(_read(self._path))
        self._fd = -1

    def recall(self, path: str, tag: Tag) -> bytes | None:
        """The xxh3-128 of what the file held when it showed ``tag``; None: it was not read back."""
        shown, digest = self._known.get(path, (b"", None))
        return digest if shown == tag else None

    def note(self, path: str, tag: Tag, digest: bytes) -> None:
        """One more was read. Never fails."""
        if self._keeps:
            with suppress(OSError):
                if self._fd < 0:
                    self._fd = self._begin()
                os.write(self._fd, frame((path, tag, digest)))
        self._known[path] = tag, digest

    def _begin(self) -> int:
        """The file anew with all that is known: what is torn at its end would hide what comes behind."""
        fd = create(self._path)
        os.write(fd, _MAGIC + b"".join(frame((path, *told)) for path, told in self._known.items()))
        return fd

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(path: str) -> Iterator[tuple[str, tuple[Tag, bytes]]]:
    """All that is whole."""
    try:
        with open(open_ours(path), "rb") as file:
            data = file.read()
    except OSError:
        return
    if data.startswith(_MAGIC):
        for name, tag, digest in payloads(data, len(_MAGIC)):
            yield name, (tag, digest)


def forget(folder: str) -> None:
    """What is in the file of a job, if there is one."""
    with suppress(OSError):
        os.unlink(os.path.join(folder, NAME))
