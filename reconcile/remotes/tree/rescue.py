"""What a dead run had staged and not yet put in place: found by name, size, time, and published.

What may live here: taking it over from the dead run's folder, which is fenced off, and putting in
place what is whole. A staged file gets its time last, after all its content.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence

from reconcile.core.model import PERMISSIONS, Action, Kind, Op, Outcome
from reconcile.core.paths import parent
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.layout import STAGING, inside
from reconcile.remotes.tree.link import intended, look
from reconcile.remotes.tree.listing import BATCH, TOGETHER, Listing, batches, list_directory
from reconcile.remotes.tree.parents import look_at_parents, trouble_above
from reconcile.remotes.tree.site import Site, absent, act
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.trash import name_of, owner_of
from reconcile.remotes.tree.verbs import OK, Attrs, Rename, Status, Verb

MOMENT = 3600  # seconds; by more a server's clock is not wrong


def staging_place(site: Site, path: str) -> bytes:
    """Where a file, or all of a directory, is staged. The name tells what it is, to who knows the plan."""
    if (whole := site.memory.places.get(parent(path))) is not None:
        return inside(whole, path.rpartition("/")[2])
    return site.layout.fresh(STAGING, name_of(path) + b"-")


def take_staged(driver: Driver, site: Site, dead: Sequence[bytes], make: Callable[[], Recipe[None]]) -> None:
    """Bring to this run's staging folder, which ``make`` makes, what ``dead`` runs had, the last first."""
    for folder in dead:
        listing = driver.call(list_directory(site, folder + b"/" + STAGING))
        if listing.names:
            driver.call(make())
        moves = [
            (folder + b"/" + STAGING + b"/" + name, site.layout.fresh(STAGING, owner_of(name) + b"-"))
            for name in (os.fsencode(name) for name, _ in listing.names)
            if b"-" in name and owner_of(name) not in site.memory.staged
        ]
        for some in batches(moves, BATCH):
            statuses = driver.call(_send([Rename(old, new) for old, new in some]))
            taken = (new for (_, new), status in zip(some, statuses, strict=True) if status is OK)
            site.memory.staged.update((owner_of(new), new) for new in taken)


def place_of(site: Site, path: str) -> bytes | None:
    """Where a dead run may have staged a file: by itself, or with all that is in its directory."""
    staged = site.memory.staged
    if (place := staged.get(name_of(path))) is not None:
        return place
    whole = staged.get(name_of(parent(path)))
    return None if whole is None else inside(whole, path.rpartition("/")[2])


def find_staged(driver: Driver, site: Site, runs: Sequence[bytes]) -> None:
    """Look, and change nothing: what ``runs``, the last one first, have staged."""
    for folder in runs:
        staging = folder + b"/" + STAGING
        for name, _ in driver.call(list_directory(site, staging)).names:
            site.memory.staged.setdefault(owner_of(os.fsencode(name)), staging + b"/" + os.fsencode(name))


def _send(requests: Sequence[Verb]) -> Recipe[list[Status]]:
    statuses: list[Status] = yield requests
    return statuses


def rescue(driver: Driver, site: Site, actions: Sequence[Action]) -> Iterator[Outcome]:
    """Put in place what is staged whole of new files; those of which it is not get no outcome.

    Where no folder of this run was made, nothing is changed: that is what would be.
    """
    wanted = [action for action in actions if action.op is Op.CREATE and action.kind is Kind.FILE]
    if not site.memory.staged or not wanted:
        return
    for _ in driver.run(look_at_parents(site, wanted), BATCH):
        pass  # what they find is noted in ``site``
    folders = {name_of(parent(action.path)) for action in wanted} & site.memory.staged.keys()
    listed = driver.run((_list(site, name) for name in folders), TOGETHER)
    found = {name: dict(listing.names) for name, listing in listed}
    recipes = (_publish(site, action, found.get(name_of(parent(action.path)), {})) for action in wanted)
    yield from (outcome for outcome in driver.run(recipes, BATCH) if outcome is not None)


def _is_settled(site: Site, there: Attrs) -> bool:
    """Whether its time was set, and is not by chance that of a WRITE: of several one may be missing."""
    return there.size <= site.block or there.mtime < time.time() - MOMENT


def _list(site: Site, name: bytes) -> Recipe[tuple[bytes, Listing]]:
    return name, (yield from list_directory(site, site.memory.staged[name]))


def _publish(site: Site, action: Action, beside: dict[str, Attrs]) -> Recipe[Outcome | None]:
    new = action.new
    assert new is not None
    last = action.path.rpartition("/")[2]
    there: Attrs | Status | None = beside.get(last)
    if there is not None:
        place = inside(site.memory.staged[name_of(parent(action.path))], last)
    elif (place_ := site.memory.staged.get(name_of(action.path))) is not None:
        place, there = place_, (yield from look(site, place_))
    if not isinstance(there, Attrs) or trouble_above(site, action) is not None:
        return None
    mode = site.mode_for(new, is_new=True)
    if mode is not None and there.mode & PERMISSIONS != mode:
        return None
    if not _is_settled(site, there) or not (yield from intended(site, place, there, new)):
        return None
    target = site.layout.at(action.path)
    # RACE: but for OpenSSH, a server may overwrite what comes here since we look.
    only_looks = not site.layout.run
    if (only_looks or not site.quirks.refuses) and not absent((yield from look(site, target))):
        return None
    if not only_looks and (yield from act(Rename(place, target))) is not OK:
        return None
    return Outcome(action, {action.path: site.recorded(new, there.mtime, new.digest, mode)})
