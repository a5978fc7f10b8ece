"""What is ours and of no more use goes for good.

What may live here: removing what is in folders of ours, and these, whatever it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain

from msgspec import Struct

from reconcile.core.model import Kind, Problem
from reconcile.remotes.tree.drift import keep
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.layout import inside
from reconcile.remotes.tree.listing import BATCH, HIDDEN, TOGETHER, batches, list_directory, list_for_sure
from reconcile.remotes.tree.memory import Discarded
from reconcile.remotes.tree.site import Site, absent, act, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.trash import owner_of
from reconcile.remotes.tree.verbs import OK, Code, Remove, Rename, Rmdir, Set, Status, Verb

STAYING = "kept", "old"  # the parts of a trash that outlive its run
OURS = b"ours-"  # begins the name of what a run could not purge, and has seen to be its own
ROUNDS = 3  # looks at a trash into which somebody goes on writing
MOST_UNSEEN = 1 << 16  # names of ours that are tried where a directory is not shown for what is in it
MANY = 4096  # removes that are under way at most, where nothing else goes on


def sweep(site: Site, directory: str) -> Recipe[None]:
    """Remove what dead runs of this job had staged in a directory, beside its target."""
    job, run = site.layout.prefixes
    listing = yield from list_directory(site, site.layout.at(directory))
    dead = [
        name
        for name, _ in listing.names
        if os.fsencode(name).startswith(job) and not os.fsencode(name).startswith(run)
    ]
    yield [Remove(inside(site.layout.at(directory), name)) for name in dead]


def purge(driver: Driver, site: Site, tops: Sequence[bytes]) -> list[bytes]:
    """Remove directories with all that is in them, whatever it is; returns those that remain."""
    levels: list[list[bytes]] = []
    level = list(tops)
    while level:
        levels.append(level)
        emptied = driver.run((_empty(site, path) for path in level), site.at_most(2 * TOGETHER))
        level = [below for found in emptied for below in found]
    return remove_levels(driver, levels)


def remove_levels(driver: Driver, levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Remove empty directories, each level inside the one before; returns those that remain."""
    deepest = levels[::-1]
    left = driver.call(remove_in_turn(list(chain.from_iterable(deepest))))
    stuck: list[bytes] = []
    for level in deepest if left else ():
        again = (_remove_directory(path) for path in level if path in left)
        stuck += [path for path, gone in driver.run(again, BATCH) if not gone]
    return stuck


def remove_in_turn(directories: Sequence[bytes], *, sure: bool = False) -> Recipe[set[bytes]]:
    """Remove empty directories, those inside others first; returns those that remain.

    Not waiting for one to be gone before the one it is in: most servers do what they are asked in turn.
    ``sure``: also those that are not there, as is said. Who can't find them may have them.
    """
    left: set[bytes] = set()
    for some in batches(directories, MANY):
        statuses: list[Status] = yield [Rmdir(path) for path in some]
        left |= _not_gone(some, statuses, sure=sure)
    return left


def empty_blindly(known: Sequence[Discarded], lastly: Sequence[bytes], *, sure: bool) -> Recipe[set[bytes]]:
    """Remove what is known to be in the trash, unlooked, and these directories; returns what remains.
    ``sure``: see ``remove_in_turn``."""
    plain = [inside(one.place, name) for one in known for name, is_folder in one.holds if not is_folder]
    folders = [inside(one.place, name) for one in known for name, is_folder in one.holds if is_folder]
    left: set[bytes] = set()
    *first, last = batches(plain, MANY) or [[]]
    for some in first:
        left |= _not_gone(some, (yield [Remove(path) for path in some]), sure=sure)
    *statuses, deeper = yield [*map(Remove, last), remove_in_turn([*reversed(folders), *lastly], sure=sure)]
    return left.union(_not_gone(last, statuses, sure=sure), deeper)


def _not_gone(paths: Sequence[bytes], statuses: Sequence[Status], *, sure: bool) -> set[bytes]:
    told = zip(paths, statuses, strict=True)
    return {path for path, status in told if status is not OK and (sure or not is_gone(status))}


def empty_trash(
    driver: Driver, site: Site, trash: bytes, known: Mapping[bytes, Discarded]
) -> tuple[list[bytes], list[str]]:
    """Remove from a trash what is ours of it, as ``known`` by the names of its places; keep the rest.

    Returns directories that remain, and what was kept.
    """
    strangers: list[str] = []
    stuck: list[bytes] = []
    for _ in range(ROUNDS):
        levels: list[list[_Found]] = [[_Found(trash, "", None)]]
        while levels[-1]:
            recipes = (_sort_out(site, each, known) for each in levels[-1])
            sorted_out = driver.run(recipes, site.at_most(2 * TOGETHER))
            levels.append([])
            for deeper, kept in sorted_out:
                levels[-1] += deeper
                strangers += kept
        stuck = remove_levels(driver, [[each.where for each in level] for level in levels[1:]])
        if not stuck:
            break
    else:  # all of it that is left is ours: who tries again need not know the plan
        tops = [each.where for each in levels[1] if each.where in stuck and not _is_named_ours(each.where)]
        driver.call(_send([Rename(top, trash + b"/" + OURS + _last(top)) for top in tops]))
    return stuck, strangers


