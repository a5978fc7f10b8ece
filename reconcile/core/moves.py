"""What vanished here and appeared there is a move. Pure.

Directories are paired first, by the files in them that are proven to be the
same; the old state is then looked at as if they had been renamed already, and
files are paired in what still differs. ``Moves`` holds both, each from where the
remote has the content now (its *origin*) to where it shall be.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from reconcile.core.diff import movable, same_content
from reconcile.core.model import Caps, Change, Directory, DirectorySnapshot, Entry, Kind, Scan
from reconcile.core.paths import ancestors, basename, below, lookup, parent, within

# A digest that more vanished files share than this says little about directories.
_VOTERS = 16


class Moves(Struct, frozen=True):
    """Directories and files that move: origin to final path."""

    dirs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def carry(self, origin: str) -> str:
        """Where a path comes to lie once the directories above it have moved."""
        if not self.dirs:
            return origin
        for top in ancestors(origin):
            if top in self.dirs:
                return self.dirs[top] + origin[len(top) :]
        return origin


class Pairing(Struct, frozen=True):
    """The old and the new state wherever they differ, with all directory moves already made.

    ``olds`` maps a path to the origin of what lies there and its entry, ``news``
    to what shall be there: a path in only one of the two vanishes or appears.
    ``displaced`` is what lies, in the old state, where a directory moves to.
    """

    moves: Moves
    olds: Mapping[str, tuple[str, Entry]]
    news: Mapping[str, Entry]
    displaced: Mapping[str, Entry]


def pair(
    old: DirectorySnapshot,
    scan: Scan,
    changes: Iterable[Change],
    mirror: bool,
    caps: Caps = Caps(),
    *,
    moves: bool = True,
    folders: bool = True,
    scope: Collection[str] = (),
) -> Pairing:
    """Find the ``moves`` among ``changes``, whose contents are filled in as far as they are known.

    Where a remote copies, and renames nothing, a file moves so: nothing is sent. A directory does not;
    nor does it without ``folders``: each file in it does. ``scope``: the paths that ``changes`` are of, if
    not all: a directory moves with all that is in it, and so only where all of it is within.
    """
    changes = [change for change in changes if not (change.new is not None and change.new.excluded)]
    if not (moves and (caps.rename or caps.copy)):
        return _relocate(old, scan, changes, Moves())
    whole = folders and caps.rename and caps.dirs
    dirs = _pair_directories(old, scan, changes, mirror, scope) if whole else dict[str, str]()
    pairing = _relocate(old, scan, changes, Moves(dirs))
    return replace(pairing, moves=Moves(dirs, dict(_pair_files(pairing))))


def _movable_files(changes: Iterable[Change]) -> Iterator[tuple[str, Entry]]:
    for change in changes:
        old = change.old
        if old is None or old.kind is Kind.DIR or same_content(old, change.new):
            continue
        if movable(old):
            yield change.path, old


def _identities(entry: Entry) -> Iterator[object]:
    """What proves content to be the same, the strongest first.

    A digest, a link's target, or the same inode with the very same ctime, mtime and size.
    """
    stamp = entry.stamp
    if stamp is not None and stamp.ino and stamp.ctime_ns:
        yield (stamp.ino, stamp.ctime_ns, stamp.mtime_ns, stamp.size)
    if entry.kind is Kind.SYMLINK and entry.link is not None:
        yield ("link", entry.link)
    if entry.digest is not None:
        yield entry.digest


def _pair_directories(
    old: DirectorySnapshot, scan: Scan, changes: list[Change], mirror: bool, scope: Collection[str]
) -> dict[str, str]:
    """Directories to rename. Each is the source and the target of one rename at most."""
    votes, weight = _vote(changes)
    differing = {c.path for c in changes if not same_content(c.old, c.new)}
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for source, target in sorted(votes, key=lambda pair: (-votes[pair], len(pair[0]), pair)):
        if source in chosen or target in taken or votes[source, target] * 2 <= weight[source]:
            continue
        if scope and not (within(source, scope) and within(target, scope)):
            continue
        if Moves(chosen).carry(source) == target:  # comes along with a directory above it
            continue
        if _may_leave(old, scan, differing, source) and _may_arrive(old, scan, differing, target):
            chosen[source] = target
            taken.add(target)
    return _drop_blocked(old, chosen, mirror)


def _vote(changes: list[Change]) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Count, for pairs of directories, the files that kept their relative path from one to the other."""
    sources: dict[object, list[str]] = defaultdict(list)
    weight: Counter[str] = Counter()
    for path, entry in _movable_files(changes):
        weight.update(ancestors(parent(path)))
        for identity in _identities(entry):
            sources[identity].append(path)
    votes: Counter[tuple[str, str]] = Counter()
    for change in changes if sources else ():
        new = change.new
        if new is None or new.kind is Kind.DIR or same_content(change.old, new):
            continue
        for identity in _identities(new):
            found = sources.get(identity, ())
            if found and len(found) <= _VOTERS:
                for source in found:
                    votes.update(_common_tail(source, change.path))
                break
    return votes, weight


def _common_tail(source: str, target: str) -> Iterator[tuple[str, str]]:
    """Pairs of directories above two paths, as long as the names below them are equal."""
    while source and target and basename(source) == basename(target):
        source, target = parent(source), parent(target)
        if source and target and source != target:
            yield source, target


