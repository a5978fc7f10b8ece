"""Two snapshots in, changes out. Pure.

``diff`` finds every path that is not provably the same, ``infer`` and ``unread``
decide what must be read to know more.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

from msgspec.structs import replace

from reconcile.core.filters import Filter
from reconcile.core.job import Options
from reconcile.core.model import Change, Directory, DirectorySnapshot, Entry, Kind, Scan, Stamp
from reconcile.core.paths import join, lookup, within
from reconcile.core.settings import fingerprint


def same_stamp(one: Stamp | None, other: Stamp | None) -> bool:
    """Whether two stamps vouch for the same content.

    An inode or ctime of 0 was left out on purpose and is not compared.
    """
    if one is None or other is None:
        return False
    return (
        one.size == other.size
        and one.mtime_ns == other.mtime_ns
        and (one.ctime_ns == other.ctime_ns or not one.ctime_ns or not other.ctime_ns)
        and (one.ino == other.ino or not one.ino or not other.ino)
    )


def same_content(old: Entry | None, new: Entry | None) -> bool:
    """Whether ``new`` is known to have the content that the remote already holds.

    Digests decide; stamps only spare the reading.
    """
    if old is None or new is None or old.kind is not new.kind or old.foreign:
        return False
    if old.kind is Kind.DIR:
        return True
    if old.kind is Kind.SYMLINK:
        return new.link is not None and old.link == new.link
    if old.digest is None:  # adopted by size and mtime, and no more is known of it
        return old.size == new.size and old.mtime_ns == new.mtime_ns
    if new.digest is not None:
        return old.digest == new.digest
    return same_stamp(old.stamp, new.stamp)


def same_meta(old: Entry, new: Entry, options: Options) -> bool:
    """Whether mode and mtime, as far as they are kept, need no change on the remote."""
    if old.kind is Kind.SYMLINK:
        return True
    if options.keeps_mode(old.kind) and old.wished_mode != new.mode:
        return False
    return old.kind is Kind.DIR or not options.keep_times or old.mtime == new.mtime


def diff(old: DirectorySnapshot, scan: Scan, filter: Filter, options: Options) -> list[Change]:
    """Every path that is not provably the same, sorted by path.

    A directory whose packed stamps are equal is never decoded. What a filter
    hides and what the scan could not see is not a change. An entry that a filter
    newly hides comes as a change whose ``new`` is flagged excluded.
    """
    shortcut = old.settled == fingerprint(options, filter) and not options.rehash
    changes: list[Change] = []
    for path in old.dirs.keys() | scan.dirs.keys():
        known, found = old.dirs.get(path), scan.dirs.get(path)
        if shortcut and known is not None and found is not None and _is_same(known, found, options):
            continue
        if scan.unknown and within(path, scan.unknown):
            continue
        if found is None and shortcut and _is_settled(lookup(old.dirs, path), options):
            continue
        changes += _diff_directory(path, known, found, scan, filter, options)
        if known is None and found is not None:
            found.forget()  # all of it is in the changes, of a first run a million
    changes.sort(key=lambda change: change.path)
    return changes


def _is_same(known: Directory, found: Directory, options: Options) -> bool:
    """Whether nothing changed in a directory since it was looked at under the same options.

    Of what its bytes do not show, a mirror still has to delete what is retained, and what had
    no stamp may be gone.
    """
    return known.raw == found.raw and not (known.hidden and (options.mirror or known.unsettled))


def _is_settled(entry: Entry | None, options: Options) -> bool:
    if entry is not None and entry.excluded:
        return not options.delete_excluded
    return entry is not None and entry.retained and not options.mirror


def _diff_directory(
    path: str, known: Directory | None, found: Directory | None, scan: Scan, filter: Filter, options: Options
) -> Iterator[Change]:
    olds = known.entries() if known is not None else {}
    news = found.entries() if found is not None else {}
    for name in olds.keys() | news.keys():
        inside = join(path, name)
        old, new = olds.get(name), news.get(name)
        if inside in scan.unknown:
            continue
        if old is None:
            yield Change(inside, None, new)
        elif new is None and _is_hidden(inside, old, filter, options):
            if not old.excluded:
                yield Change(inside, old, replace(old, excluded=True))
        elif new is None:
            if old.excluded or not old.retained or options.mirror:
                yield Change(inside, replace(old, excluded=False) if old.excluded else old, None)
        elif not _provably_same(old, new, options):
            yield Change(inside, old, new)


def _is_hidden(path: str, old: Entry, filter: Filter, options: Options) -> bool:
    """Whether what a scan did not find is left out, and stays where it is."""
    return not (filter.empty or options.delete_excluded) and filter.excludes(path, old.kind is Kind.DIR)


def _provably_same(old: Entry, new: Entry, options: Options) -> bool:
    if old.kind is not new.kind or old.retained or old.excluded or old.foreign:
        return False
    if not same_meta(old, new, options):
        return False
    if old.kind is Kind.DIR:
        return True
    if options.rehash and old.kind is Kind.FILE:
        return False
    return old.stamp is not None and old.stamp == new.stamp


def movable(entry: Entry | None) -> bool:
    """Whether what the remote holds there may serve as the source of a move."""
    return entry is not None and not (entry.retained or entry.excluded or entry.foreign)


def infer(changes: Iterable[Change], options: Options) -> list[Change]:
    """Fill in digests and link targets that stamps vouch for, without reading.

    The proof of a moved file without its digest is the same inode with the very
    same ctime, mtime and size: ctime can't be forged, and renaming a directory
    leaves its children's alone.
    """
    changes = list(changes)
    vanished = {
        _identity(change.old.stamp): change.old for change in changes if change.old and movable(change.old)
    }
    vanished.pop(None, None)
    if not vanished and all(change.old is None for change in changes):
        return changes  # all is new, as the first time
    return [_infer(change, vanished, options) for change in changes]


def _identity(stamp: Stamp | None) -> tuple[int, int, int, int] | None:
    if stamp is None or not stamp.ino or not stamp.ctime_ns:
        return None
    return (stamp.ino, stamp.ctime_ns, stamp.mtime_ns, stamp.size)


def _infer(
    change: Change, vanished: Mapping[tuple[int, int, int, int] | None, Entry], options: Options
) -> Change:
    old, new = change.old, change.new
    if new is None or new.excluded or new.kind is Kind.DIR or (options.rehash and new.kind is Kind.FILE):
        return change
    if old is not None and old.kind is new.kind and not old.foreign and same_stamp(old.stamp, new.stamp):
        return replace(change, new=replace(new, digest=old.digest, link=old.link))
    source = vanished.get(_identity(new.stamp))
    if source is not None and source.kind is new.kind:
        return replace(change, new=replace(new, digest=source.digest, link=source.link))
    return change


def unread(changes: Iterable[Change], *, all_of_it: bool = False) -> list[tuple[str, Entry]]:
    """The local files and links that must be read before the plan can be made.

    A file is hashed if only its stamp changed, or if it could be a file that
    vanished elsewhere (same size), or is to be deleted there: that waits for it, then.
    All others are hashed while they are sent, unless it is to be known beforehand what ``all_of_it`` holds.
    """
    changes = list(changes)
    sizes = {
        change.old.size
        for change in changes
        if change.old is not None
        and change.old.digest is not None
        and (movable(change.old) or (change.old.retained and change.new is None))
        and not same_content(change.old, change.new)
    }
    return [
        (change.path, change.new)
        for change in changes
        if change.new is not None and (all_of_it or _matters(change, sizes)) and _is_unknown(change)
    ]


def _is_unknown(change: Change) -> bool:
    """Whether nobody has read yet what it shall hold."""
    new = change.new
    if new is None or new.excluded:
        return False
    if new.kind is Kind.SYMLINK:
        return new.link is None
    return new.kind is Kind.FILE and new.digest is None and not same_content(change.old, new)


def _matters(change: Change, sizes: Container[int]) -> bool:
    """Whether the plan depends on that."""
    old, new = change.old, change.new
    assert new is not None
    if new.kind is not Kind.FILE:
        return True
    if old is not None and old.kind is Kind.FILE and old.digest is not None and old.size == new.size:
        return True
    return new.size in sizes


def fill(changes: Iterable[Change], contents: Mapping[str, Entry], failed: Container[str]) -> list[Change]:
    """Put in what was read; a path that could not be read is no longer a change."""
    return [
        replace(change, new=contents.get(change.path, change.new)) if change.path in contents else change
        for change in changes
        if change.path not in failed
    ]
