"""What became of the actions → what is true now: ``new = fold(old, outcomes)``.

What may live here: that, and nothing of how it came to be. A scan is never saved
as it is: the snapshot says what the remote holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from msgspec.structs import replace

from reconcile.core.model import (
    PARKED,
    RETIRED,
    Directory,
    DirectorySnapshot,
    Entry,
    Kind,
    Op,
    Outcome,
    PlainDirectory,
)
from reconcile.core.paths import PathDict, parent

Pack: TypeAlias = Callable[[Mapping[str, Entry]], Directory]
REST_EVERY = 10_000  # outcomes
_MOVE, _DIR = Op.MOVE, Kind.DIR  # a member is twice as dear by way of its class
FUTURE_NS = 300_000_000_000  # past what is trusted: more than any clock's tick, and than servers are off


def fold(
    old: DirectorySnapshot,
    outcomes: Iterable[Outcome],
    restamped: Mapping[str, Entry | None],
    trusted_ns: int,
) -> DirectorySnapshot:
    """The snapshot that is true after ``outcomes``; ``old`` itself if nothing changed."""
    truth = Fold(old, restamped, trusted_ns)
    for outcome in outcomes:
        truth.follow(outcome)
    return truth.onto(old)


class Fold:
    """A snapshot that follows a run, outcome by outcome.

    A stamp younger than ``trusted_ns`` is dropped: the file may yet change within
    the tick of its clock, so its content is looked at again next time. ``pack``
    is for directories of which nothing more is likely to be told: they take less room.
    """

    def __init__(
        self,
        old: DirectorySnapshot,
        restamped: Mapping[str, Entry | None],
        trusted_ns: int,
        pack: Pack = PlainDirectory,
    ) -> None:
        self._tree = _Tree(old.dirs, pack)
        self._trusted_ns = trusted_ns
        self._followed = 0
        for path, entry in restamped.items():
            self._tree.put(path, _distrust(entry, trusted_ns))

    def follow(self, outcome: Outcome) -> None:
        """Take in what an outcome says."""
        tree, trusted_ns, action = self._tree, self._trusted_ns, outcome.action
        carried = action.carried
        moves = action.op is _MOVE
        if moves:
            _move(tree, outcome)
        if carried and not outcome.done:
            carried = {}
        if carried and moves and action.kind is Kind.DIR:
            for path, entry in carried.items():
                tree.put(path, _distrust(entry, trusted_ns))
            carried = {}
        for path, entry in outcome.effects.items():
            tree.put(path, _distrust(entry, trusted_ns))
        if carried:
            for path, entry in carried.items():  # in the place of what has left
                tree.put(path, entry)
        self._followed += 1
        if not self._followed % REST_EVERY:
            tree.rest()

    @property
    def dirs(self) -> Mapping[str, Directory]:
        """All directories as they are by now, those that are parked at their parking places."""
        return self._tree.all()

    def onto(self, old: DirectorySnapshot) -> DirectorySnapshot:
        """``old`` with what is true now; ``old`` itself if nothing changed."""
        dirs = self._tree.close()
        return old if dirs is None else replace(old, dirs=dirs)


def _move(tree: _Tree, outcome: Outcome) -> None:
    """Let the tree follow what was renamed on the remote with all that is in it."""
    action = outcome.action
    if action.comes_back:  # no snapshot knows what is in the trash: what is in a directory is ``carried``
        if outcome.done and action.kind is Kind.DIR:
            tree.put(action.path, action.new)
    elif action.source is not None:
        if outcome.done:
            tree.move(action.source, action.path)
        elif outcome.put_back and action.home is not None:
            tree.move(action.source, action.home)


def _distrust(entry: Entry | None, trusted_ns: int) -> Entry | None:
    if entry is None or entry.stamp is None:
        return entry
    mtime_ns, ctime_ns = entry.stamp.mtime_ns, entry.stamp.ctime_ns
    if max(mtime_ns, ctime_ns) <= trusted_ns:
        return entry
    if 0 < ctime_ns <= trusted_ns and mtime_ns > trusted_ns + FUTURE_NS:
        return entry  # set on purpose, long ago: who writes to it now brings it back to now
    return replace(entry, stamp=None)


class _Tree:
    """Snapshot directories under change: copied on the first write to each."""

    def __init__(self, dirs: Mapping[str, Directory], pack: Pack) -> None:
        self._pack = pack
        self._dirs = PathDict(dict(dirs))
        self._open: dict[str, dict[str, Entry]] = {}
        self._busy: set[str] = set()  # directories of which something was told since the last rest
        self._changed = False

    def put(self, path: str, entry: Entry | None) -> None:
        """Set or, with None, drop one path; a dropped directory takes all below along."""
        directory, _, name = path.rpartition("/")
        if (entry is None and directory not in self._dirs) or directory.startswith(RETIRED):
            return
        names = self._names(directory)
        before = names.get(name)
        if before is None and entry is not None and entry.kind is not _DIR:  # as of most
            names[name] = entry
            self._changed = True
            return
        if before == entry:
            return
        self._changed = True
        if before is not None and before.kind is Kind.DIR and (entry is None or entry.kind is not Kind.DIR):
            for key in self._dirs.cut(path):
                self._open.pop(key, None)
        if entry is None:
            del names[name]
            return
        names[name] = entry
        if entry.kind is Kind.DIR and path not in self._dirs:
            self._dirs[path] = PlainDirectory({})

    def move(self, source: str, path: str) -> None:
        """Take what is at ``source``, with everything below it, to ``path``, over what is there."""
        entry = self._names(parent(source)).pop(source.rpartition("/")[2])
        inside = {
            key[len(source) :]: PlainDirectory(self._open.pop(key)) if key in self._open else directory
            for key, directory in self._dirs.cut(source).items()
        }
        self._changed = True
        self.put(path, None)
        self._names(parent(path))[path.rpartition("/")[2]] = entry
        for rest, directory in inside.items():
            self._dirs[path + rest] = directory

    def rest(self) -> None:
        """Pack the directories of which nothing was told for a while."""
        for path in self._open.keys() - self._busy:
            self._dirs[path] = self._pack(self._open.pop(path))
        self._busy.clear()

    def close(self) -> Mapping[str, Directory] | None:
        """All directories, or None if nothing was changed. What is still parked is nobody's."""
        if not self._changed:
            return None
        if PARKED in self._dirs:
            for path in self._dirs.cut(PARKED):
                self._open.pop(path, None)
        return self.all()

    def all(self) -> Mapping[str, Directory]:
        """All directories as they are now."""
        return self._dirs | {path: PlainDirectory(names) for path, names in self._open.items()}

    def _names(self, directory: str) -> dict[str, Entry]:
        self._busy.add(directory)
        names = self._open.get(directory)
        if names is None:
            packed = self._dirs.setdefault(directory, PlainDirectory({}))
            names = self._open[directory] = dict(packed.entries())
        return names
