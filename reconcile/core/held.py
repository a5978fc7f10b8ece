"""What ``undo`` has taken back stays so, as long as nobody changes it here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.diff import same_content, same_meta
from reconcile.core.filters import Filter
from reconcile.core.job import Options
from reconcile.core.model import Change, DirectorySnapshot, Entry, Kind, Scan
from reconcile.core.paths import ancestors, lookup, parent, within


def unread(changes: Sequence[Change], held: Mapping[str, Entry | None]) -> list[tuple[str, Entry]]:
    """What has to be read to tell whether it is still what SRC had when that was undone."""
    return [
        (change.path, change.new)
        for change in changes
        if change.new is not None
        and not change.new.excluded
        and (was := held.get(change.path)) is not None
        and was.kind is change.new.kind
        and was.kind is not Kind.DIR
        and (was.kind is Kind.SYMLINK or was.size == change.new.size)
        and not same_content(_own(was), change.new)
    ]


def leave_held(
    changes: Sequence[Change], held: Mapping[str, Entry | None], options: Options
) -> tuple[list[Change], list[str], frozenset[str]]:
    """The changes that are to be made, the paths of those that stay as they are, and those ``held`` no more.

    A directory that something is to come into is made, whatever was held; one that is gone here stays for
    what is held in it; and where a file comes in its place, nothing is.
    """
    stays = {change.path for change in changes if change.path in held and _is_same(change, held, options)}
    gone = {c.path: c.new for c in changes if _is_folder(c.old) and not _is_folder(c.new)}
    for path in [change.path for change in changes if change.path in stays and change.new is None]:
        above = [top for top in ancestors(parent(path)) if top in gone and top not in stays]
        if any(gone[top] is not None for top in above):
            stays.discard(path)
        else:
            stays.update(above)
    missing = {change.path for change in changes if change.old is None or change.old.kind is not Kind.DIR}
    needed = {
        top
        for change in changes
        if change.path not in stays and change.new is not None
        for top in ancestors(parent(change.path))
    }
    stays -= needed & missing
    made = [change for change in changes if change.path not in stays]
    released = {change.path for change in made if not (change.new is not None and change.new.excluded)}
    return made, sorted(stays), frozenset(released & held.keys())


def find_settled(
    held: Mapping[str, Entry | None], old: DirectorySnapshot, scan: Scan, filter: Filter, options: Options
) -> frozenset[str]:
    """Of the paths ``held`` at which SRC has what the remote has, those where it had something else: it has
    changed since. What can't be seen has not."""
    return frozenset(
        path
        for path, was in held.items()
        if not within(path, scan.unknown)
        and (not options.only or within(path, options.only))
        and _has_changed(path, was, lookup(old.dirs, path), lookup(scan.dirs, path), filter, options)
    )


def _has_changed(
    path: str, was: Entry | None, old: Entry | None, new: Entry | None, filter: Filter, options: Options
) -> bool:
    if new is None:
        is_hidden = was is None or any(filter.excludes(top, True) for top in ancestors(parent(path)))
        return not is_hidden and was is not None and not filter.excludes(path, was.kind is Kind.DIR)
    if was is None or was.kind is not new.kind:
        return True
    return not (_is_alike_there(was, old) and same_meta(was, new, options))


def _is_alike_there(was: Entry, old: Entry | None) -> bool:
    if old is None or was.kind is not old.kind:
        return False
    return (was.digest, was.link) == (old.digest, old.link)


def _is_folder(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.DIR


def _is_same(change: Change, held: Mapping[str, Entry | None], options: Options) -> bool:
    """Whether SRC has what it had, as far as that is to be on the remote."""
    was, new = held[change.path], change.new
    if was is None or new is None:
        return was is new
    if new.excluded or not same_content(_own(was), new):
        return False
    return same_meta(was, new, options) or _has_its_meta(was, new)


def _has_its_meta(was: Entry, new: Entry) -> bool:
    """Whether mode and time here are what they were: what differs is what is sent of them."""
    one, other = was.stamp, new.stamp
    if one is None or other is None:
        return False
    return (one.mode, one.mtime_ns) == (other.mode, other.mtime_ns)


def _own(entry: Entry) -> Entry:
    return replace(entry, foreign=False)
