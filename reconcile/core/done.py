"""What a run has changed on the remote, path by path: found, and put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.model import Action, Change, DirectorySnapshot, Entry, Kind, Op
from reconcile.core.paths import join

_NONE: Mapping[str, Entry] = MappingProxyType({})


class Done(Struct, frozen=True):
    """What one run has changed on the remote, path by path."""

    serial: int  # of the snapshot that it saved
    run: str  # what its folder there was called
    began_ns: int
    changes: Sequence[Change] = ()  # from what was there before to what it left, sorted by path
    retired: Mapping[str, Entry] = _NONE  # what went to the trash from where it was not before: it had moved
    is_lost: bool = False  # it had no trash: what it changed was not noted


def find_changes(old: DirectorySnapshot, new: DirectorySnapshot) -> list[Change]:
    """What differs on the remote from one snapshot to the next, by path: what nobody there sees left out."""
    changes = []
    for path in old.dirs.keys() | new.dirs.keys():
        before, after = old.dirs.get(path), new.dirs.get(path)
        if before is after:
            continue
        olds = before.entries() if before is not None else {}
        news = after.entries() if after is not None else {}
        for name in olds.keys() | news.keys():
            was, is_now = olds.get(name), news.get(name)
            if not is_alike(was, is_now):
                changes.append(Change(join(path, name), plain(was), plain(is_now)))
    return sorted(changes, key=lambda change: change.path)


def find_retired(actions: Iterable[Action], changes: Iterable[Change]) -> dict[str, Entry]:
    """What ``actions`` bring to the trash from a path at which something else, or nothing, was before."""
    before = {change.path: change.old for change in changes}
    found: dict[str, Entry] = {}
    for action in actions:
        if action.old is None or action.op not in (Op.MODIFY, Op.MOVE, Op.DELETE):
            continue
        if not action.members and before.get(action.path) is action.old:
            continue  # as nearly always
        for path, entry in ((action.path, action.old), *_members(action)):
            if entry.kind is not Kind.DIR and not is_alike(before.get(path), entry):
                found.setdefault(path, entry)
    return found


def _members(action: Action) -> Iterator[tuple[str, Entry]]:
    return ((join(action.path, name), entry) for name, entry in action.members)


def merge(runs: Sequence[Done]) -> list[Change]:
    """What several runs have changed, the earliest first."""
    found: dict[str, Change] = {}
    for run in runs:
        for change in run.changes:
            before = found.get(change.path, change)
            found[change.path] = Change(change.path, before.old, change.new)
    return sorted(
        (each for each in found.values() if not is_alike(each.old, each.new)), key=lambda each: each.path
    )


def is_alike(one: Entry | None, other: Entry | None) -> bool:
    """Whether the remote shows the same, as far as two entries tell."""
    if one is other:
        return True
    if one is None or other is None or one.kind is not other.kind:
        return False
    if one.kind is Kind.SYMLINK:
        return one.link == other.link
    if one.mode != other.mode and one.wished_mode != other.wished_mode:
        return False
    if one.kind is Kind.DIR:
        return True
    if None not in (one.digest, other.digest) and one.digest != other.digest:
        return False
    return (one.size, one.mtime, one.foreign) == (other.size, other.mtime, other.foreign)


def plain(entry: Entry | None) -> Entry | None:
    """An entry as one that is there and that SRC may have: a mirror has deleted it, say."""
    if entry is None or not (entry.retained or entry.excluded):
        return entry
    return replace(entry, retained=False, excluded=False)
