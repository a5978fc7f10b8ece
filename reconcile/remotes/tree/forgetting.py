"""What a job leaves at DEST in our folder, and that it goes once nobody wants to know of the job any more.

What may live here: that. No file of DEST is touched, nor what a run has moved aside.
"""

from __future__ import annotations

import os

from reconcile.core.marks import is_mark
from reconcile.core.model import RESERVED_NAME, Kind
from reconcile.remotes import Remains
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.kept import is_note
from reconcile.remotes.tree.layout import KEPT, OLD, PARKING, STAGING, STORE
from reconcile.remotes.tree.leftovers import LEFT, is_as_made
from reconcile.remotes.tree.listing import TOGETHER, Listing, list_directory
from reconcile.remotes.tree.mark import job_folder, remove_mark
from reconcile.remotes.tree.purge import STAYING, purge, remove_in_turn
from reconcile.remotes.tree.site import Site, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Remove, Rmdir

_TRASH = b"trash"
_DENIED = ".htaccess"  # see ``denied``


def find_remains(driver: Driver, site: Site, lineage: str) -> list[Remains]:
    """Runs of the job that have something moved aside there."""
    ours = job_folder(site, lineage)
    listing = driver.call(list_directory(site, ours))
    folders = [ours + b"/" + name for name in _runs(listing)]
    return [left for left in driver.run((_look(site, path) for path in folders), TOGETHER // 4) if left]


def forget(driver: Driver, site: Site, lineage: str) -> list[bytes]:
    """Remove all that is the job's there, the mark last; returns what could not be removed, with which the
    mark stays. What has content goes only where it was staged, and nobody has seen it."""
    ours = job_folder(site, lineage)
    listing = driver.call(list_directory(site, ours))
    seen = driver.run((is_as_made(site, ours + b"/" + name) for name in _runs(listing)), TOGETHER)
    sound = dict(seen)
    runs = [run for run, is_sound in sound.items() if is_sound]
    stuck = [run for run, is_sound in sound.items() if not is_sound]  # a link in it would lead elsewhere
    stuck += purge(driver, site, [run + b"/" + STAGING for run in runs])
    parts = (KEPT, OLD, _TRASH, os.fsencode(PARKING), LEFT, b"")
    inner = [run + b"/" + part if part else run for run in runs for part in parts]
    notes = [ours + b"/" + os.fsencode(name) for name, _ in listing.names if is_note(name)]
    left = driver.call(remove_in_turn([*inner, *notes]))
    stuck += [run for run in runs if run in left]
    marks = {os.fsencode(name) for name, _ in listing.names if is_mark(name)}
    known = {*marks, *_runs(listing), *(note.rpartition(b"/")[2] for note in notes)}
    stuck += [ours + b"/" + os.fsencode(n) for n, _ in listing.names if os.fsencode(n) not in known]
    if not stuck:
        driver.call(_remove_marks(ours, marks))
        listing = driver.call(list_directory(site, ours))
        stuck = [ours + b"/" + os.fsencode(name) for name, _ in listing.names]
    return stuck


def vacate(driver: Driver, site: Site) -> None:
    """Remove our folder, if nothing of any job is in it."""
    if site.layout.workdir.rpartition(b"/")[2] == RESERVED_NAME.encode():
        driver.call(_vacate(site))


def _vacate(site: Site) -> Recipe[None]:
    work = site.layout.workdir
    around, inside = yield [list_directory(site, work), list_directory(site, work + b"/" + STORE)]
    names = {name for name, _ in around.names}
    if not inside.names and names <= {_DENIED, os.fsdecode(STORE)}:
        yield Rmdir(work + b"/" + STORE)
        yield Remove(work + b"/" + os.fsencode(_DENIED))
        yield Rmdir(work)


def _runs(listing: Listing) -> list[bytes]:
    return [
        os.fsencode(name)
        for name, attrs in listing.names
        if kind_of(attrs) is Kind.DIR and not is_mark(name) and not is_note(name)
    ]


def _look(site: Site, folder: bytes) -> Recipe[Remains | None]:
    paths = (KEPT, OLD, _TRASH, os.fsencode(PARKING), LEFT)
    kept: Listing
    kept, old, trash, parked, left = yield [list_directory(site, folder + b"/" + path) for path in paths]
    begun = sum(name not in STAYING for name, _ in trash.names)
    found = Remains(
        os.fsdecode(folder),
        kept=len(kept.names) + len(left.names),
        old=len(old.names),
        parked=len(parked.names) + begun,
    )
    return found if found.kept or found.old or found.parked else None


def _remove_marks(ours: bytes, marks: set[bytes]) -> Recipe[None]:
    yield [remove_mark(ours + b"/" + mark) for mark in sorted(marks)]
    yield Rmdir(ours)
