"""The job's mark in its folder on the server: found, judged and renamed.

What may live here: what goes by the mark's name, and no more of our folder (``workdir``).
"""

from __future__ import annotations

import os

from reconcile.core.errors import Refused, Stale, Unreachable
from reconcile.core.marks import BEFORE, explain_marks, is_mark
from reconcile.core.model import RESERVED_NAME, Footing
from reconcile.remotes.tree.listing import Listing, list_directory
from reconcile.remotes.tree.site import Site, absent, act
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Code, Remove, Rename, Rmdir, Status


def job_folder(site: Site, lineage: str) -> bytes:
    """Where all that is the job's lies on the server."""
    return site.layout.workdir + b"/" + os.fsencode(lineage)


def find_marks(site: Site, footing: Footing) -> Recipe[None]:
    """Look whether the mark is one of ours. Raises Refused, or Stale."""
    yield from expect_filled(site, footing)
    ours = site.layout.job = job_folder(site, footing.lineage)
    listing = yield from list_directory(site, ours)
    if lacks_mark(footing, listing) and (former := (yield from find_former(site, footing))) is not None:
        place, listing = former
        ours = place + b"/" + os.fsencode(footing.lineage)
    judge(site, footing, ours, listing)


def expect_filled(site: Site, footing: Footing) -> Recipe[None]:
    """Raise Refused where DEST is empty or gone that should not be: a disk that is not mounted, say.

    Its mark, if it lies elsewhere, is still there.
    """
    base = site.layout.base
    if footing.filled and not (site.layout.workdir + b"/").startswith(base.rstrip(b"/") + b"/"):
        listing = yield from list_directory(site, base)
        if not listing.names and (listing.failed is None or absent(listing.failed)):
            raise Refused(
                f"DEST, {shown(base)}, is empty, where this job has left something. Was it wiped, or is it "
                f"not mounted? Nothing was done. What it held is known from {footing.state!r}. If DEST is to "
                "be filled anew, run once with --start-over, which forgets that, and adopts what is there."
            )


def lacks_mark(footing: Footing, listing: Listing) -> bool:
    """Whether the mark should be there and is not."""
    return footing.known and not any(is_mark(name) for name, _ in listing.names)


def find_former(site: Site, footing: Footing) -> Recipe[tuple[bytes, Listing] | None]:
    """Where the job's folder was before --remote-workdir was changed, and what is in it; None: nowhere."""
    name = RESERVED_NAME.encode()
    usual = site.layout.base.rstrip(b"/") + b"/" + name
    for place in dict.fromkeys((os.fsencode(footing.workdir), usual)):
        # In another folder than DEST under its usual name: DEST is a link, say, and led there before.
        is_of_another = place != usual and place.endswith(b"/" + name)
        if place and place != site.layout.workdir and not is_of_another:
            listing = yield from list_directory(site, place + b"/" + os.fsencode(footing.lineage))
            if not {name for name, _ in listing.names}.isdisjoint((*footing.marks, footing.fresh)):
                return place, listing
    return None


def judge(site: Site, footing: Footing, ours: bytes, listing: Listing) -> None:
    """Whether what is in the job's folder fits what we believe. Raises Refused, or Stale."""
    site.memory.marks = tuple(name for name, _ in listing.names if is_mark(name))
    if listing.failed is not None and not absent(listing.failed):
        denied = listing.failed.code == Code.DENIED
        why = "permission denied" if denied else listing.failed.message
        raise Unreachable(
            f"The server does not list {shown(ours)}: {why or 'it failed'}. Nothing was done. Make DEST, and "
            "what is in our folder there, readable for this user."
        )
    _expect_ours(site, footing)
    if footing.known and not site.memory.marks:
        raise Refused(_is_gone(ours, footing.state))


def judge_others(site: Site, footing: Footing, likely: str, listing: Listing) -> None:
    """The same where the likely mark was there, and may have been renamed before or while it was listed."""
    others = [name for name, _ in listing.names if is_mark(name) and name not in (likely, footing.fresh)]
    site.memory.marks = (*site.memory.marks, *others)
    _expect_ours(site, footing)


def _expect_ours(site: Site, footing: Footing) -> None:
    if set(site.memory.marks) - {*footing.marks, footing.fresh}:
        raise Stale(explain_marks(footing.marks[0], site.memory.marks), site.memory.marks)


def rename_mark(site: Site, name: str) -> Recipe[None]:
    """Give the mark a new name, and remove further ones. If that fails, they stay as they are."""
    ours = site.layout.job + b"/"
    if not name or not site.memory.marks:
        return
    mark, *others = (
        site.memory.marks if name not in site.memory.marks else (name, *(set(site.memory.marks) - {name}))
    )
    paths = [ours + os.fsencode(each) for each in (mark, *others)]
    renaming = [act(Rename(paths[0], ours + os.fsencode(name)))] if mark != name else []
    replies = yield [*renaming, *map(remove_mark, paths[1:])]
    if renaming and replies.pop(0) is OK:
        mark = name
    site.memory.marks = (mark, *(other for other, gone in zip(others, replies, strict=True) if not gone))


def remove_mark(mark: bytes) -> Recipe[bool]:
    """Remove one, whether it is a directory or a file."""
    yield Remove(mark + b"/" + BEFORE.encode())
    statuses: list[Status] = yield [Rmdir(mark), Remove(mark)]
    return OK in statuses


def mark_paths(ours: bytes, name: str) -> tuple[list[bytes], bytes]:
    """A directory to make for a mark, and the file in it; versions before had the file alone."""
    path = ours + b"/" + os.fsencode(name)
    return ([], path) if name == BEFORE else ([path], path + b"/" + BEFORE.encode())


def _is_gone(ours: bytes, state: str) -> str:
    return (
        f"DEST is not as this job left it: its mark is missing in {shown(ours)}. Was the remote wiped, "
        "restored from elsewhere, or is it not mounted? Nothing was done. What it held is known from "
        f"{state!r}. If DEST is to be filled anew, run once with --start-over, which forgets that, and "
        "adopts what is there."
    )


def shown(path: bytes) -> str:
    """A path of the server's for a message."""
    return repr(os.fsdecode(path))[1:-1]
