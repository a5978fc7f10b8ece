"""A look at DEST for who wants to know before a run: tried in a folder of our own there, which goes again.

What may live here: what is tried and measured, and clearing it away. What it means is in
``findings``.
"""

from __future__ import annotations

import os
import time

from msgspec import Struct, field

from reconcile.core.errors import ConnectionLost, Interrupted, ProtocolError, ReconcileError, Refused
from reconcile.core.job import Stop
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.folders import directory_of, make
from reconcile.remotes.tree.layout import STAGING
from reconcile.remotes.tree.listing import list_directory
from reconcile.remotes.tree.mark import shown
from reconcile.remotes.tree.naming import look_for_signs, try_names
from reconcile.remotes.tree.pace import Pace, fetch, send, time_sync
from reconcile.remotes.tree.purge import purge
from reconcile.remotes.tree.run_folder import make_and_try, make_run_folder
from reconcile.remotes.tree.site import Site, absent, act
from reconcile.remotes.tree.spread import compare
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Close,
    Handle,
    Lstat,
    Replace,
    Rmdir,
    Space,
    Stat,
    Status,
    Statvfs,
    Sync,
    Write,
)

OURS = b"doctor"  # beside the jobs' folders: what is tried is in one of its own below it
A_LOT = 1 << 40  # bytes that are worth all channels
LOOKS = 9  # that are timed
ROUNDS = 3  # tries to make our folder, should another doctor be clearing up
ABANDONED = 86_400  # seconds after which nobody is at work there any more


class Examined(Struct, eq=False):
    """What came to light, as far as it did: the rest is None."""

    is_there: bool = True  # DEST
    parent_is_there: bool = True
    space: Space | None = None
    round_trips: list[float] = field(default_factory=list)  # seconds, sorted
    refused: str = ""  # why nothing could be tried
    replaces: bool | None = None
    sent: Pace | None = None
    fetched: Pace | None = None
    wanted: int = 1  # channels
    channels: int = 1  # that were granted
    spread: Pace | None = None  # sent over all of them, where a run would
    synced: float | None = None  # seconds for a small file
    left: str = ""  # what could not be removed again


def examine(driver: Driver, site: Site, run: str, stop: Stop) -> Examined:
    """Look, try in a new folder called ``run``, and leave nothing. Raises ConnectionLost.

    Where DEST is not there it is not made, and nothing is tried. If ``stop`` asks for it, Interrupted
    is raised once all is cleared away.
    """
    site.say = site.warn = _to_nobody  # what is learned is told as a whole
    seen = Examined()
    seen.round_trips = sorted(_time_look(driver, site) for _ in range(LOOKS))
    driver.call(_look_around(site, seen))
    if not seen.is_there:
        return seen
    ours = site.layout.workdir + b"/" + OURS
    site.layout.run = ours + b"/" + os.fsencode(run)
    was_there = isinstance(driver.call(_look(site.layout.workdir)), Attrs)
    try:
        driver.call(_move_in(site, ours))
        _try_all(driver, site, seen, stop)
    except (ConnectionLost, ProtocolError) as lost:
        rest = f"What was tried may be left in {shown(site.layout.run)}; it may be removed."
        raise type(lost)(f"{lost} (while doctor was trying things out in DEST). {rest}") from None
    except ReconcileError as error:
        seen.refused = str(error)
    except Interrupted:
        _move_out(driver, site, seen, ours, all_of_it=not was_there)
        raise
    _move_out(driver, site, seen, ours, all_of_it=not was_there)
    return seen


def _to_nobody(_message: str) -> None:
    """See ``examine``."""


def _look(path: bytes) -> Recipe[Attrs | Status]:
    there: Attrs | Status = yield Lstat(path)
    return there


def _time_look(driver: Driver, site: Site) -> float:
    began = time.perf_counter()
    driver.call(_look(site.layout.base))
    return time.perf_counter() - began


