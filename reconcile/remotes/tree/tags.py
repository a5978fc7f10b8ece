"""What a tree shows of a file, made a tag of: its size, and its time in whole seconds. Pure.

What may live here: how such tags are packed and compared. Nobody else looks into one; only what
snapshots and journals of format 1 hold of them is made into the same bytes where those are read.
"""

from __future__ import annotations

from reconcile.core.model import Entry, Tag

HOUR = 3600  # seconds that file systems without time zones are off for half of the year


def pack(size: int, mtime: int) -> Tag:
    """Of a file that shows these."""
    return b"%d %d" % (size, mtime)


def note(size: int, mtime: int, entry: Entry) -> Tag | None:
    """What the entry of a file has to say beside its own size and time if it shows these."""
    return None if size == entry.size and mtime == entry.mtime else pack(size, mtime)


def is_alike(one: Tag, other: Tag) -> bool:
    """Whether both may be of the same file, which nobody has touched in between.

    By the very hour all times are off where summer time begins or ends and the file system knows of none.
    """
    size, mtime = _unpack(one)
    other_size, other_time = _unpack(other)
    return size == other_size and mtime - other_time in (0, HOUR, -HOUR)


def _unpack(tag: Tag) -> tuple[int, int]:
    size, mtime = tag.split()
    return int(size), int(mtime)
