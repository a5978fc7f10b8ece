"""A new file whose content is at another path there: it gets a second name, and nothing is sent.

What may live here: the recipe, and what has to be so. Where it is not, the file is sent as any other.
"""

from __future__ import annotations

from msgspec import Struct

from reconcile.core.model import PERMISSIONS, Action, Entry
from reconcile.core.paths import ancestors, parent
from reconcile.remotes.tree.link import intended, matches
from reconcile.remotes.tree.parents import look_at
from reconcile.remotes.tree.rescue import staging_place
from reconcile.remotes.tree.site import Site
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Attrs, HardLink, Lstat, Remove


class Named(Struct, frozen=True):
    """It is in our staging folder, too."""

    held: Entry  # what holds once it is published
    place: bytes


def name_again(site: Site, action: Action) -> Recipe[Named | None]:
    """Stage a file by a hard link to where it is. None: it has to be sent.

    Both names are of one file until the old one goes, so it has to have its mode and time already. It is
    looked at by its second name, which nobody else has.
    """
    new, moved, origin = action.new, action.moved, action.source
    if new is None or moved is None or origin is None or HardLink not in site.can:
        return None
    if not (site.memory.suits(parent(action.path)) and (yield from is_reached(site, origin))):
        return None
    place = staging_place(site, action.path)
    _, there = yield [HardLink(site.layout.at(origin), place), Lstat(place)]
    if not isinstance(there, Attrs):
        return None
    mode = site.mode_for(new)
    is_same = (
        (yield from matches(site, place, there, moved))
        and (mode is None or there.mode & PERMISSIONS == mode)
        and (not site.sends_times or (yield from intended(site, place, there, new)))
    )
    if not is_same:
        yield Remove(place)
        return None
    return Named(site.recorded(new, there.mtime, new.digest, mode), place)


def is_reached(site: Site, path: str) -> Recipe[bool]:
    """Whether all directories above a path are ours: none is a link by now."""
    for top in reversed(list(ancestors(parent(path)))):
        if top and top not in site.memory.parents:
            yield from look_at(site, top)
        if site.memory.parents.get(top) is not None:
            return False
    return True
