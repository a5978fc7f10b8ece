"""What somebody else put on the remote, where we want to write: kept, left alone or overwritten.

What may live here: what ``--on-drift`` means for one path, and the part of the
trash that outlives the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import Enum, auto

from reconcile.core.job import OnDrift
from reconcile.core.model import Action, Entry, Kind, Op, Outcome, Problem
from reconcile.core.paths import ancestors, parent
from reconcile.remotes.tree.denied import deny
from reconcile.remotes.tree.disks import kept_on, note_elsewhere
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.layout import KEPT, OLD, inside
from reconcile.remotes.tree.link import look, rename
from reconcile.remotes.tree.listing import BATCH, batches
from reconcile.remotes.tree.site import Site, absent, act, describe, drift, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.trash import discard
from reconcile.remotes.tree.verbs import (
    OK,
    UNCLEAR,
    Attrs,
    Code,
    HardLink,
    Lstat,
    Mkdir,
    Replace,
    Rmdir,
    Status,
)

NO_REPLACE = "a file can't be replaced in one step there: the old one goes first, and readers see a gap"


_KEEPING = "move what is there to the trash"


class Way(Enum):
    """What a path holds that we are about to write to."""

    FREE = auto()  # nothing
    OURS = auto()  # what may go: ours, or to be overwritten
    KEEP = auto()  # what goes to the kept part of the trash first
    RETIRE = auto()  # what is ours and goes to the part that has an age


def meet(site: Site, action: Action, there: Attrs, old: Entry | None) -> Recipe[Way | Outcome]:
    """The action's path holds ``there``, which is not the ``old`` we believed in.

    A directory is never destroyed, unless it is empty and to be overwritten.
    """
    if site.options.on_drift is OnDrift.SKIP:
        return drift(action, describe(there, old))
    if site.options.on_drift is OnDrift.BACKUP:
        return Way.KEEP
    if kind_of(there) is not Kind.DIR:
        return Way.OURS
    emptied = yield from act(Rmdir(site.layout.at(action.path)))
    return Way.FREE if emptied is OK else Way.KEEP


def clear(site: Site, action: Action, way: Way) -> Recipe[Problem | None]:
    """Make the action's path free."""
    if way is Way.RETIRE:
        retired = yield from retire(site, action.path, size_of(action.old))
        if isinstance(retired, Problem):
            return retired
        way = retired
    if way is Way.KEEP:
        kept = yield from keep(site, action.path)
        return kept if isinstance(kept, Problem) else None
    if way is Way.OURS:
        status = yield from discard(site, action.path)
        if status is not OK and not absent(status):
            return (yield from explain(site, action.path, "remove what is in the way", status))
    return None


def keep(site: Site, path: str, *, leave: bool = False, source: bytes | None = None) -> Recipe[Way | Problem]:
    """Bring what ``path`` holds, or came from there and is now at ``source``, to the part of the trash
    that is not purged.

    FREE: it was moved there. OURS, only with ``leave``: it has a second name there
    and is still in its place, so that it can be replaced without a gap.
    """
    source = source or site.layout.at(path)
    if not site.memory.is_elsewhere(parent(path)):
        kept = site.layout.run + b"/" + KEPT
        yield from _make_trash(site)
        yield from _make_kept(site, kept, path)
        status = yield from _keep_in(site, kept, path, source, leave=leave)
        if not isinstance(status, Status):
            site.memory.keeps += 1
            return status
        failed = yield from explain(site, path, _KEEPING, status)
        if status.code not in UNCLEAR or not (yield from note_elsewhere(site, path)):
            return failed
    disk = site.memory.disk_of(parent(path)) or ""
    kept, below = kept_on(site, disk), path[len(disk) :].lstrip("/")
    yield from _make_kept(site, kept, below)
    status = yield from _keep_in(site, kept, below, source, leave=leave)
    if isinstance(status, Status):
        return (yield from explain(site, path, _KEEPING, status))
    site.warn_once(
        f"what made room on another file system of the remote is kept in {os.fsdecode(kept)!r}. It stays "
        "until somebody removes it"
    )
    return status


def ours_to_go(site: Site, *, replaced: bool) -> Way:
    """What becomes of what is ours and goes, for good or as it is ``replaced``."""
    trash = site.options.trash
    return Way.OURS if trash is None or (replaced and not trash.replaced) else Way.RETIRE


def size_of(entry: Entry | None) -> int:
    """Bytes of content in a file."""
    return entry.size if entry is not None and entry.kind is Kind.FILE else 0


def retire(site: Site, path: str, size: int, *, leave: bool = False) -> Recipe[Way | Problem]:
    """Bring what is ours, so many bytes of content, to the part of the trash that has an age.

    FREE: it was moved there. OURS: it may go for good, as it has a second name there (only with ``leave``),
    or lies on another file system, from which no rename leads there.
    """
    if not site.memory.is_elsewhere(parent(path)):
        old = site.layout.run + b"/" + OLD
        yield from _make_trash(site)
        yield from _make_kept(site, old, path)
        source = site.layout.at(path)
        if leave and (yield from _name_twice(site, source, inside(old, path))):
            _count(site, path, size)
            return Way.OURS
        status = yield from _keep_in(site, old, path, source, leave=leave)
        if not isinstance(status, Status):
            _count(site, path, size)
            return status
        if status.code not in UNCLEAR or not (yield from note_elsewhere(site, path)):
            return (yield from explain(site, path, _KEEPING, status))
    site.warn_once(
        "what is deleted or replaced on another file system of the remote goes for good: no rename leads "
        "from there to the trash"
    )
    return Way.OURS


