"""What other jobs, or this one before its state was lost, have left in our working folder.

What may live here: looking at it, telling of it, and removing what dead runs had staged: only
where nothing of theirs is parked, and only if it is old, or nobody can come back for it. What
others have parked, deleted or kept is theirs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from msgspec import Struct

from reconcile.core.marks import is_mark
from reconcile.core.model import Kind
from reconcile.remotes import Memory
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.kept import is_note, read_notes
from reconcile.remotes.tree.layout import STORE
from reconcile.remotes.tree.leftovers import DEAD
from reconcile.remotes.tree.listing import TOGETHER, Listing, list_directory
from reconcile.remotes.tree.mark import shown
from reconcile.remotes.tree.purge import purge
from reconcile.remotes.tree.site import Site, act, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Rename, Rmdir, Verb

DAY = 86_400  # seconds
OLD = 30 * DAY  # of what is staged: no run takes that long
NAME = "others"  # what was seen, as the memory knows it
NEVER = 2**62


class _Run(Struct, frozen=True):
    """A run of somebody else's."""

    folder: bytes
    newest: int  # when something of it changed last, in seconds of the server's clock
    staged: int  # files
    size: int  # bytes of these
    parked: int
    trash: int

    @property
    def name(self) -> str:
        return os.fsdecode(self.folder.rpartition(b"/")[2])


def look_at_others(driver: Driver, site: Site, memory: Memory) -> None:
    """Look at what has changed since the last look, or has come of age."""
    now = site.memory.now
    if now is None or not site.memory.others:
        return
    seen = _recall(memory)
    due = {
        lineage: changed
        for lineage, changed in site.memory.others
        if seen.get(lineage, (0, 0))[0] != changed or seen[lineage][1] <= now
    }
    for lineage, changed in due.items():
        seen[lineage] = (changed, _look_at(driver, site, site.layout.workdir + b"/" + lineage, now))
    if due:
        there = {lineage for lineage, _ in site.memory.others}
        memory.remember({name: [*times] for name, times in seen.items() if name in there}, NAME)


def is_torn(driver: Driver, site: Site) -> bool:
    """Whether a run of any job has moved something aside and not brought it home."""
    folders = [site.layout.workdir]
    for _ in ("jobs", "runs"):
        listings = list(driver.run((list_directory(site, folder) for folder in folders), TOGETHER))
        folders = [
            folder + b"/" + os.fsencode(name)
            for folder, listing in zip(folders, listings, strict=True)
            for name, attrs in listing.names
            if kind_of(attrs) is Kind.DIR and not is_mark(name) and not is_note(name)
            if name != os.fsdecode(STORE)
        ]
    asked = (list_directory(site, folder + b"/parked") for folder in folders)
    parked = [name for listing in driver.run(asked, TOGETHER) for name in listing.names]
    return bool(parked)


def _recall(memory: Memory) -> dict[bytes, tuple[int, int]]:
    value = memory.recall(NAME)
    if not isinstance(value, dict):
        return {}
    return {
        name: (times[0], times[1])
        for name, times in value.items()
        if isinstance(name, bytes) and isinstance(times, list) and [*map(type, times)] == [int, int]
    }


def _look_at(driver: Driver, site: Site, ours: bytes, now: int) -> int:
    """One job's folder; returns when it is worth to look again though nothing changes."""
    listing = driver.call(list_directory(site, ours))
    kept = read_notes(ours, listing)
    marked = {run.folder for run in kept.runs}
    folders = {
        ours + b"/" + os.fsencode(name): attrs.mtime
        for name, attrs in listing.names
        if kind_of(attrs) is Kind.DIR and not is_note(name) and not is_mark(name)
    }
    asked = [_inspect(site, folder, at, now) for folder, at in folders.items() if folder not in marked]
    runs = list(driver.run(asked, TOGETHER // 4))
    gone = [run for run in runs if run.staged and not run.parked and _is_over(site, run, now)]
    for run in gone:
        _remove(driver, site, run)
    left = [run for run in runs if run not in gone]
    parts = list(_told(left, sum(run.count for run in kept.runs), now))
    if parts:
        site.say(f"of another job there is in {shown(ours)}: {'; '.join(parts)}")
    return min((run.newest + OLD for run in left if run.staged and not run.parked), default=NEVER)


def _is_over(site: Site, run: _Run, now: int) -> bool:
    return run.newest + OLD <= now or site.is_lost(run.name)


def _inspect(site: Site, folder: bytes, changed: int, now: int) -> Recipe[_Run]:
    paths = [folder, *(folder + part for part in (b"/staging", b"/parked", b"/trash"))]
    listings: list[Listing] = yield [list_directory(site, path) for path in paths]
    _, staging, parked, trash = listings
    # Of a staged file that is complete it is the time of its source.
    times = [attrs.mtime for listing in listings[:2] for _, attrs in listing.names if attrs.mtime <= now]
    size = sum(attrs.size for _, attrs in staging.names if kind_of(attrs) is Kind.FILE)
    counts = (len(staging.names), size, len(parked.names), len(trash.names))
    return _Run(folder, max([changed, *times]), *counts)


def _remove(driver: Driver, site: Site, run: _Run) -> None:
    """Shut the run's folder, so that what a dead client has still asked for fails; what is staged goes."""
    folder = run.folder
    if not folder.endswith(DEAD):
        if driver.call(act(Rename(folder, folder + DEAD))) is not OK:
            return
        folder += DEAD
    if not purge(driver, site, [folder + b"/staging"]):
        site.say(
            f"removed what a dead run had staged and nobody comes back for: {_files(run)}, {shown(folder)}"
        )
    driver.call(_send([Rmdir(folder + part) for part in (b"/parked", b"/trash", b"")]))


def _send(requests: Sequence[Verb]) -> Recipe[None]:
    yield requests


def _files(run: _Run) -> str:
    things = "file or folder" if run.staged == 1 else "files or folders"
    return f"{run.staged:,} {things} of {run.size:,} bytes"


def _told(runs: Sequence[_Run], kept: int, now: int) -> Iterator[str]:
    for run in runs:
        if run.staged:
            days = max(0, now - run.newest) // DAY
            yield f"{_files(run)}, staged by a run that is at work or died {days} days ago (they go after 30)"
        if run.parked:
            yield f"{run.parked:,} moved aside by a run that did not end, for its next run to put back"
    if trash := sum(run.trash for run in runs):
        yield f"{trash:,} in the trash of runs that did not end"
    if kept:
        yield f"{kept:,} kept for somebody to look at"
