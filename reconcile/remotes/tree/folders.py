"""Making directories that are ours, or lead to what is ours: never through a link.

What may live here: that, and what is told where something stands in the way.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import Any

from reconcile.core.errors import ReconcileError, Refused, Unreachable
from reconcile.core.model import Kind, Reason
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.mark import shown
from reconcile.remotes.tree.site import Site, absent, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Lstat, Mkdir, Stat, Status, Verb


def directory_of(path: bytes) -> bytes:
    """The directory that a path is in."""
    return path.rpartition(b"/")[0] or b"/"


def find_missing(path: bytes, known: Sequence[Attrs | Status]) -> Recipe[list[bytes]]:
    """What is to be made so that DEST is there, the topmost first. ``known``: what it and its parent are."""
    missing: list[bytes] = []
    there = known[0]
    while absent(there) and path not in (b"", b"/"):
        missing.insert(0, path)
        path = directory_of(path)
        there = known[len(missing)] if len(missing) < len(known) else (yield Stat(path))
    if isinstance(there, Attrs) and not stat.S_ISDIR(there.mode):
        raise Refused(
            f"{shown(path)} on the remote is not a directory, so DEST can't be made below it. "
            "Nothing was done. Choose another DEST, or move what is in its way."
        )
    return missing


def make_shared(site: Site, folder: bytes) -> Recipe[None]:
    """DEST as far as it is missing, our folder, and one in it that is no job's."""
    base: Attrs | Status = yield Stat(site.layout.base)
    missing = yield from find_missing(site.layout.base, [base])
    yield from check_base(site, missing, (yield [Mkdir(path, 0o777) for path in missing]))
    above = directory_of(site.layout.workdir)
    if above not in (site.layout.base, b"/"):
        yield from make_parents(site, above)
    yield from make(site, site.layout.workdir, folder)
    site.layout.vacant = False


def check_base(site: Site, paths: Sequence[bytes], statuses: Sequence[Status]) -> Recipe[None]:
    """What came of making DEST and what is above it."""
    for path, status in zip(paths, statuses, strict=True):
        if status is not OK:
            there = yield from look(site, path)
            if isinstance(there, Attrs) and kind_of(there) is Kind.DIR:
                continue  # made by somebody else since we looked
            if isinstance(there, Attrs) and kind_of(there) is Kind.SYMLINK:
                raise Refused(
                    f"{shown(path)} on the remote is a link that leads to no directory. "
                    "Nothing was done. Choose another DEST, or correct the link."
                )
            raise (yield from refusal(site, path, status))


def make_parents(site: Site, parent: bytes) -> Recipe[None]:
    """Where our folder is not in DEST."""
    missing = []
    while absent(there := (yield Stat(parent))) and parent != b"/":
        missing.append(parent)
        parent = directory_of(parent)
    if isinstance(there, Attrs) and kind_of(there) is not Kind.DIR:
        raise in_the_way(parent, there)
    yield from make(site, *reversed(missing))


def make(site: Site, *paths: bytes) -> Recipe[list[Attrs]]:
    """Directories of ours, each inside the one before or beside it, for nobody else to read."""
    return (yield from check_made(site, paths, (yield from in_turn(site, making(paths)))))


def in_turn(site: Site, requests: Sequence[Verb]) -> Recipe[list[Any]]:
    """Requests that need one another: sent together, as most servers keep to the order.

    What one that does not has refused for it is asked once more, one by one.
    """
    replies: list[Any] = yield requests
    if not site.quirks.ordered and any(map(absent, replies)):
        for index, request in enumerate(requests):
            if isinstance(replies[index], Status) and replies[index] is not OK:
                replies[index] = yield request
    return replies


def making(paths: Sequence[bytes]) -> list[Verb]:
    """What asks for them: see ``check_made``."""
    return [request for path in paths for request in (Mkdir(path, 0o700), Lstat(path))]


def check_made(site: Site, paths: Sequence[bytes], replies: Sequence[Attrs | Status]) -> Recipe[list[Attrs]]:
    """What they are: through a link we would write elsewhere."""
    made: list[Attrs] = []
    for path, status, there in zip(paths, replies[::2], replies[1::2], strict=True):
        if isinstance(there, Status):
            refused = status if isinstance(status, Status) and status is not OK else there
            raise (yield from refusal(site, path, refused))
        if kind_of(there) is not Kind.DIR:
            raise in_the_way(path, there)
        made.append(there)
    return made


def in_the_way(path: bytes, there: Attrs) -> Refused:
    """There is no directory where one of ours belongs."""
    return Refused(
        f"{shown(path)} on the remote is a {kind_of(there) or 'special file'}, where our working folder "
        "belongs. Nothing was done. Remove it, or give another place with --remote-workdir."
    )


def refusal(site: Site, path: bytes, status: Status) -> Recipe[ReconcileError]:
    """Why the first write failed."""
    failed = yield from explain(site, "", f"make {shown(path)}", status)
    out = " Make DEST writable for this user, or give a writable place with --remote-workdir."
    if failed.reason is Reason.NO_SPACE:
        out = ""
    return Unreachable(f"The remote can't be written to: {failed.message}. Nothing was done.{out}")