def _look_around(site: Site, seen: Examined) -> Recipe[None]:
    base, parent = site.layout.base, directory_of(site.layout.workdir)
    there, above, around = yield [Stat(base), Stat(directory_of(base)), Stat(parent)]
    seen.is_there, seen.parent_is_there = isinstance(there, Attrs), isinstance(above, Attrs)
    if not absent(there) and not seen.is_there:
        raise Refused(f"DEST, {shown(base)}, can't be looked at: {there.message or 'it failed'}.")
    if seen.is_there and absent(around):
        seen.refused = f"{shown(parent)}, where our folder is to be, is not there: a run makes it"
        seen.is_there = False
    if Statvfs in site.can:
        space: Space | Status = yield Statvfs(base if seen.is_there else directory_of(base))
        seen.space = space if isinstance(space, Space) else None


def _move_in(site: Site, ours: bytes) -> Recipe[None]:
    """Make our folder. Raises Unreachable where that can't be done, Refused where something is in its way.

    RACE: another doctor may remove what both are in just then: so it is tried again.
    """
    for left in reversed(range(ROUNDS)):
        try:
            yield from make(site, site.layout.workdir, ours)
            yield from make_run_folder(site, {STAGING})
        except ReconcileError:
            if not left or not absent((yield Lstat(ours))):
                raise
        else:
            return


def _try_all(driver: Driver, site: Site, seen: Examined, stop: Stop) -> None:
    driver.call(make_and_try(site, {STAGING}))
    for question in site.later:
        driver.call(question)
    site.later.clear()
    stop.check()
    if Replace in site.can:
        seen.replaces = driver.call(_try_to_replace(site))
    driver.call(try_names(site))
    stop.check()
    room = None if seen.space is None else seen.space.bytes
    path = site.layout.fresh(STAGING)
    seen.sent = send(driver, site, [path], room)
    stop.check()
    if seen.sent.size:
        seen.fetched = fetch(driver, path, seen.sent.size)
    stop.check()
    would_spread = driver.ask_for_channels([A_LOT]) and driver.take_channels(wait=True)
    seen.wanted, seen.channels = driver.open_all_channels(), driver.channels
    if seen.channels > 1:
        driver.call(compare(site))
        driver.call(look_for_signs(site))
    if would_spread and seen.channels > 1 and site.quirks.channels_agree and not seen.sent.failed:
        paths = [site.layout.fresh(STAGING) for _ in range(seen.channels)]
        seen.spread = send(driver, site, paths, room)
    if Sync in site.can:
        seen.synced = time_sync(driver, site)


def _try_to_replace(site: Site) -> Recipe[bool]:
    """Whether a file takes the place of another in one step."""
    old, new = site.layout.fresh(STAGING), site.layout.fresh(STAGING)
    one: Handle | Status = yield site.open_new(old, 0o600)
    other: Handle | Status = yield site.open_new(new, 0o600)
    if isinstance(other, Handle):
        yield Write(other.handle, 0, b"new")
    for opened in (one, other):
        if isinstance(opened, Handle):
            yield Close(opened.handle)
    status = yield from act(Replace(new, old))
    there = yield Lstat(old)
    return status is OK and isinstance(there, Attrs) and there.size == 3


def _move_out(driver: Driver, site: Site, seen: Examined, ours: bytes, *, all_of_it: bool) -> None:
    """Remove what is ours, and what others who tried died over.

    RACE: a run that finds our working folder, which it would else have made, just before it goes
    can't make its own in it: it ends with nothing done, and says so.
    """
    listing = driver.call(list_directory(site, ours))
    now = site.memory.now
    dead = [
        ours + b"/" + os.fsencode(name)
        for name, attrs in listing.names
        if now is not None and attrs.mtime + ABANDONED < now
    ]
    left = purge(driver, site, [site.layout.run, *dead]) if listing.names else []
    seen.left = ", ".join(map(shown, left))
    driver.call(_leave([ours, site.layout.workdir] if all_of_it else [ours]))


def _leave(folders: list[bytes]) -> Recipe[None]:
    """Those that nobody else is in."""
    for folder in folders:
        yield from act(Rmdir(folder))
