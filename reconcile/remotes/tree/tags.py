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


def unpack(tag: Tag) -> tuple[int, int]:
    """Its size and time."""
    size, mtime = tag.split()
    return int(size), int(mtime)


def note(size: int, mtime: int, entry: Entry) -> Tag | None:
    """What the entry of a file has to say beside its own size and time if it shows these."""
    return None if size == entry.size and mtime == entry.mtime else pack(size, mtime)


def is_left(size: int, mtime: int, entry: Entry, wished: int | None) -> bool:
    """Whether a file shows what it showed when we left it, or the time it was to show.

    A server may show the time of writing until its cache has caught up. By the very hour all
    times are off where summer time begins or ends and the file system knows of none.
    """
    left_size, left_time = (entry.size, entry.mtime) if entry.tag is None else unpack(entry.tag)
    if size == left_size and mtime - left_time in (0, HOUR, -HOUR):
        return True
    return wished is not None and size == entry.size and mtime - wished in (0, HOUR, -HOUR)