def _may_leave(old: DirectorySnapshot, scan: Scan, differing: Container[str], path: str) -> bool:
    """Whether the directory's content has gone elsewhere as a whole."""
    entry = lookup(old.dirs, path)
    if entry is None or entry.kind is not Kind.DIR or not movable(entry):
        return False
    if any(within(unknown, {path}) for unknown in scan.unknown):
        return False
    return path not in scan.dirs or not _keeps_content(old, scan, differing, path)


def _may_arrive(old: DirectorySnapshot, scan: Scan, differing: Container[str], path: str) -> bool:
    """Whether the directory is new, or new in all but its name."""
    if path not in scan.dirs:
        return False
    entry = lookup(old.dirs, path)
    if entry is None:
        return True
    return movable(entry) and (entry.kind is not Kind.DIR or not _keeps_content(old, scan, differing, path))


def _keeps_content(old: DirectorySnapshot, scan: Scan, differing: Container[str], path: str) -> bool:
    """Whether something below stays as it is, or must not be touched."""
    if any(within(unknown, {path}) for unknown in scan.unknown):
        return True
    return any(
        not movable(entry) or (entry.kind is not Kind.DIR and inside not in differing)
        for inside, entry in below(old.dirs, path)
    )


def _drop_blocked(old: DirectorySnapshot, chosen: dict[str, str], mirror: bool) -> dict[str, str]:
    """Leave out renames onto a name that does not become free."""
    while True:
        origins = {target: source for source, target in chosen.items()}
        blocked = [
            source
            for source, target in chosen.items()
            if (not mirror and target not in chosen and _holds_directory(old, target))
            or _is_carried_to(old, target, origins, chosen)
        ]
        if not blocked:
            return chosen
        for source in blocked:
            del chosen[source]


def _holds_directory(old: DirectorySnapshot, path: str) -> bool:
    entry = lookup(old.dirs, path)
    return entry is not None and entry.kind is Kind.DIR


def _is_carried_to(
    old: DirectorySnapshot, target: str, origins: Mapping[str, str], chosen: Container[str]
) -> bool:
    """Whether a directory that moves brings something of its own along to ``target``."""
    for top in ancestors(parent(target)):
        if top in origins:
            origin = origins[top] + target[len(top) :]
            return origin not in chosen and lookup(old.dirs, origin) is not None
    return False


def _relocate(old: DirectorySnapshot, scan: Scan, changes: list[Change], moves: Moves) -> Pairing:
    """Look at the old state as if its directories had moved already."""
    olds: dict[str, tuple[str, Entry]] = {}
    news: dict[str, Entry] = {}
    displaced: dict[str, Entry] = {}
    targets = set(moves.dirs.values())
    for source, target in moves.dirs.items():
        for origin, entry in _tree(old.dirs, source):
            olds[moves.carry(origin)] = (origin, entry)
        for top in (source, target):
            news.update(_tree(scan.dirs, top))
    for change in changes:
        path, known = moves.carry(change.path), change.old
        if known is not None and path == change.path and within(path, targets):
            displaced[path] = known
        elif known is not None:
            olds[path] = (change.path, known)
        if change.new is not None:
            news[change.path] = change.new
    for target in targets:
        known = lookup(old.dirs, target)
        if known is not None and moves.carry(target) == target:
            displaced[target] = known
    if scan.unknown:
        olds = {path: known for path, known in olds.items() if not within(path, scan.unknown)}
        news = {path: new for path, new in news.items() if not within(path, scan.unknown)}
    return Pairing(moves, olds, news, displaced)


def _tree(dirs: Mapping[str, Directory], top: str) -> Iterator[tuple[str, Entry]]:
    entry = lookup(dirs, top)
    if entry is not None:
        yield top, entry
        if entry.kind is Kind.DIR:
            yield from below(dirs, top)


def _pair_files(pairing: Pairing) -> Iterator[tuple[str, str]]:
    """Pair what lies where it shall not stay with what is not yet where it shall be."""
    olds, news = pairing.olds, pairing.news
    sources = [
        (origin, path, old)
        for path, (origin, old) in olds.items()
        if old.kind is not Kind.DIR and movable(old) and not same_content(old, news.get(path))
    ]
    sources += [
        (origin, origin, old)
        for origin, old in pairing.displaced.items()
        if old.kind is not Kind.DIR and movable(old)
    ]
    if not sources:
        return
    targets = {
        path: new
        for path, new in news.items()
        if new.kind is not Kind.DIR and not (path in olds and same_content(olds[path][1], new))
    }
    by_identity: defaultdict[object, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for origin, path, old in sorted(sources, key=lambda source: source[:2], reverse=True):
        for identity in _identities(old):
            by_identity[identity][basename(path)].append(origin)
    used: set[str] = set()
    for same_name in (True, False):  # a file that kept its name has the first claim
        for target in sorted(targets):
            source = _claim(by_identity, targets[target], basename(target) if same_name else None, used)
            if source is not None:
                del targets[target]
                used.add(source)
                yield source, target


def _claim(
    by_identity: Mapping[object, dict[str, list[str]]], new: Entry, name: str | None, used: set[str]
) -> str | None:
    """An unused source of the same content, called ``name`` or, for None, anything."""
    for identity in _identities(new):
        names = by_identity.get(identity, {})
        while names if name is None else name in names:
            called, candidates = names.popitem() if name is None else (name, names.pop(name))
            while candidates:
                source = candidates.pop()
                if source not in used:
                    if candidates:  # what is used up would be looked through again for each target
                        names[called] = candidates
                    return source
    return None
