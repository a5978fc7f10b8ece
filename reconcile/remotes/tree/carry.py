"""A directory's rename where not all in it is to come along: what is excluded, or not ours, stays.

What may live here: looking into a directory before it is renamed, and moving it piece by piece.
Without filters, and where nobody else pushes to DEST, a rename is one request and no look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.model import PERMISSIONS, Action, Entry, Kind, Op, Problem, Reason
from reconcile.core.paths import ancestors, join, parent, within
from reconcile.core.units import show_some
from reconcile.remotes.tree.delete import Found, list_tree
from reconcile.remotes.tree.drift import keep
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.layout import inside
from reconcile.remotes.tree.link import look, rename
from reconcile.remotes.tree.listing import BATCH, TOGETHER, batches
from reconcile.remotes.tree.purge import remove_in_turn
from reconcile.remotes.tree.refusal import why_not_moved
from reconcile.remotes.tree.site import SPECIAL_BITS, Site, absent, kind_of, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Lstat, Mkdir, Set, Status


def is_careful(site: Site, action: Action) -> bool:
    """Whether a directory that is renamed may hold what is not to come along."""
    return action.kind is Kind.DIR and (action.careful or site.memory.shared)


def looks_inside(site: Site, action: Action) -> bool:
    """Whether a rename begins with listing a tree. What is parked was looked at before."""
    return action.op is Op.MOVE and action.home is None and is_careful(site, action)


class Pieces:
    """What of a directory moves and what stays."""

    def __init__(self, found: Found, known: Mapping[str, Entry] | None) -> None:
        """``known``: what is ours of it; None: all."""
        self.found = found
        self.known = known or {}
        ours = found if known is None else {name for name, entry in known.items() if not entry.excluded}
        self.staying = {name for name in found if name not in ours}
        self.parted = {"", *(top for name in self.staying for top in ancestors(parent(name)))} - self.staying
        self.inside: dict[str, list[str]] = {}
        for name in found.keys() - self.staying:
            self.inside.setdefault(parent(name), []).append(name)
        self.moved: set[str] = set()  # by one rename each

    def effects(self, action: Action, source: str) -> dict[str, Entry | None]:
        """What is true when only a part of it has moved."""
        path = action.path
        effects: dict[str, Entry | None] = {path: action.moved}
        for name, entry in self.known.items():
            if within(name, self.moved):
                effects[join(path, name)] = entry
                effects[join(source, name)] = None
            elif name in self.parted:
                effects[join(path, name)] = entry
        return effects

    def left(self, action: Action, source: str) -> dict[str, Entry | None]:
        """What of ours has stayed at ``source``, and what it is in: a later filter may show it again."""
        staying = [name for name in self.staying & self.known.keys() if self.known[name].excluded]
        effects: dict[str, Entry | None] = {join(source, name): self.known[name] for name in staying}
        for above in {top for name in staying for top in ("", *ancestors(parent(name)))} - set(staying):
            entry = self.known[above] if above else action.moved
            assert entry is not None
            effects[join(source, above) if above else source] = replace(entry, retained=True)
        return dict(sorted(effects.items()))


def look_inside(
    site: Site, action: Action, path: bytes, there: Attrs | Status
) -> Recipe[Pieces | Problem | None]:
    """What of the directory at ``path`` is to move and what is not. None: a rename will do.

    ``there``: what is at its target. A directory there is what stayed of another that moved
    away, or somebody else's, and is joined.
    """
    is_parked = action.home is not None
    joins = isinstance(there, Attrs) and kind_of(there) is Kind.DIR
    if not is_careful(site, action) or (is_parked and not joins):
        return None
    known = None if is_parked else dict(action.inside)
    folders = [name for name, entry in (known or {}).items() if entry.kind is Kind.DIR]
    found = yield from list_tree(site, path, folders)
    if isinstance(found, Status):
        return (yield from explain(site, action.subject, "look at what is moved", found))
    if isinstance(found, str):
        text = f"{site.who} lists a name that can't be one: {found!r}; the directory was not moved"
        return problem(action.subject, Reason.BAD_NAME, text)
    pieces = Pieces(found, known)
    return pieces if pieces.staying or joins else None


def move_apart(
    site: Site, pieces: Pieces, path: str, source: bytes, target: bytes, mode: int
) -> Recipe[Problem | None]:
    """Move the pieces from ``source`` to ``target``, which ``path`` is called; back if that fails."""
    failed = yield from _part(site, pieces, path, source, target, mode)
    if failed is not None:
        for some in batches(sorted(pieces.moved), BATCH):
            back: list[Status] = yield [
                rename(site, inside(target, name), inside(source, name)) for name in some
            ]
            pieces.moved.difference_update(n for n, status in zip(some, back, strict=True) if status is OK)
        return failed
    emptied = sorted(pieces.parted, key=lambda name: name.count("/") + bool(name), reverse=True)
    yield from remove_in_turn([inside(source, name) for name in emptied])
    return None


def _part(
    site: Site, pieces: Pieces, path: str, source: bytes, target: bytes, mode: int
) -> Recipe[Problem | None]:
    """Into directories that are made or found there. What is in the way in them goes to the kept trash."""
    level: Sequence[str] = [""]
    while level:
        for some in batches(level, TOGETHER):
            made: list[Problem | None] = yield [
                _make(
                    site,
                    join(path, name),
                    inside(target, name),
                    mode if not name else pieces.found[name].mode,
                )
                for name in some
            ]
            if trouble := next(filter(None, made), None):
                return trouble
        children = [child for name in level for child in pieces.inside.get(name, ())]
        deeper: list[str] = [child for child in children if child in pieces.parted]
        for some in batches([child for child in children if child not in pieces.parted], BATCH):
            ends: list[Status | Problem | None] = yield [
                _bring(site, pieces, child, join(path, child), source, target) for child in some
            ]
            for child, end in zip(some, ends, strict=True):
                if end is OK:
                    pieces.moved.add(child)
                elif end is None:  # to be merged
                    pieces.parted.add(child)
                    deeper.append(child)
                elif isinstance(end, Problem):
                    return end
                else:
                    failed = yield from explain(site, join(path, child), "rename", end)
                    return (yield from why_not_moved(site, join(path, child), failed, end))
        level = deeper
    return None


def _make(site: Site, path: str, place: bytes, mode: int) -> Recipe[Problem | None]:
    status, there = yield [Mkdir(place, mode & PERMISSIONS | 0o700), Lstat(place)]
    if isinstance(there, Status) or kind_of(there) is not Kind.DIR:
        return (yield from explain(site, path, "make the directory", status))
    if status is OK and there.mode & PERMISSIONS != mode & PERMISSIONS:
        yield Set(place, mode & PERMISSIONS | there.mode & SPECIAL_BITS, None)
    return None


def _bring(
    site: Site, pieces: Pieces, child: str, path: str, source: bytes, target: bytes
) -> Recipe[Status | Problem | None]:
    """Rename one thing with all in it. None: a directory of others is there already.

    RACE: what comes into a directory after it was listed comes along.
    """
    place = inside(target, child)
    there = yield from look(site, place)
    if isinstance(there, Attrs):
        if kind_of(there) is Kind.DIR is kind_of(pieces.found[child]):
            return None
        kept = yield from keep(site, path, source=place)
        if isinstance(kept, Problem):
            return kept
    elif not absent(there):
        return there
    return (yield from rename(site, inside(source, child), place))


def left_behind(action: Action) -> dict[str, Entry | None]:
    """Effects of a directory's move: what is excluded has not come along."""
    return {join(action.path, name): None for name, entry in action.inside if entry.excluded}


def note_staying(pieces: Pieces, source: str) -> Problem | None:
    """The directory was moved as far as it is ours."""
    tops = sorted(name for name in pieces.staying if not within(parent(name), pieces.staying))
    if not tops:
        return None
    text = (
        f"stays on the remote with what is excluded or not ours ({show_some(tops)}); the rest of it was moved"
    )
    return problem(source, Reason.STAYS, text)
