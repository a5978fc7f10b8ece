"""A remote in memory and a local tree in memory, for properties of the pure core.

``MemoryRemote`` is strict: it refuses what a file system would refuse (a missing
parent, an occupied target, a directory that is not empty), so that a plan in a
wrong order fails here and not only on a server.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.model import (
    NS,
    PARKED,
    Action,
    Brought,
    Caps,
    Directory,
    Entry,
    Footing,
    Kind,
    Op,
    Outcome,
    PlainDirectory,
    Plan,
    Problem,
    Range,
    Reason,
    Scan,
    Seen,
    Stage,
    Stamp,
    Stats,
)
from reconcile.core.paths import is_ours, join, parent
from reconcile.remotes import NO_ENTRIES, NOTHING, Lease
from tests.support.tags import OpaqueTags, tag_for


class Node(Struct, frozen=True):
    """Something in a tree. ``content`` of a symlink is its target."""

    kind: Kind
    content: str = ""
    mode: int = 0o644
    mtime: int = 1
    ino: int = 0
    ctime: int = 0


Tree = dict[str, Node]


def visible(tree: Mapping[str, Node], skip: Iterable[str] = ()) -> dict[str, tuple[Kind, str, int, int]]:
    """What has to be equal on both sides: kind, content, mode; mtime of files."""
    return {
        path: (
            node.kind,
            node.content,
            0 if node.kind is Kind.SYMLINK else node.mode,
            node.mtime if node.kind is Kind.FILE else 0,
        )
        for path, node in tree.items()
        if path not in skip
    }


def digest(content: str) -> bytes:
    """Stands for xxh3-128."""
    return hashlib.blake2b(content.encode(), digest_size=16).digest()


@dataclass(frozen=True)
class ScannedDirectory:
    """A directory whose raw bytes are the repr of its rows, as the real codec's are their packing."""

    names: Mapping[str, Entry]

    @property
    def raw(self) -> bytes:
        return repr([(name, e.kind, e.mode, e.stamp) for name, e in sorted(self.names.items())]).encode()

    @property
    def hidden(self) -> bool:
        return any(_is_hidden(entry) for entry in self.names.values())

    @property
    def retained(self) -> int:
        return PlainDirectory(self.names).retained

    @property
    def unsettled(self) -> bool:
        return any(_is_hidden(e) and not (e.retained or e.excluded) for e in self.names.values())

    def entries(self) -> Mapping[str, Entry]:
        return dict(sorted(self.names.items()))

    def forget(self) -> None:
        pass


@dataclass(frozen=True)
class SavedDirectory(ScannedDirectory):
    """A directory of a snapshot: hidden entries are not in its raw bytes."""

    @property
    def raw(self) -> bytes:
        return ScannedDirectory({n: e for n, e in self.names.items() if not _is_hidden(e)}).raw


def _is_hidden(entry: Entry) -> bool:
    unstamped = entry.kind is not Kind.DIR and entry.stamp is None
    return entry.retained or entry.excluded or entry.foreign or unstamped


def pack(dirs: Mapping[str, Directory]) -> dict[str, Directory]:
    """What saving and loading a snapshot does to its directories."""
    return {path: SavedDirectory(directory.entries()) for path, directory in dirs.items()}


