"""The parts of the trash that outlive their run: how much is in them, who is told, and when it goes.

A run that kept something leaves an empty directory beside its own, ``<run>.kept-<count>``, and one that
retired something of ours ``<run>.old-<count>-<bytes>``. So the listing of the job's folder, which is made
anyway, tells of all that is there, and nothing of a run that has ended is looked into any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from msgspec import Struct, field

from reconcile.core.model import Kind
from reconcile.remotes.retired import Note, find_expired, find_outgrown, read_note, tell_retired
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.layout import KEPT, OLD
from reconcile.remotes.tree.listing import Listing, list_directory
from reconcile.remotes.tree.purge import purge
from reconcile.remotes.tree.site import Site, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Mkdir, Rmdir, Verb


class KeptRun(Struct, frozen=True):
    """What an ended run has left."""

    folder: bytes
    count: int  # things; a directory is one
    size: int  # bytes of content, where that is told
    since: int  # when it ended, in seconds of the server's clock
    mark: bytes


class Left(Struct, frozen=True):
    """How many things a run has left in its folder."""

    folder: bytes
    kept: int
    old: int
    size: int = 0  # bytes of content in the old ones


class Kept(Struct, eq=False):
    """All that is kept of a job's, as far as it is known."""

    runs: list[KeptRun] = field(default_factory=list)
    old: list[KeptRun] = field(default_factory=list)  # what was ours, and has an age
    orphans: list[bytes] = field(default_factory=list)  # marks of what somebody has removed
    untold: list[Left] = field(default_factory=list)  # runs that did not come to tell it


def read_notes(ours: bytes, listing: Listing) -> Kept:
    """What the listing of the job's folder ``ours`` tells."""
    kept = Kept()
    names = {name: attrs for name, attrs in listing.names if kind_of(attrs) is Kind.DIR}
    for name, attrs in names.items():
        if (note := read_note(name)) is None:
            continue
        mark = ours + b"/" + os.fsencode(name)
        if note.run in names:
            folder = ours + b"/" + os.fsencode(note.run)
            of_its_kind = kept.runs if note.is_kept else kept.old
            of_its_kind.append(KeptRun(folder, note.count, note.size, attrs.mtime, mark))
        else:
            kept.orphans.append(mark)
    return kept


def is_note(name: str) -> bool:
    """Whether a name in the job's folder is no run's."""
    return read_note(name) is not None


def name_mark_of(folder: bytes, count: int, size: int, *, is_kept: bool) -> bytes:
    """The mark of so much that the run of this folder has left."""
    return os.fsencode(Note(os.fsdecode(folder), count, size, is_kept).name)


def count_kept(site: Site, folder: bytes) -> Recipe[Left | None]:
    """How many things a run has left; None: nothing."""
    kept: Listing
    kept, old, left = yield [list_directory(site, folder + b"/" + path) for path in (KEPT, OLD, b"left")]
    found = Left(folder, len(kept.names), len(old.names), sum(attrs.size for _, attrs in old.names))
    return found if kept.names or old.names or left.names else None


def settle_kept(driver: Driver, site: Site, kept: Kept) -> Iterator[bytes]:
    """At the end of a run: purge what the user wants to be gone, tell what was added, and leave marks.

    Returns folders that could not be removed.
    """
    memory = site.memory
    ended = [*kept.untold, Left(site.layout.run, memory.keeps, memory.retired, memory.retired_bytes)]
    expired = find_expired(kept.runs, site.options.keep, memory.now)
    yield from _purge(driver, site, expired, KEPT)
    if added := [(left.folder, left.kept) for left in ended if left.kept]:
        site.warn(_tell(site, added, [run for run in kept.runs if run not in expired and run.count]))
    fresh, limits = sum(left.size for left in ended), site.options.trash
    outgrown = [] if limits is None else [*find_outgrown(kept.old, limits, memory.now, fresh)]
    yield from _purge(driver, site, outgrown, OLD)
    if count := sum(left.old for left in ended):
        site.say(tell_retired(count, fresh, [run for run in kept.old if run not in outgrown]))
    marks = [
        Mkdir(name_mark_of(left.folder, left.kept, 0, is_kept=True), 0o700)
        for left in ended
        if left.kept or (not left.old and left in kept.untold)
    ]
    marks += [
        Mkdir(name_mark_of(left.folder, left.old, left.size, is_kept=False), 0o700)
        for left in ended
        if left.old
    ]
    orphans = [Rmdir(mark) for mark in kept.orphans]
    if marks or orphans:
        driver.call(_send([*marks, *orphans]))


def _send(requests: list[Verb]) -> Recipe[None]:
    yield requests  # what fails is done by a later run


def let_go(driver: Driver, site: Site, run: KeptRun, part: bytes) -> list[bytes]:
    """Remove one part of a run's trash, and its mark; returns what could not be removed."""
    stuck = purge(driver, site, [run.folder + b"/" + part])
    if not stuck:
        driver.call(_send([Rmdir(run.folder + b"/trash"), Rmdir(run.folder), Rmdir(run.mark)]))
    return stuck


def _purge(driver: Driver, site: Site, runs: list[KeptRun], part: bytes) -> Iterator[bytes]:
    """What was moved aside and found no place (``left``) stays: it was in nobody's way. So does the other
    part of the trash."""
    for run in runs:
        yield from let_go(driver, site, run, part)


def _tell(site: Site, added: list[tuple[bytes, int]], before: list[KeptRun]) -> str:
    count = sum(count for _, count in added)
    where = os.fsdecode(added[-1][0] + b"/trash/kept")
    things = "1 thing" if count == 1 else f"{count:,} things"
    text = f"{things} that made room on the remote, and may be the only copy, went to {where!r}"
    if before:
        day = time.strftime("%Y-%m-%d", time.gmtime(min(run.since for run in before)))
        total = count + sum(run.count for run in before)
        text += f"; with what was kept there since {day} that makes {total:,}"
    if site.options.keep is None:
        return f"{text}. All that stays until somebody removes it, or --keep AGE is given"
    return f"{text}. All that stays until it is as old as --keep says"
