"""More than one file system: mounts below DEST, or a work folder on another disk than DEST.

What may live here: finding that out. It shows in nothing but a rename that is refused.
"""

from __future__ import annotations

import os

from reconcile.core.model import RESERVED_PREFIX
from reconcile.core.paths import parent
from reconcile.remotes.tree.layout import inside
from reconcile.remotes.tree.site import Site, act
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Close, Handle, Remove, Rename, Status


def note_elsewhere(site: Site, path: str) -> Recipe[bool]:
    """Whether the directory of ``path`` is on another file system than our folder; its top is remembered.

    That is the topmost directory to which a file of ours can be renamed from there.
    """
    if site.memory.is_elsewhere(parent(path)):
        return True
    top, here = parent(path), site.layout.fresh_beside(path)
    opened: Handle | Status = yield site.open_new(here, 0o600)
    if not isinstance(opened, Handle):
        return False
    yield Close(opened.handle)
    home = site.layout.fresh(next(iter(site.layout.parts), b"."))
    if (yield from act(Rename(here, home))) is OK:
        yield Remove(home)
        return False
    while top:
        above = site.layout.fresh_beside(top)
        if (yield from act(Rename(here, above))) is not OK:
            break
        top, here = parent(top), above
    yield Remove(here)
    site.memory.elsewhere.add(top)
    return True


def kept_on(site: Site, disk: str) -> bytes:
    """Where things are kept that can't go to the run's trash. Nobody of ours ever removes it."""
    run = os.fsdecode(site.layout.run.rpartition(b"/")[2])
    return inside(site.layout.at(disk).rstrip(b"/"), f"{RESERVED_PREFIX}kept-{run}")
