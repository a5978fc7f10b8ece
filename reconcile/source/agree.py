"""Whether SRC is the folder that a snapshot is of: told by what is in it, as its path may be another."""

from __future__ import annotations

from msgspec import Struct

from reconcile.core.diff import same_stamp
from reconcile.core.model import DirectorySnapshot, Entry, Kind
from reconcile.source.files import Source, SourceError


class Agreement(Struct, frozen=True):
    """How SRC stands to a snapshot, as far as was looked: until most are known to be here, or not to be."""

    agrees: bool
    missing: tuple[str, ...]  # what is not here, or holds something else
    entries: int  # all files and links that are to be here


def agree(known: DirectorySnapshot, source: Source) -> Agreement:
    """Whether most of the files and links that the snapshot knows are here, with the content that it knows.

    Read are those whose inode and times prove nothing, the smallest first, until that is clear: half of
    the files are mostly a small part of the bytes.
    """
    entries = [
        (path, entry)
        for path, entry in known.walk()
        if entry.kind is not Kind.DIR and not (entry.retained or entry.excluded or entry.foreign)
    ]
    entries.sort(key=lambda each: (each[1].size, each[0]))
    right = 0
    missing: list[str] = []
    for path, entry in entries:
        if _is_here(path, entry, source):
            right += 1
        else:
            missing.append(path)
        if 2 * right > len(entries) or 2 * len(missing) >= len(entries):
            break
    return Agreement(2 * right > len(entries), tuple(missing), len(entries))


def _is_here(path: str, entry: Entry, source: Source) -> bool:
    try:
        if entry.kind is Kind.SYMLINK:
            return source.readlink(path) == entry.link
        stamp = source.stamp(path)
        if stamp.size != entry.size:
            return False
        if same_stamp(stamp, entry.stamp):
            return True
        if entry.digest is None:
            return stamp.mtime_ns == entry.mtime_ns
        return source.digest(path, stamp) == entry.digest
    except SourceError:
        return False
