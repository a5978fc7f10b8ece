"""The part of the trash that outlives its run: how much is in it, who is told, and when it goes.

A run that kept something leaves an empty directory beside its own, ``<run>.kept-<count>``.
So the listing of the job's folder, which is made anyway, tells of all that is kept, and
nothing of a run that has ended is looked into any more.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from reconcile.core.model import Kind
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.listing import Listing, list_directory
from reconcile.remotes.tree.purge import purge
from reconcile.remotes.tree.site import Site, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Mkdir, Rmdir, Verb

_MARK = re.compile(rb"(.+)\.kept-([0-9]+)")


class KeptRun(Struct, frozen=True):
    """What an ended run has left."""

    folder: bytes
    count: int  # things; a directory is one
    since: int  # when it ended, in seconds of the server's clock
    mark: bytes


class Kept(Struct, eq=False):
    """All that is kept of a job's, as far as it is known."""

    runs: list[KeptRun] = field(default_factory=list)
    orphans: list[bytes] = field(default_factory=list)  # marks of what somebody has removed
    untold: list[tuple[bytes, int]] = field(default_factory=list)  # runs that did not come to tell it


def read_notes(ours: bytes, listing: Listing) -> Kept:
    """What the listing of the job's folder ``ours`` tells."""
    kept = Kept()
    names = {os.fsencode(name): attrs for name, attrs in listing.names if kind_of(attrs) is Kind.DIR}
    for name, attrs in names.items():
        if (match := _MARK.fullmatch(name)) is None:
            continue
        mark = ours + b"/" + name
        if match[1] in names:
            kept.runs.append(KeptRun(ours + b"/" + match[1], int(match[2]), attrs.mtime, mark))
        else:
            kept.orphans.append(mark)
    return kept


def is_note(name: str) -> bool:
    """Whether a name in the job's folder is no run's."""
    return _MARK.fullmatch(os.fsencode(name)) is not None


def count_kept(site: Site, folder: bytes) -> Recipe[tuple[bytes, int | None]]:
    """How many things a run has kept; None: nothing of it is left."""
    kept: Listing
    kept, left = yield [list_directory(site, folder + path) for path in (b"/trash/kept", b"/left")]
    return folder, len(kept.names) if kept.names or left.names else None


def settle_kept(driver: Driver, site: Site, kept: Kept) -> Iterator[bytes]:
    """At the end of a run: purge what the user wants to be gone, tell what was added, and leave marks.

    Returns folders that could not be removed.
    """
    expired = list(_expired(site, kept.runs))
    yield from _purge(driver, site, expired)
    ended = [*kept.untold, *([(site.layout.run, site.memory.keeps)] if site.memory.keeps else [])]
    if added := [(folder, count) for folder, count in ended if count]:
        site.warn(_tell(site, added, [run for run in kept.runs if run not in expired and run.count]))
    marks = [Mkdir(b"%b.kept-%d" % one, 0o700) for one in ended]
    orphans = [Rmdir(mark) for mark in kept.orphans]
    if marks or orphans:
        driver.call(_send([*marks, *orphans]))


def _send(requests: list[Verb]) -> Recipe[None]:
    yield requests  # what fails is done by a later run


def _expired(site: Site, runs: Iterable[KeptRun]) -> Iterator[KeptRun]:
    age = site.options.keep
    if age is not None and site.memory.now is not None:
        yield from (run for run in runs if run.since + age < site.memory.now)


def _purge(driver: Driver, site: Site, runs: list[KeptRun]) -> Iterator[bytes]:
    """What was moved aside and found no place (``left``) stays: it was in nobody's way."""
    for run in runs:
        stuck = purge(driver, site, [run.folder + b"/trash"])
        yield from stuck
        if not stuck:
            driver.call(_send([Rmdir(run.folder), Rmdir(run.mark)]))


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
