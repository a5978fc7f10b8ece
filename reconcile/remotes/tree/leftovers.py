"""What runs leave: dead ones are fenced off, what they had parked is taken over, all else goes.

What may live here: finding it, and clearing a run's folder but for what is kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reconcile.core.marks import is_mark
from reconcile.core.model import PARKED, Kind, Problem, Reason, Stage
from reconcile.core.units import show_some
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.kept import Kept, Left, count_kept, is_note
from reconcile.remotes.tree.layout import KEPT, OLD, PARKING, STAGING, STORE, inside
from reconcile.remotes.tree.link import rename
from reconcile.remotes.tree.listing import TOGETHER, Listing, list_directory
from reconcile.remotes.tree.mark import job_folder, shown
from reconcile.remotes.tree.memory import Discarded
from reconcile.remotes.tree.purge import STAYING, empty_blindly, empty_trash, purge, remove_levels
from reconcile.remotes.tree.rescue import find_staged
from reconcile.remotes.tree.run_folder import TRASH, make_run_folder
from reconcile.remotes.tree.site import Site, absent, act, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Rename, Rmdir

PARTS = STAGING, PARKING, TRASH
_LINEAGE = r"[A-Za-z0-9][A-Za-z0-9-]{0,63}"
LEFT = b"left"  # what had been parked and found no place: not taken over any more
DEAD = b".dead"  # ends the name of a run's folder that was fenced off


def find_left(driver: Driver, site: Site, lineage: str) -> None:
    """Note what of this job is parked and staged there now, whichever run's it is."""
    ours = job_folder(site, lineage)
    listing = driver.call(list_directory(site, ours))
    runs = {name: attrs.mtime for name, attrs in listing.names if kind_of(attrs) is Kind.DIR}
    folders = [ours + b"/" + os.fsencode(name) for name in sorted(runs, key=runs.__getitem__, reverse=True)]
    find_staged(driver, site, folders)
    for place, listing in driver.run((_list_parked(site, folder) for folder in folders), TOGETHER):
        for name, _ in listing.names:
            site.layout.left.setdefault(f"{PARKED}/{name}", inside(place, name))


def _list_parked(site: Site, folder: bytes) -> Recipe[tuple[bytes, Listing]]:
    return (yield from _list(site, folder + b"/" + PARKING))


def take_parked(driver: Driver, site: Site, dead: Sequence[bytes]) -> None:
    """Bring what dead runs had parked to this run's parking places."""
    taken: set[str] = set()
    for folder in dead:
        place, listing = driver.call(_list_parked(site, folder))
        if listing.names:
            driver.call(make_run_folder(site, {PARKING}))
        for name, _ in listing.names:
            if name not in taken:  # a server may rename over what is there
                new = site.layout.at(f"{PARKED}/{name}")
                if driver.call(rename(site, inside(place, name), new)) is OK:
                    taken.add(name)