def save(site: Site, action: Action, way: Way) -> Recipe[Way | Problem]:
    """Bring what is about to be replaced to the part of the trash that ``way`` names, KEEP or RETIRE: by a
    second name, if it can have one. FREE, or OURS where it is still in its place."""
    if way is Way.KEEP:
        return (yield from keep(site, action.path, leave=True))
    return (yield from retire(site, action.path, size_of(action.old), leave=True))


def second_name(site: Site, action: Action) -> Recipe[HardLink | None]:
    """What gives a second name to what is to go to the part of the trash that has an age: it may be asked for
    along with what replaces that. None: the server has not shown yet that it gives one."""
    if not site.memory.names_twice or site.memory.is_elsewhere(parent(action.path)):
        return None
    old = site.layout.run + b"/" + OLD
    place = inside(old, action.path)
    if place.rpartition(b"/")[0] not in site.memory.kept:
        yield from _make_trash(site)
        yield from _make_kept(site, old, action.path)
    return HardLink(site.layout.at(action.path), place)


def note_second(site: Site, action: Action, *, is_given: bool) -> None:
    """It has that name, or has it no more: by this, what is in the trash is counted."""
    if is_given:
        _count(site, action.path, size_of(action.old))
    else:
        site.memory.unfilled.add(parent(action.path))
        site.memory.retired -= 1
        site.memory.retired_bytes -= size_of(action.old)


def _count(site: Site, path: str, size: int) -> None:
    if unfilled := site.memory.unfilled:
        folder = parent(path)
        while folder in unfilled:
            unfilled.discard(folder)
            folder = parent(folder)
    site.memory.retired += 1
    site.memory.retired_bytes += size


def _name_twice(site: Site, source: bytes, place: bytes) -> Recipe[bool]:
    """Give something a second name, on the chance that nothing has that: of thousands each look counts.

    Whether the server makes one where it says so is looked at once.
    """
    if HardLink not in site.can or not _replaces(site):
        return False
    if site.memory.names_twice:
        return (yield HardLink(source, place)) is OK
    status, second = yield [HardLink(source, place), Lstat(place)]
    site.memory.names_twice = status is OK and isinstance(second, Attrs)
    return site.memory.names_twice


def _keep_in(site: Site, kept: bytes, path: str, source: bytes, *, leave: bool) -> Recipe[Way | Status]:
    """The same, to a folder in which the directories above ``path`` are made; else why not."""
    status = Status(Code.FAILED, "")
    # The place may be taken: by what was kept before, or by a directory made for something below it.
    for place in (inside(kept, path), inside(kept, os.urandom(6).hex())):
        if not absent((yield from look(site, place))):
            continue
        if leave and HardLink in site.can and _replaces(site):
            # Looked at, as what has no second name is lost with its first.
            status, second = yield [HardLink(source, place), Lstat(place)]
            if status is OK and isinstance(second, Attrs):
                return Way.OURS
        status = yield from rename(site, source, place)
        if status is OK:
            if leave and not _replaces(site):
                site.say_once(NO_REPLACE)
            return Way.FREE
    return status


def _make_trash(site: Site) -> Recipe[None]:
    if not site.layout.has_trash:
        trash = site.layout.run + b"/trash"
        *_, there = yield [Mkdir(site.layout.run, 0o700), Mkdir(trash, 0o700), Lstat(trash)]
        if isinstance(there, Attrs):
            site.layout.parts.add(b"trash")


def _replaces(site: Site) -> bool:
    """Whether something can be put in the place of what has a second name, whatever it is."""
    return Replace in site.can and site.quirks.moves_links is not False


def make_old(site: Site, actions: Iterable[Action]) -> Recipe[None]:
    """Make what is missing of the part of the trash that has an age, for all that these will bring there: who
    does so for itself, among hundreds at once, asks for what others ask for, too."""
    folders = {
        parent(action.path)
        for action in actions
        if action.old is not None and not action.keep and action.op in (Op.MODIFY, Op.CREATE, Op.DELETE)
        if ours_to_go(site, replaced=action.op is not Op.DELETE) is Way.RETIRE
    }
    if not folders:
        return
    going = {"", *(top for folder in folders for top in ancestors(folder))}
    yield from _make_trash(site)
    old = site.layout.run + b"/" + OLD
    # In one go: which server does not take them in turn makes those below one by one, when they are used.
    places = [inside(old, top) for top in sorted(going)]
    for some in batches([place for place in places if place not in site.memory.kept], BATCH):
        made: list[Status] = yield [_make_one(site, place) for place in some]
        site.memory.kept.update(p for p, status in zip(some, made, strict=True) if status is OK)
    site.memory.unfilled |= going


def _make_kept(site: Site, kept: bytes, path: str) -> Recipe[None]:
    """The directories above the place where ``path`` is kept. What fails here shows when they are used."""
    wanted = [kept]
    for name in parent(path).split("/") if parent(path) else ():
        wanted.append(wanted[-1] + b"/" + os.fsencode(name))
    for directory in wanted:
        if directory not in site.memory.kept:
            yield from _make_one(site, directory)
            site.memory.kept.add(directory)


def _make_one(site: Site, directory: bytes) -> Recipe[Status]:
    """A directory of the trash. The one that has all that is ours for a while is not for the web."""
    making = act(Mkdir(directory, 0o700))
    if directory != site.layout.run + b"/" + OLD:
        return (yield from making)
    made: Status
    made, _ = yield [making, deny(site)]
    return made
