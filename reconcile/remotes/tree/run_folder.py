"""The run's own folder, and those in it: made as far as the run needs them.

What may live here: which are needed, and making them; a new server is tried out along with it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress

from reconcile.core.errors import ReconcileError, Unreachable
from reconcile.core.model import Action, Op
from reconcile.remotes.tree.failure import READ_ONLY, not_sent
from reconcile.remotes.tree.folders import make
from reconcile.remotes.tree.layout import PARKING, STAGING
from reconcile.remotes.tree.mark import shown
from reconcile.remotes.tree.probe import try_out
from reconcile.remotes.tree.site import Site
from reconcile.remotes.tree.steps import Recipe

TRASH = b"trash"


def make_parts(site: Site, actions: Iterable[Action]) -> Recipe[None]:
    """Make the run's folder, and those in it that ``actions`` need and that are not there yet."""
    return make_run_folder(site, parts_for(actions))


def parts_for(actions: Iterable[Action], *, retires: bool = False) -> set[bytes]:
    """The folders in the run's that ``actions`` need; ``retires``: what they replace goes to the trash."""
    kinds = {
        (action.op, action.keep or (retires and action.old is not None), action.parks) for action in actions
    }
    return {part for op, keep, parks in kinds for part in _parts_for(op, keep=keep, parks=parks)}


def try_to_make(site: Site, parts: AbstractSet[bytes]) -> Recipe[None]:
    """Early, as it takes no round trip more. If it fails, that is told once they are needed."""
    with suppress(ReconcileError):
        yield from make_run_folder(site, parts)


def make_and_try(site: Site, parts: AbstractSet[bytes]) -> Recipe[None]:
    """The same, and learn the server's ways where nobody did: in one burst if they may be OpenSSH's."""
    if not site.quirks.untried:
        yield from try_to_make(site, parts)
        return
    making = try_to_make(site, parts | {STAGING})
    if site.claims_openssh:
        yield [making, try_out(site, together=True)]
        if site.quirks.ordered:
            return
    else:
        yield from making
    if STAGING in site.layout.parts:
        yield from try_out(site, together=False)


def make_run_folder(site: Site, parts: AbstractSet[bytes]) -> Recipe[None]:
    """Where the disk is full the folders are missing: nothing is sent then, but deletes go on."""
    missing = sorted(parts - site.layout.parts)
    if not missing or not_sent(site, "") is not None:
        return
    made = [] if site.layout.parts else [site.layout.run]
    try:
        *_, part = yield from make(site, *made, *(site.layout.run + b"/" + part for part in missing))
    except Unreachable:
        if site.memory.full is None or READ_ONLY in site.memory.full.message:
            raise
    else:
        site.layout.parts.update(missing)
        site.memory.now = part.mtime
        if site.memory.owner is not None and site.memory.owner != part.uid:
            site.say_once(
                f"{shown(site.layout.workdir)}, our folder on the remote, is user {site.memory.owner}'s, and "
                f"we are user {part.uid} there: who owns it can change what is in it. Give a place of your "
                "own with --remote-workdir if that is not meant to be"
            )
        site.memory.user = part.uid
        site.memory.group, site.memory.hands_down = part.gid, bool(part.mode & stat.S_ISGID)


def _parts_for(op: Op, *, keep: bool, parks: bool) -> Iterator[bytes]:
    if op in (Op.CREATE, Op.MODIFY):
        yield STAGING
    if parks:
        yield PARKING
    if op is Op.DELETE or keep:
        yield TRASH
