"""A snapshot for other machines, and what of one's own still holds for theirs. Pure.

A stamp says which file here has the content that an entry claims. It means nothing elsewhere: numbers of
inodes and times of changes are of one file system.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from reconcile.core.model import Directory, DirectorySnapshot, Entry, PlainDirectory


def without_stamps(snapshot: DirectorySnapshot) -> DirectorySnapshot:
    """What DEST holds, and nothing of the files here that it came from."""
    dirs = {path: _bare(directory) for path, directory in snapshot.dirs.items()}
    return replace(snapshot, dirs=dirs)


def with_stamps_of(snapshot: DirectorySnapshot, known: DirectorySnapshot) -> DirectorySnapshot:
    """The same with the stamps that ``known`` has of entries that are equal but for that, to the second."""
    dirs: dict[str, Directory] = dict(snapshot.dirs)
    for path in snapshot.dirs.keys() & known.dirs.keys():
        stamped = known.dirs[path].entries()
        dirs[path] = PlainDirectory(
            {
                name: _as_known(entry, stamped.get(name))
                for name, entry in snapshot.dirs[path].entries().items()
            }
        )
    return replace(snapshot, dirs=dirs)


def _bare(directory: Directory) -> Directory:
    entries: Mapping[str, Entry] = directory.entries()
    bare = {
        name: entry if entry.stamp is None else replace(entry, stamp=None) for name, entry in entries.items()
    }
    directory.forget()
    return PlainDirectory(bare)


def _as_known(entry: Entry, known: Entry | None) -> Entry:
    if known is None or known.stamp is None or entry.stamp is not None or known.mtime != entry.mtime:
        return entry
    is_same = replace(known, stamp=None, mtime_ns=entry.mtime_ns) == entry
    return replace(entry, stamp=known.stamp) if is_same else entry
