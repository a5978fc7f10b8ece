"""What a scan did not show and may be there all the same: unknown is not deleted.

What may live here: reasons to doubt that what seems to be gone is gone, each found from what is
known anyway or by a second look, and only where something seems to be gone. Nothing here reads content.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from stat import S_ISDIR

from reconcile.core.filters import Filter
from reconcile.core.model import (
    RESERVED_NAME,
    RESERVED_PREFIX,
    Change,
    Directory,
    DirectorySnapshot,
    Entry,
    Kind,
    Problem,
    Reason,
    Scan,
    Stage,
)
from reconcile.core.paths import ancestors, lookup, parent, within
from reconcile.source.files import Source

_LOST = (
    "was a mount point, or held one, and what was in it is not there now; what DEST holds of it stays. "
    "Mount it, or run once with --allow-mass-delete if that is how it should be"
)
_MOVED = (
    "is not there any more, and something new came while the source was looked at: it may have been moved; "
    "what DEST holds of it stays until the next run has looked again"
)


def leave_alone(found: Scan, doubts: Sequence[Problem]) -> Scan:
    """The scan with the paths of ``doubts`` among what is unknown."""
    if not doubts:
        return found
    return replace(
        found,
        problems=(*found.problems, *doubts),
        unknown=found.unknown | {doubt.path for doubt in doubts},
    )


def lost_mounts(old: DirectorySnapshot, found: Scan, mounts: frozenset[str], chosen: Filter) -> list[Problem]:
    """Those of ``mounts``, which were mount points, that are plain and without their content now, or gone.

    As with another disk at SRC itself (``guard``), more than half of the names at their top must be gone:
    programs that write there make some of them anew. Some mount points are there only while they
    are used; one that is mounted under another name by now is not lost.
    """
    others = [path for path in found.mounts - mounts if path in found.dirs]
    lost: dict[str, Problem] = {}
    for path in sorted(mounts - found.mounts):
        if within(path, found.unknown) or within(path, lost) or chosen.excludes(path, True):
            continue
        if path not in found.dirs and lookup(found.dirs, path) is not None:
            continue  # something else took its place
        known = {name for name, entry in _entries(old, path) if not (entry.retained or entry.excluded)}
        here = (found.dirs[each].entries().keys() for each in (path, *others) if each in found.dirs)
        if known and not any(2 * len(known & names) >= len(known) for names in here):
            top = next((each for each in [*ancestors(path)][::-1] if each not in found.dirs), path)
            lost[top] = Problem(top, Stage.SCAN, Reason.MISSING, _LOST)
    return list(lost.values())


def still_mounts(found: Scan, mounts: frozenset[str]) -> frozenset[str]:
    """The mount points to remember: those that were seen, and those of which nothing is known now."""
    return found.mounts | {path for path in mounts if within(path, found.unknown)}


def moved_meanwhile(changes: Sequence[Change], found: Scan, chosen: Filter, source: Source) -> list[Problem]:
    """What is gone from a folder that changed lately, if it may be in another that changed lately, too.

    A walk sees neither end of a move from where it has yet to look to where it has looked. Such a move
    leaves its time on both folders, so that most runs look at nothing here, and the others list again
    what is that new. A file is known by its inode again; in a new folder may be anything.

    ``RACE:`` what is moved over a file that stood there is not seen. Worst case: its old name is deleted on
    the remote, and the next run sends it under its new one.
    """
    gone = [each for each in changes if each.new is None and parent(each.path) in found.dirs]
    lately = _lately(source, found, {parent(each.path) for each in gone})
    gone = [each for each in gone if parent(each.path) in lately]
    if not gone:
        return []
    anything, files = False, set[tuple[int, int]]()
    for path in _lately(source, found, found.dirs):
        for name in _arrived(source, found.dirs[path], path, chosen):
            inside = f"{path}/{name}" if path else name
            if within(inside, found.unknown):
                continue
            info = source.look(inside)
            if info is not None:
                files.add((info.st_ino, info.st_size))
                anything |= S_ISDIR(info.st_mode)
    return [
        Problem(each.path, Stage.SCAN, Reason.CHANGED, _MOVED)
        for each in gone
        if anything or _is_among(each.old, files)
    ]


def _is_among(entry: Entry | None, files: Collection[tuple[int, int]]) -> bool:
    """Whether a file that is gone may be one of ``files``, which are inode numbers and sizes."""
    if entry is None or entry.kind is Kind.DIR:
        return False
    if entry.stamp is not None and entry.stamp.ino:
        return (entry.stamp.ino, entry.size) in files
    return any(size == entry.size for _, size in files)


def _lately(source: Source, found: Scan, paths: Collection[str]) -> list[str]:
    """Directories in which names came or went since shortly before the scan."""
    since = found.started_ns - found.grace_ns
    lately = []
    for path in paths:
        info = source.look(path)
        if info is None or max(info.st_mtime_ns, info.st_ctime_ns) >= since:
            lately.append(path)
    return lately


def _arrived(source: Source, before: Directory, path: str, chosen: Filter) -> Iterator[str]:
    """The names in a directory that the scan did not see there."""
    known = before.entries()
    for name in source.names(path):
        if name in known or (not path and (name == RESERVED_NAME or name.startswith(RESERVED_PREFIX))):
            continue
        inside = f"{path}/{name}" if path else name
        if not chosen.excludes(inside, False) and not chosen.excludes(inside, True):
            yield name


def _entries(snapshot: DirectorySnapshot, path: str) -> Iterator[tuple[str, Entry]]:
    directory = snapshot.dirs.get(path)
    if directory is not None:
        yield from directory.entries().items()