def _last(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _is_named_ours(place: bytes) -> bool:
    """RACE: what somebody writes into such a one, after a run has looked through it, is purged with it."""
    return _last(place).startswith(OURS)


def _send(requests: Sequence[Verb]) -> Recipe[None]:
    yield requests


class _Found(Struct, frozen=True):
    """A directory in a trash. ``whole``: None of the trash itself."""

    where: bytes
    inner: str  # its path in what was discarded
    whole: _Whole | None


class _Whole(Struct, frozen=True):
    """Something that was discarded."""

    path: str
    holds: Mapping[str, bool] | None  # None: anything, all is ours

    def owns(self, inner: str, *, is_folder: bool) -> bool:
        """Whether a path in it is what was seen to be ours."""
        return self.holds is None or self.holds.get(inner) is is_folder


def _sort_out(
    site: Site, found: _Found, known: Mapping[bytes, Discarded]
) -> Recipe[tuple[list[_Found], list[str]]]:
    """Of what is in a directory: remove what is ours, keep what is not. Returns the directories in it
    that are ours, and what was kept."""
    listing = yield from list_directory(site, found.where)
    if listing.failed is not None and listing.failed.code == Code.DENIED:
        yield from act(Set(found.where, 0o700, None))
        listing = yield from list_directory(site, found.where)
    plain: list[bytes] = []
    folders: list[_Found] = []
    strangers: list[tuple[bytes, str]] = []
    for name, attrs in listing.names:
        if found.whole is None and name in STAYING:
            continue
        where = inside(found.where, name)
        whole, inner = found.whole, f"{found.inner}/{name}".lstrip("/")
        if whole is None:
            one = known.get(where) or known.get(owner_of(where)) or Discarded(where, name, ())
            whole, inner = _Whole(one.path, None if _is_named_ours(where) else dict(one.holds)), ""
        is_folder = kind_of(attrs) is Kind.DIR
        if not whole.owns(inner, is_folder=is_folder):
            strangers.append((where, f"{whole.path}/{inner}".rstrip("/")))
        elif is_folder:
            folders.append(_Found(where, inner, whole))
        else:
            plain.append(where)
    for some in batches(plain, MANY):
        statuses: list[Status] = yield [Remove(path) for path in some]
        if any(status.code == Code.DENIED for status in statuses):
            yield from act(Set(found.where, 0o700, None))
            yield [Remove(path) for path in some]
    if strangers and found.whole is not None:
        yield from act(Set(found.where, 0o700, None))
    kept: list[str] = []
    for group in batches(strangers, TOGETHER):
        ways: list[object] = yield [keep(site, path, source=where) for where, path in group]
        kept += [path for (_, path), way in zip(group, ways, strict=True) if not isinstance(way, Problem)]
    return folders, kept


def is_gone(status: Status) -> bool:
    """Whether a removal leaves nothing."""
    return status is OK or absent(status)


def _empty(site: Site, top: bytes) -> Recipe[list[bytes]]:
    """Remove all in a directory but the directories, which are returned."""
    listing = yield from list_for_sure(site, top)
    if listing.failed is not None and listing.failed.code == Code.DENIED:
        yield from act(Set(top, 0o700, None))
        listing = yield from list_directory(site, top)
    for first in range(1, MOST_UNSEEN, MANY) if listing.failed is HIDDEN else ():
        yield [Remove(path) for path in site.layout.made_in(top, range(first, first + MANY))]
        listing = yield from list_for_sure(site, top)
        if listing.failed is not HIDDEN:
            break
    plain = [inside(top, name) for name, attrs in listing.names if kind_of(attrs) is not Kind.DIR]
    folders = [inside(top, name) for name, attrs in listing.names if kind_of(attrs) is Kind.DIR]
    for some in batches(plain, MANY):
        statuses: list[Status] = yield [Remove(path) for path in some]
        if any(status.code == Code.DENIED for status in statuses):
            yield from act(Set(top, 0o700, None))
            yield [Remove(path) for path in some]
    return folders


def _remove_directory(path: bytes) -> Recipe[tuple[bytes, bool]]:
    status = yield from act(Rmdir(path))
    if status.code == Code.DENIED:
        yield from act(Set(path.rpartition(b"/")[0], 0o700, None))
        status = yield from act(Rmdir(path))
    return path, is_gone(status)
