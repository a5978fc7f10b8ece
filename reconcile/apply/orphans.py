"""What DEST holds and SRC does not: told where DEST is adopted, and known from then on where that is wanted.

Whoever put it there: without a state what an earlier job of ours has left can't be told from others'.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.filters import Filter
from reconcile.core.model import (
    NS,
    PERMISSIONS,
    RESERVED_NAME,
    RESERVED_PREFIX,
    DirectorySnapshot,
    Entry,
    Kind,
    Problem,
    Reason,
    Scan,
    Seen,
    Stage,
)
from reconcile.core.observe import held
from reconcile.core.paths import ancestors, lookup, parent, within
from reconcile.core.units import show_some
from reconcile.remotes import Remote

_STAYS = "on the remote, and not here; it stays"


def find_orphans(
    there: Mapping[str, Seen | None], old: DirectorySnapshot, found: Scan, chosen: Filter
) -> dict[str, Seen]:
    """What of all that is ``there`` neither SRC has nor ``old`` knows, parents first.

    What a filter leaves out is none, with what holds it, nor what another job brings to a DEST in ours, nor
    what could not be looked at here, nor what is in the way of a file of ours: that makes room for it.
    """
    orphans: dict[str, Seen] = {}
    hidden, theirs = set(found.unknown), find_others(there, found)
    for path in sorted(there):
        seen = there[path]
        if seen is None or seen.kind is None or within(path, hidden):
            continue
        here = lookup(found.dirs, path)
        is_left_out = here is None and (chosen.excludes(path, seen.kind is Kind.DIR) or _is_reserved(path))
        if is_left_out or path in theirs:
            hidden.add(path)
            for above in ancestors(path):
                orphans.pop(above, None)
        elif here is not None:
            if here.kind is not Kind.DIR:
                hidden.add(path)
        elif lookup(old.dirs, path) is None:
            orphans[path] = seen
    return orphans


def find_others(there: Mapping[str, Seen | None], found: Scan) -> set[str]:
    """Folders in DEST that are the DEST of other jobs: by our folder in each, which SRC does not have."""
    return {
        parent(path)
        for path, seen in there.items()
        if path.endswith(f"/{RESERVED_NAME}") and seen is not None and lookup(found.dirs, path) is None
    }


def tell_others(folders: Collection[str]) -> Iterator[str]:
    """That they are let be."""
    if folders:
        yield (
            f"{show_some(sorted(folders))} on the remote: another job brings something there, as the "
            f"{RESERVED_NAME} in it shows; none of that is deleted as an orphan"
        )


def _is_reserved(path: str) -> bool:
    top = path.partition("/")[0]
    return top == RESERVED_NAME or top.startswith(RESERVED_PREFIX)


def know_orphans(orphans: Mapping[str, Seen], remote: Remote) -> dict[str, Entry]:
    """Their entries, as if they had been sent: what is gone here, a mirror deletes."""
    links = [path for path, seen in orphans.items() if seen.kind is Kind.SYMLINK]
    shown = {**orphans, **{path: seen for path, seen in remote.look(links) if seen is not None}}
    entries: dict[str, Entry] = {}
    for path, seen in shown.items():
        assert seen.kind is not None
        mode = PERMISSIONS if seen.mode is None else seen.mode
        entry = Entry(seen.kind, mode, seen.size, (seen.mtime or 0) * NS, link=seen.link)
        entries[path] = replace(held(entry, seen, remote), stamp=None)
    return entries


def note_orphans(orphans: Mapping[str, Seen]) -> list[Problem]:
    """A note for each, for a directory one with all that is in it."""
    count: dict[str, int] = {}
    for path in orphans:
        top = next(reversed([each for each in ancestors(path) if each in orphans]))
        count[top] = count.get(top, 0) + 1
    return [
        Problem(path, Stage.SCAN, Reason.ORPHAN, _STAYS if many == 1 else f"{_STAYS} ({many:,} entries)")
        for path, many in count.items()
    ]


def tell_orphans(notes: Sequence[Problem], orphans: Mapping[str, Seen]) -> Iterator[str]:
    """How much that is, and what deletes it."""
    if orphans:
        some = show_some([note.path for note in notes])
        yield (
            f"{len(orphans):,} entries on the remote are not here ({some}): they stay. To have them deleted "
            "there, run once with --mirror --adopt-orphans"
        )
