"""What DEST shows beside what it is known to hold. Pure.

A path is told once: what is missing with a directory, or lies in one that is not ours, is counted with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

from reconcile.core.model import UNSEEN, DirectorySnapshot, Entry, Kind, Seen
from reconcile.core.observe import Tags, matches
from reconcile.core.paths import parent


class Fault(StrEnum):
    """In what DEST is not as it was left."""

    MISSING = "missing"
    KIND = "kind"  # a directory in the place of a file, say
    CHANGED = "changed"  # a file shows another size or time
    CONTENT = "content"  # it shows the same, and holds something else
    LINK = "link"  # a link leads elsewhere
    MODE = "mode"
    UNSEEN = "unseen"  # it can't be looked at, or read
    FOREIGN = "foreign"  # it is not ours


class Finding(Struct, frozen=True):
    """One path that is not as it was left."""

    path: str
    fault: Fault
    entry: Entry | None = None  # what was left there
    seen: Seen | None = None  # what is there
    entries: int = 1  # with all that is in it


class Reading(Struct, frozen=True):
    """How much of what DEST holds is read back, to be compared by content."""

    share: float = 1.0  # of all files: the next ones, night by night
    seconds: float | None = None  # after which no more is read; None: however long it takes


class Checked(Struct, frozen=True):
    """What a look at DEST has shown."""

    findings: tuple[Finding, ...] = ()
    entries: int = 0  # that were to be there
    read: int = 0  # files of which the content was compared
    read_bytes: int = 0
    unread: int = 0  # files that are left for the next time
    strict: bool = False  # what is not ours counts, too

    @property
    def wrong(self) -> list[Finding]:
        """Those that count."""
        return [each for each in self.findings if self.strict or each.fault is not Fault.FOREIGN]


def compare(
    old: DirectorySnapshot,
    there: Mapping[str, Seen | None],
    tags: Tags,
    keeps_mode: Callable[[Kind], bool],
) -> Iterator[Finding]:
    """All of ``there`` that is not as ``old`` has it, sorted by path. ``tags`` is the remote.

    ``keeps_mode``: whether the modes of such entries were to be what they are known to be.
    """
    known = {path: entry for path, entry in old.walk() if not entry.foreign}
    lost: dict[str, int] = {}  # directories that are missing, and how much with them
    strange: dict[str, int] = {}  # what is not ours, likewise
    found: dict[str, Finding] = {}
    for path in sorted(known.keys() | there.keys()):
        entry, seen = known.get(path), there.get(path)
        if entry is None:
            if seen is not None:
                _count(path, strange)
        elif seen is None:
            if not entry.retained:  # which may be tidied up there
                _count(path, lost)
        elif (fault := _judge(entry, seen, tags, keeps_mode)) is not None:
            found[path] = Finding(path, fault, entry, seen)
    for path, count in lost.items():
        found[path] = Finding(path, Fault.MISSING, known[path], entries=count)
    for path, count in strange.items():
        found[path] = Finding(path, Fault.FOREIGN, seen=there[path], entries=count)
    yield from (found[path] for path in sorted(found))


def _count(path: str, tops: dict[str, int]) -> None:
    """Count ``path`` with the directory above it that is counted already, or for itself."""
    above = path
    while above:
        above = parent(above)
        if above in tops:
            tops[above] += 1
            return
    tops[path] = 1


def _judge(entry: Entry, seen: Seen, tags: Tags, keeps_mode: Callable[[Kind], bool]) -> Fault | None:
    if seen is UNSEEN:
        return Fault.UNSEEN
    if seen.kind is not entry.kind:
        return Fault.KIND
    if not matches(seen, entry, tags):
        return Fault.LINK if entry.kind is Kind.SYMLINK else Fault.CHANGED
    shows_mode = seen.mode is not None and entry.mode >= 0 and entry.kind is not Kind.SYMLINK
    return Fault.MODE if shows_mode and keeps_mode(entry.kind) and seen.mode != entry.mode else None
