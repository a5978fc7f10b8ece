"""What a scan did not show and may be there all the same: unknown is not deleted.

What may live here: reasons to doubt that what seems to be gone is gone, each found from what is
known anyway or by a second look, and only where something seems to be gone. Nothing here reads content.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from stat import S_ISDIR, S_ISLNK

from msgspec.structs import replace

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
_DEST = (
    "is DEST itself, or a copy of it, with this job's own folder in it; it is not sent, as each run would "
    "send what the last one has. Exclude it, or, if it is a copy, remove the .reconcile in it"
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


def holding_dest(old: DirectorySnapshot, found: Scan) -> list[Problem]:
    """Where DEST itself is in the source, mounted or on this machine: each run would send the last one's."""
    ours = f"/{RESERVED_NAME}/{old.lineage}"
    tops = [path.removesuffix(ours) for path in found.dirs if path.endswith(ours)]
    return [Problem(top, Stage.SCAN, Reason.LOOP, _DEST) for top in tops]


def lost_mounts(old: DirectorySnapshot, found: Scan, mounts: frozenset[str], chosen: Filter) -> list[Problem]:
    """Those of ``mounts``, which were mount points, that are plain and without their content now, or gone.

    As with another disk at SRC itself (``guard``), more than half of the names at their top must be gone:
    programs that write there make some of them anew. If they are there, it is the folders in it that may
    be lost. Some mount points are there only while they are used; one that is mounted under another
    name by now is not lost.
    """
    others = [path for path in found.mounts - mounts if path in found.dirs]
    lost: dict[str, Problem] = {}
    for path in sorted(mounts - found.mounts):
        if within(path, found.unknown) or within(path, lost) or chosen.excludes(path, True):
            continue
        if path not in found.dirs and lookup(found.dirs, path) is not None:
            continue  # something else took its place
        known = _known(old, path).keys()
        if any(2 * len(known & found.dirs[each].entries().keys()) >= len(known) for each in others):
            continue
        for folder in _emptied(old, found, path):
            top = next((each for each in [*ancestors(folder)][::-1] if each not in found.dirs), folder)
            lost[top] = Problem(top, Stage.SCAN, Reason.MISSING, _LOST)
    return list(lost.values())


def _emptied(old: DirectorySnapshot, found: Scan, top: str) -> Iterator[str]:
    """Where more than half of what a directory held is gone, or all of it, from ``top`` down."""
    waiting = [top]
    while waiting:
        path = waiting.pop()
        known = _known(old, path)
        here = found.dirs[path].entries() if path in found.dirs else {}
        if known and 2 * len(known.keys() & here.keys()) < len(known):
            yield path
            continue
        for name, entry in known.items():
            if entry.kind is Kind.DIR and (name not in here or here[name].kind is Kind.DIR):
                waiting.append(f"{path}/{name}")


def still_mounts(found: Scan, mounts: frozenset[str]) -> frozenset[str]:
    """The mount points to remember: those that were seen, and those of which nothing is known now."""
    unknown = found.unknown
    return found.mounts | {
        path for path in mounts if within(path, unknown) or any(within(each, {path}) for each in unknown)
    }


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
    anything, files = False, set[tuple[int, int, bool]]()
    for path in _lately(source, found, found.dirs):
        for name in _arrived(source, found.dirs[path], path, chosen):
            inside = f"{path}/{name}" if path else name
            if within(inside, found.unknown):
                continue
            info = source.look(inside)
            if info is not None:
                files.add((info.st_ino, info.st_size, S_ISLNK(info.st_mode)))
                anything |= S_ISDIR(info.st_mode)
    return [
        Problem(each.path, Stage.SCAN, Reason.CHANGED, _MOVED)
        for each in gone
        if anything or _is_among(each.old, files)
    ]


def _is_among(entry: Entry | None, files: Collection[tuple[int, int, bool]]) -> bool:
    """Whether what is gone may be one of ``files``: inode numbers, sizes, and whether they are links."""
    if entry is None or entry.kind is Kind.DIR:
        return False
    is_link = entry.kind is Kind.SYMLINK
    if entry.stamp is not None and entry.stamp.ino:
        return (entry.stamp.ino, entry.size, is_link) in files
    return any((size, kind) == (entry.size, is_link) for _, size, kind in files)


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


def _known(snapshot: DirectorySnapshot, path: str) -> dict[str, Entry]:
    """What a directory held that a run would delete."""
    directory = snapshot.dirs.get(path)
    entries = {} if directory is None else directory.entries()
    return {name: entry for name, entry in entries.items() if not (entry.retained or entry.excluded)}