@dataclass
class LocalTree:
    """A folder with inodes and a clock; every edit takes a second."""

    nodes: Tree = field(default_factory=dict)
    clock: int = 1000
    next_ino: int = 1

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def fresh(self, kind: Kind, content: str = "", mode: int = 0o644) -> Node:
        self.next_ino += 1
        now = self.tick()
        return Node(kind, content, mode, now, self.next_ino, now)

    def put(self, path: str, kind: Kind, content: str = "", mode: int = 0o644) -> None:
        """Write a file or link, or make a directory, over whatever is there; parents are made."""
        above = parent(path)
        if above and (above not in self.nodes or self.nodes[above].kind is not Kind.DIR):
            self.put(above, Kind.DIR, mode=0o755)
        here = self.nodes.get(path)
        if here is not None and here.kind is Kind.DIR:
            if kind is Kind.DIR:
                return
            self.remove(path)
        elif here is not None and here.kind is kind is Kind.FILE:
            now = self.tick()
            self.nodes[path] = replace(here, content=content, mtime=now, ctime=now)
            return
        self.nodes[path] = self.fresh(kind, content, mode)

    def chmod(self, path: str, mode: int) -> None:
        self.nodes[path] = replace(self.nodes[path], mode=mode, ctime=self.tick())

    def touch(self, path: str) -> None:
        now = self.tick()
        self.nodes[path] = replace(self.nodes[path], mtime=now, ctime=now)

    def remove(self, path: str) -> None:
        for inside in [p for p in self.nodes if p == path or p.startswith(f"{path}/")]:
            del self.nodes[inside]

    def rename(self, source: str, path: str) -> None:
        """As ``mv -T`` after clearing the target."""
        if path == source or path.startswith(f"{source}/") or source not in self.nodes:
            return
        moved = {p: n for p, n in self.nodes.items() if p == source or p.startswith(f"{source}/")}
        if source.startswith(f"{path}/") or path in self.nodes:
            self.remove(path)
        for inside in moved:
            self.nodes.pop(inside, None)
        above = parent(path)
        if above and (above not in self.nodes or self.nodes[above].kind is not Kind.DIR):
            self.put(above, Kind.DIR, mode=0o755)
        for inside, node in moved.items():
            self.nodes[path + inside[len(source) :]] = node
        self.nodes[path] = replace(self.nodes[path], ctime=self.tick())

    def scan(self, hidden: Iterable[str] = (), unknown: Iterable[str] = ()) -> Scan:
        """What a scan would find. ``hidden`` paths are excluded, ``unknown`` ones unreadable."""
        hidden, unknown = set(hidden), frozenset(unknown)
        dirs: dict[str, dict[str, Entry]] = {"": {}}
        for path in sorted(self.nodes):
            node, above = self.nodes[path], parent(path)
            if path in hidden or above not in dirs or above in unknown:
                continue
            stamp = Stamp(node.ino, len(node.content), node.mtime * NS, node.ctime * NS, node.mode)
            if node.kind is Kind.DIR:
                dirs[path] = {}
                entry = Entry(Kind.DIR, node.mode)
            else:
                entry = Entry(node.kind, node.mode, stamp.size, stamp.mtime_ns, stamp=stamp)
            dirs[above][path.rpartition("/")[2]] = entry
        for path in unknown:
            dirs.pop(path, None)
        now = (self.clock + 100) * NS
        return Scan({p: ScannedDirectory(names) for p, names in dirs.items()}, now, NS, unknown=unknown)

    def read(self, wanted: Iterable[tuple[str, Entry]]) -> dict[str, Entry]:
        """What reading the contents would give."""
        filled = {}
        for path, entry in wanted:
            content = self.nodes[path].content
            if entry.kind is Kind.SYMLINK:
                filled[path] = replace(entry, link=content)
            else:
                filled[path] = replace(entry, digest=digest(content))
        return filled


class Refusal(Exception):
    """The file system says no."""


@dataclass
class MemoryStore:
    """Names with their values, and when each was made, by a clock that goes on with every claim."""

    values: dict[str, bytes | None] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    clock: int = 0

    def get(self, name: str) -> bytes | None:
        return self.values.get(name)

    def put_new(self, name: str, value: bytes) -> bool:
        if not self.claim(name):
            return False
        self.values[name] = value
        return True

    def claim(self, name: str) -> bool:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ValueError(f"no name for the store: {name!r}")
        self.clock += 1
        if name in self.values:
            return False
        self.values[name], self.made[name] = None, self.clock
        return True

    def names(self) -> list[str]:
        return sorted(self.values)

    def age(self, name: str) -> int | None:
        return self.clock - self.made[name] if name in self.values else None

    def renew(self, name: str) -> bool:
        if name in self.values:
            self.made[name] = self.clock
        return name in self.values

    def drop(self, name: str) -> bool:
        self.values.pop(name, None)
        return self.made.pop(name, None) is not None

    def drop_all(self, names: Iterable[str]) -> None:
        for name in names:
            self.drop(name)


