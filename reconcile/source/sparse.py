"""Files with holes: their zeros are sent as any content, which may take long for what seems small here."""

from __future__ import annotations

import os
from collections.abc import Iterator

from reconcile.core.model import Plan
from reconcile.source.files import Source, SourceError

LARGE = 64 << 20  # bytes of holes; less is not worth a word
MOST_HOLES = 10_000  # looked at


def tell_sparse(plan: Plan, source: Source) -> Iterator[str]:
    """The large files among those to be sent that are mostly holes."""
    for action in plan.actions:
        if action.bytes >= LARGE:
            data = _data(source, action.path, action.bytes)
            if 2 * data < action.bytes and action.bytes - data >= LARGE:
                yield (
                    f"{action.path!r} is sparse: of its {action.bytes:,} bytes only {data:,} hold data. "
                    "The zeros are sent, too; exclude it, or pack it, if that takes too long"
                )


def _data(source: Source, path: str, size: int) -> int:
    """How many bytes of a file are not in a hole. All, where the file system does not tell."""
    info = source.look(path)
    if info is None or 2 * info.st_blocks * 512 > size:  # st_blocks counts 512 bytes everywhere
        return size
    try:
        fd = source.open_now(path)
    except SourceError:
        return size
    try:
        return _count(fd, size)
    finally:
        os.close(fd)


def _count(fd: int, size: int) -> int:
    data = at = 0
    for _ in range(MOST_HOLES):
        try:
            begins = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: no more of it
            return data
        at = os.lseek(fd, begins, os.SEEK_HOLE)
        data += at - begins
        if at >= size:
            return data
    return size