def fence(driver: Driver, site: Site, ours: bytes, run: str, listing: Listing, kept: Kept) -> list[bytes]:
    """Rename the folders of earlier runs; returns those that are to be cleared, the last run's first.
    Those that have ended are noted in ``kept``.

    Requests of a dead client that still wait in the server then fail, and publish
    nothing. RACE: those for mkdir, setstat and moves of whole directories don't.
    """
    known = {each.folder for each in (*kept.runs, *kept.old)}
    folders = {
        ours + b"/" + os.fsencode(name): attrs.mtime
        for name, attrs in listing.names
        if name != run and not is_mark(name) and not is_note(name) and kind_of(attrs) is Kind.DIR
    }
    unknown = folders.keys() - known
    looked_at = driver.run((_ended_well(site, folder) for folder in unknown), TOGETHER // 4)
    kept.untold += [left for left in looked_at if left is not None]
    ended = known | {left.folder for left in kept.untold}
    fenced: list[bytes] = []
    before: list[bytes] = []
    for folder in folders.keys() - ended:
        if folder.endswith(DEAD):
            before.append(folder)
            continue
        status = driver.call(act(Rename(folder, folder + DEAD)))
        if status is OK:
            fenced.append(folder + DEAD)
        elif not absent(status):
            fenced.append(folder)
            site.say_once("our folder can't be renamed there: what a dead connection asked for may yet come")
    dead = fenced + sorted(before, key=lambda folder: folders[folder], reverse=True)
    return [
        folder
        for folder, sound in driver.run((is_as_made(site, folder) for folder in dead), TOGETHER)
        if sound
    ]


def fence_off(driver: Driver, site: Site, lineage: str) -> None:
    """The same of all runs of a job that may be another one's, and no more: the rest is for its own next run.

    What is no name of a folder in ours is anybody's word, and is left alone.
    """
    if re.fullmatch(_LINEAGE, lineage) and lineage != os.fsdecode(STORE):
        ours = job_folder(site, lineage)
        fence(driver, site, ours, "", driver.call(list_directory(site, ours)), Kept())


def is_as_made(site: Site, folder: bytes) -> Recipe[tuple[bytes, bool]]:
    """Whether a run's folder holds directories only. Else somebody was there: a link would lead us out."""
    listing = yield from list_directory(site, folder)
    return folder, all(kind_of(attrs) is Kind.DIR for _, attrs in listing.names)


def _ended_well(site: Site, folder: bytes) -> Recipe[Left | None]:
    """What a run's folder keeps, if it holds nothing else than what is left on purpose."""
    inside = (folder, folder + b"/" + TRASH)
    parts, trash, left = yield [
        *(list_directory(site, path) for path in inside),
        count_kept(site, folder),
    ]
    nothing_more = _names(parts) <= {"trash", "left"} and _names(trash) <= {*STAYING}
    if left is None or not nothing_more or ("trash" in _names(parts) and not (left.kept or left.old)):
        return None
    found: Left = left
    return found


def _names(listing: Listing) -> set[str]:
    return {name for name, _ in listing.names}


def clear_run(
    driver: Driver,
    site: Site,
    folder: bytes,
    parts: Collection[bytes],
    known: Mapping[bytes, Discarded],
    *beside: Recipe[None],
) -> list[Problem]:
    """Remove a run's folder but for what is kept in its trash, and what is parked and found no place.

    What is to be done ``beside`` travels with the removal of this run's folder. ``known``: what
    may be in the trash of a dead run, by the names of its places.
    """
    if folder == site.layout.run:
        stays = _stays(site)
        removing = _remove_unlooked(folder, parts, site.memory.discarded, sure=bool(stays))
        left, *_ = driver.call(_together(removing, *beside))
        if not left or left == stays:
            return []
        known = {one.place: one for one in site.memory.discarded}
    stuck = purge(driver, site, [folder + b"/" + STAGING]) if STAGING in parts else []
    if stuck and folder != site.layout.run:  # nothing of anybody's is at stake
        site.say_once(
            f"what a dead run had staged in {shown(folder)} can't be removed yet; a later run will try"
        )
        stuck = []
    if TRASH in parts:
        remaining, strangers = empty_trash(driver, site, folder + b"/" + TRASH, known)
        stuck += remaining
        if strangers:
            site.say(f"what somebody else put into what was being deleted is kept: {show_some(strangers)}")
    inner = len(folder) + 1
    # Made in vain where what was to be kept could not come to our file system, or stays in its place: they
    # would count as kept.
    vain = (
        [made[inner:] for made in site.memory.kept if made.startswith(folder + b"/")]
        if site.memory.elsewhere or site.memory.unfilled
        else []
    )
    if folder != site.layout.run:
        _remove_hollow(driver, site, folder + b"/" + OLD)
    _remove_empty(driver, folder, {*vain, KEPT, OLD, TRASH})
    if PARKING in parts:
        parked = folder + b"/" + PARKING
        status = driver.call(act(Rmdir(parked)))
        if status is not OK and not absent(status):
            left = folder + b"/" + LEFT
            place = left if driver.call(act(Rename(parked, left))) is OK else parked
            site.say_once(f"files that a run had moved aside are still on the remote in {shown(place)}")
        driver.call(act(Rmdir(folder)))  # not if anything is kept
    return [not_removed(path) for path in stuck]


def _remove_hollow(driver: Driver, site: Site, old: bytes) -> None:
    """Of a dead run that was to replace things, and did not come to it, there are directories alone."""
    levels: list[list[bytes]] = [[old]]
    while level := levels[-1]:
        levels.append([])
        for where, listing in driver.run((_list(site, where) for where in level), TOGETHER):
            if listing.failed is not None or listing.bad:
                return
            if not all(kind_of(attrs) is Kind.DIR for _, attrs in listing.names):
                return
            levels[-1] += [inside(where, name) for name, _ in listing.names]
    remove_levels(driver, levels)


def _list(site: Site, place: bytes) -> Recipe[tuple[bytes, Listing]]:
    return place, (yield from list_directory(site, place))


def not_removed(path: bytes) -> Problem:
    """What of ours stays behind."""
    text = "could not be removed from the remote; the next run tries again"
    return Problem(os.fsdecode(path), Stage.CLEANUP, Reason.FAILED, text)


def _remove_unlooked(
    folder: bytes, parts: Collection[bytes], known: Sequence[Discarded], *, sure: bool = False
) -> Recipe[set[bytes]]:
    """Try to remove a folder without looking into it first: mostly nothing is left in it but what we know.
    Returns what remains. ``sure``: where something stays in any case, nothing else shows that the rest is
    gone: see ``remove_in_turn``."""
    paths = [*(folder + b"/" + part for part in sorted(parts, reverse=True)), folder]
    return (yield from empty_blindly(known, paths, sure=sure))


def _remove_empty(driver: Driver, folder: bytes, parts: Collection[bytes]) -> None:
    """Remove what is empty of a folder, the folder last."""
    left = driver.call(_remove_unlooked(folder, parts, []))
    depths: dict[int, list[bytes]] = {}
    for path in left:  # one may have been tried before what is in it was gone
        depths.setdefault(path.count(b"/"), []).append(path)
    remove_levels(driver, [depths[depth] for depth in sorted(depths)])


def _stays(site: Site) -> set[bytes]:
    """What of this run's folder is to remain: where it has kept or retired something, the trash with that.

    All else that was in the trash is gone by then, as each of it was named and removed.
    """
    memory, run = site.memory, site.layout.run
    if memory.elsewhere or memory.unfilled or not (memory.keeps or memory.retired):
        return set()
    return {run, run + b"/" + TRASH}


def _together(*recipes: Recipe[Any]) -> Recipe[list[Any]]:
    results: list[Any] = yield recipes
    return results