@dataclass
class MemoryRemote(OpaqueTags):
    """A strict remote. ``failing`` are paths whose actions fail, ``performed`` is what was done."""

    tree: Tree
    local: LocalTree
    failing: frozenset[str] = frozenset()
    performed: list[Action] = field(default_factory=list)
    busy: bool = False  # with a level, whose outcomes have not all been told
    caps: Caps = Caps(replace=True)
    stats: Stats = Stats()
    marks: tuple[str, ...] = ()
    base: str = ""
    workdir: str = ""
    store: MemoryStore = field(default_factory=MemoryStore)

    @property
    def parked(self) -> Tree:
        """What is in a parking place, or in a directory in one."""
        return {path: node for path, node in self.tree.items() if is_ours(path)}

    def begin(
        self,
        footing: Footing,
        run: str,  # noqa: ARG002 — the protocol's
        plan: Plan = NOTHING,  # noqa: ARG002 — the protocol's
        *,
        resume: bool = False,  # noqa: ARG002 — the protocol's
        before: Iterable[Action] = (),  # noqa: ARG002 — the protocol's
    ) -> None:
        """Nothing to prepare but the mark."""
        self.marks = (footing.fresh or footing.marks[0],)

    def check(self, footing: Footing, *, resume: bool = False) -> None:
        """Nobody else writes here."""

    def is_torn(self) -> bool:
        return bool(self.parked)

    def mind(self, lease: Lease) -> None:
        """Nothing takes any time here."""

    def fence(self, lineage: str) -> None:
        """Nothing comes late."""

    def rescue(self, actions: Sequence[Action]) -> Iterator[Outcome]:  # noqa: ARG002 - the protocol's
        """Nothing is ever staged."""
        return iter(())

    def room(self) -> None:
        """As much as there is."""

    def stage(
        self,
        actions: Sequence[Action],
        source: object = None,  # noqa: ARG002 — the protocol's
        stop: object = None,  # noqa: ARG002 — the protocol's
        known: Mapping[str, Entry] = NO_ENTRIES,  # noqa: ARG002 — the protocol's
        leaving: Container[str] = (),  # noqa: ARG002 — the protocol's
    ) -> Iterator[Brought | Outcome]:
        """What is to fail later fails here, too."""
        for action in actions:
            assert action.new is not None
            if action.path in self.failing:
                yield Outcome(action, problem=Problem(action.path, Stage.APPLY, Reason.FAILED, "refused"))
            else:
                yield Brought(action, action.new)

    def perform(
        self,
        actions: Sequence[Action],
        source: object = None,  # noqa: ARG002 — the protocol's; contents come from ``local``
        stop: object = None,  # noqa: ARG002 — the protocol's
    ) -> Iterator[Outcome]:
        """One level; later actions go first, as they are said to be independent: but for directories."""
        self.busy = True
        yield from self._perform(actions)
        self.busy = False

    def _perform(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        making = [action for action in actions if action.op is Op.MKDIR]
        for action in [*(action for action in reversed(actions) if action.op is not Op.MKDIR), *making]:
            try:
                self._fail_if_told(action)
                effects = self._do(action)
            except Refusal as refusal:
                problem = Problem(action.path, Stage.APPLY, Reason.FAILED, str(refusal))
                yield Outcome(action, problem=problem)
            else:
                self.performed.append(action)
                yield Outcome(action, effects=effects)

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        for path in paths:
            node = self.tree.get(path)
            yield path, None if node is None else _stat(node)

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        for path, node in sorted(self.tree.items()):
            if not top or path.startswith(f"{top}/"):
                yield path, _stat(node)

    def recognise(
        self,
        files: Sequence[tuple[str, Entry, Seen]],  # noqa: ARG002 - the protocol's; all is read back
        source: object,  # noqa: ARG002 - the protocol's
    ) -> Iterator[tuple[str, bool]]:
        return iter(())

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        for path, start, length in ranges:
            content = self.tree[path].content.encode()[start : start + length]
            yield path, content if len(content) == length else None

    def set_aside(self) -> None:
        """What is still parked as a run ends found no place; no later run looks at it."""
        for path in self.parked:
            del self.tree[path]

    def end(self, mark: str = "") -> Iterator[Problem]:
        self.set_aside()
        self.marks = (mark or self.marks[0],)
        return iter(())

    def close(self) -> None:
        """Nothing to close."""

    def _do(self, action: Action) -> dict[str, Entry | None]:
        path, new = action.path, action.new
        match action.op:
            case Op.MKDIR:
                self._need_parent(path)
                self._need_free(path)
                assert new is not None
                made = replace(new, mode=new.mode | 0o700)
                self.tree[path] = Node(Kind.DIR, mode=made.mode)
                return {path: made}
            case Op.CREATE | Op.MODIFY:
                return {path: self._upload(action)}
            case Op.SETMETA:
                self._expect(path, action.old)
                assert new is not None
                node = self.tree[path]
                mtime = node.mtime if node.kind is Kind.DIR else new.mtime
                self.tree[path] = replace(node, mode=new.mode, mtime=mtime)
                return {path: new if new.kind is Kind.DIR else self._noted(new, mtime)}
            case Op.DELETE:
                return self._delete(action)
            case Op.MOVE:
                return self._move(action)

    def _noted(self, new: Entry, mtime: int) -> Entry:
        return replace(new, tag=self.noted(tag_for(new.size, mtime), new))

    def _upload(self, action: Action) -> Entry:
        path, new, node = action.path, action.new, self.local.nodes[action.path]
        assert new is not None
        self._need_parent(path)
        if action.op is Op.CREATE:
            self._need_free(path)
        else:
            self._expect(path, action.old)
            if self.tree[path].kind is Kind.DIR:
                raise Refusal(f"{path} is a directory")
        self.tree[path] = replace(node, ino=0, ctime=0)
        if new.kind is Kind.SYMLINK:
            return replace(new, link=node.content)
        return replace(new, digest=digest(node.content), tag=None)

    def _delete(self, action: Action) -> dict[str, Entry | None]:
        self._expect(action.path, action.old)
        known = {join(action.path, inside): entry for inside, entry in action.members}
        there = {p for p in self.tree if p.startswith(f"{action.path}/")}
        for path, entry in known.items():
            self._expect(path, entry)
        ours = {p for p, e in known.items() if not e.excluded}
        staying = set() if action.whole else there - ours
        for path in sorted(there | {action.path}, reverse=True):
            if not any(other == path or other.startswith(f"{path}/") for other in staying):
                del self.tree[path]
        return {action.path: None}

    def _move(self, action: Action) -> dict[str, Entry | None]:
        assert action.source is not None
        assert action.new is not None
        self._need_parent(action.path)
        if action.old is None:
            self._need_free(action.path)
        else:
            self._expect(action.path, action.old)
        self._expect(action.source, action.moved)
        taken = self._take(action.source)
        for inside, node in taken.items():
            self.tree[action.path + inside] = node
        if action.new.kind is Kind.DIR:
            return {}
        node = self.tree[action.path]
        mtime = action.new.mtime if node.kind is Kind.FILE else node.mtime
        self.tree[action.path] = replace(node, mode=action.new.mode, mtime=mtime)
        return {action.path: self._noted(action.new, self.tree[action.path].mtime)}

    def _fail_if_told(self, action: Action) -> None:
        if action.subject in self.failing and action.path != action.home:
            raise Refusal("told to fail")

    def _take(self, path: str) -> Tree:
        taken = {p[len(path) :]: n for p, n in self.tree.items() if p == path or p.startswith(f"{path}/")}
        for inside in taken:
            del self.tree[path + inside]
        return taken

    def _need_parent(self, path: str) -> None:
        above = parent(path)
        if above and above != PARKED and (above not in self.tree or self.tree[above].kind is not Kind.DIR):
            raise Refusal(f"no parent for {path}")

    def _need_free(self, path: str) -> None:
        if path in self.tree:
            raise Refusal(f"{path} is taken")

    def _expect(self, path: str, entry: Entry | None) -> None:
        assert entry is not None
        node = self.tree.get(path)
        if node is None or node.kind is not entry.kind:
            raise Refusal(f"{path} should be a {entry.kind}, is {node}")
        if entry.kind is Kind.FILE and not self.is_left(tag_for(len(node.content), node.mtime), entry):
            raise Refusal(f"{path} has drifted")
        if entry.kind is Kind.SYMLINK and entry.link != node.content:
            raise Refusal(f"{path} has drifted")


def _stat(node: Node) -> Seen:
    link = node.content if node.kind is Kind.SYMLINK else None
    size = len(node.content)
    return Seen(node.kind, node.mode, size, node.mtime, tag_for(size, node.mtime), link)
