"""Why a rename was refused: the place, the name, or the right to rename at all.

What may live here: finding that out, with files of our own.
"""

from __future__ import annotations

from enum import Enum, auto

from msgspec.structs import replace

from reconcile.core.model import Problem, Reason
from reconcile.core.paths import parent
from reconcile.remotes.tree.disks import note_elsewhere
from reconcile.remotes.tree.layout import STAGING, inside
from reconcile.remotes.tree.run_folder import try_to_make
from reconcile.remotes.tree.site import Site, act, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import (
    OK,
    UNCLEAR,
    Close,
    Code,
    Handle,
    Mkdir,
    Remove,
    Rename,
    Rmdir,
    Status,
)

NO_RENAME = "we may rename nothing there, and files are put in place by a rename; allow it there"
NEUTRAL = b".reconcile-"
BAD_NAME = "this name is not taken there; it may hold what is forbidden"
_WORTH_A_LOOK = UNCLEAR | {Code.DENIED, Code.UNSUPPORTED}


class Why(Enum):
    """Why a staged file could not be renamed to its path."""

    NAME = auto()  # it may go there by another name
    PLACE = auto()  # no rename leads from its staging folder to there
    RIGHT = auto()  # the server denies it there
    BARRED = auto()  # and everywhere


def why_not_published(site: Site, path: str, staged: bytes, status: Status) -> Recipe[Why | None]:
    """Of a staged file, which may be gone afterwards. None: no way to tell."""
    if status.code not in _WORTH_A_LOOK:
        return None
    in_our_folder = staged.startswith(site.layout.run + b"/")
    if in_our_folder and site.memory.is_elsewhere(parent(path)):  # found out by another file, meanwhile
        return Why.PLACE
    neutral = site.layout.fresh_beside(path)
    tried = yield from act(Rename(staged, neutral))
    if tried is OK:
        yield Remove(neutral)
        return Why.NAME
    if (yield from is_barred(site)):
        return Why.BARRED
    if in_our_folder and tried.code in UNCLEAR and (yield from note_elsewhere(site, path)):
        return Why.PLACE
    return Why.RIGHT


def why_not_moved(site: Site, path: str, failed: Problem, status: Status) -> Recipe[Problem]:
    """Of something that could not be renamed to ``path``: the problem ``failed``, or a better one.

    IMMOVABLE: content that is sent anew may get there.
    """
    if status.code not in _WORTH_A_LOOK or failed.reason is Reason.NO_SPACE:
        return failed
    if (yield from is_barred(site)):
        return failed
    if not (yield from _takes_name(site, path)):
        return replace(failed, reason=Reason.BAD_NAME, message=f"rename something to it: {BAD_NAME}")
    site.say_once("not all that was moved here can be renamed there; that is sent anew")
    return replace(failed, reason=Reason.IMMOVABLE)


def is_barred(site: Site) -> Recipe[bool]:
    """Whether the server denies a rename even inside our own folder: then nothing can be put in place."""
    if site.renames is None:
        yield from try_to_make(site, {STAGING})
        one, other = site.layout.fresh(STAGING), site.layout.fresh(STAGING)
        opened: Handle | Status = yield site.open_new(one, 0o600)
        if isinstance(opened, Handle):
            yield Close(opened.handle)
            site.renames = (yield from act(Rename(one, other))) is OK
            site.quirks = replace(site.quirks, renames=None if site.renames else False)
            yield Remove(other if site.renames else one)
    if (
        site.renames is False and site.memory.full is None
    ):  # no more content is sent: it could not be put in place
        site.memory.full = problem("", Reason.DENIED, NO_RENAME)
        site.say_once(f"{NO_RENAME}. No content is sent in this run; all else goes on")
    return site.renames is False


def _takes_name(site: Site, path: str) -> Recipe[bool]:
    """Give the name to a file of ours, in a folder of ours."""
    folder = site.layout.fresh(STAGING)
    neutral, named = folder + b"/" + NEUTRAL, inside(folder, path.rpartition("/")[2])
    yield Mkdir(folder, 0o700)
    opened: Handle | Status = yield site.open_new(neutral, 0o600)
    taken = True
    if isinstance(opened, Handle):
        yield Close(opened.handle)
        taken = (yield from act(Rename(neutral, named))) is OK
        yield Remove(named if taken else neutral)
    yield Rmdir(folder)
    return taken
