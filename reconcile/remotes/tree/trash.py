"""What goes to the run's trash: under which name, and what is known of it.

What may live here: moving things of ours there, and the list of what was seen in them
before. Only what is on that list is purged (``purge``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from reconcile.core.model import Action, Kind, Op
from reconcile.core.paths import join
from reconcile.remotes.tree.link import is_link, remove_link, rename
from reconcile.remotes.tree.memory import Discarded
from reconcile.remotes.tree.site import Site, act
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, UNCLEAR, Code, Remove, Status

ITSELF: Sequence[tuple[str, bool]] = (("", False),)  # what goes with a file or link

_NO_RENAME = UNCLEAR | {Code.UNSUPPORTED, Code.DENIED}


def discard(site: Site, path: str, holds: Sequence[tuple[str, bool]] = ITSELF) -> Recipe[Status]:
    """Move to the trash, or, where there is none, no rename leads to it or none is allowed, remove.

    ``holds``: all that was seen to go with it, itself ("") included, parents first, and whether
    it is a directory.
    """
    source = site.layout.at(path)
    if not site.quirks.moves_links and (yield from is_link(site, source)):
        return (yield from remove_link(site, source))
    if not site.layout.has_trash:
        return (yield from act(Remove(source)))
    place = _place(site, path)
    status = yield from rename(site, source, place)
    if status is OK:
        site.memory.discarded.append(Discarded(place, path, holds))
    if status.code in _NO_RENAME:
        removed = yield from act(Remove(source))
        return status if removed is not OK else removed
    return status


def _place(site: Site, path: str) -> bytes:
    """Somewhere in the trash. The name tells what it was, to who knows the plan: should this run not end."""
    return site.layout.fresh(b"trash", name_of(path) + b"-")


def name_of(path: str) -> bytes:
    """What a path is called in a folder of ours."""
    return hashlib.blake2b(os.fsencode(path), digest_size=6).hexdigest().encode()


def owner_of(place: bytes) -> bytes:
    """What of a place's name tells what it holds: a key of ``foresee``."""
    return place.rpartition(b"/")[2].partition(b"-")[0]


def foresee(actions: Sequence[Action]) -> Mapping[bytes, Discarded]:
    """What ``actions`` may have brought to the trash, by what its places are called."""
    known: dict[bytes, Discarded] = {}
    for action in actions:
        for name, entry in action.members:
            path = join(action.path, name)
            if entry.kind is not Kind.DIR:
                known[name_of(path)] = Discarded(b"", path, ITSELF)
    for action in actions:
        is_tree = action.op is Op.DELETE and action.kind is Kind.DIR
        members = ((name, entry.kind is Kind.DIR) for name, entry in action.members)
        holds = [("", True), *members] if is_tree else ITSELF
        known[name_of(action.path)] = Discarded(b"", action.path, holds)
    return known
