"""What is in a directory of the server's.

What may live here: reading names off the wire, and what is done with many paths at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct, field

from reconcile.core.model import Kind
from reconcile.core.twins import fold_name
from reconcile.remotes.tree.layout import inside
from reconcile.remotes.tree.link import content_of, link_or
from reconcile.remotes.tree.site import Site, absent, kind_of
from reconcile.remotes.tree.steps import Farewell, Recipe
from reconcile.remotes.tree.verbs import (
    Attrs,
    Close,
    Code,
    Handle,
    Names,
    Opendir,
    Readdir,
    Readlink,
    Realpath,
    Stat,
    Status,
)

T = TypeVar("T")

TOGETHER = 32  # directories that one recipe lists at a time: each costs a handle on the server
BATCH = 256  # renames or removes that one recipe has under way
MOST_NAMES = 1_000_000  # in one directory: a server that lists more has lost its place, and would for ever
ENDLESS = f"it lists more than {MOST_NAMES:,} names in one directory, and does not come to an end"
HIDDEN = Status(Code.FAILED, "it says that the directory is not there, and shows it")
AHEAD = 2, 64  # READDIRs sent at once, at first and at most: OpenSSH answers with 100 names, then with EOF


class Listing(Struct):
    """What is in a directory. ``bad`` names can't be paths; ``failed`` is how it ended, if badly."""

    names: list[tuple[str, Attrs]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    failed: Status | None = None


def batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """``items`` in slices."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def list_directory(site: Site, path: bytes, *, as_shown: bool = False) -> Recipe[Listing]:
    """Names and attributes in a directory, ``.`` and ``..`` left out, in the server's order.

    A link is shown as one, whatever the server says of it, unless it matters to nobody (``as_shown``).
    """
    opened: Handle | Status = yield Opendir(path)
    return (yield from read_names(site, path, opened, as_shown=as_shown))


def list_for_sure(site: Site, path: bytes) -> Recipe[Listing]:
    """The same, but what the server says is not there, and yet shows, failed to be listed."""
    listing = yield from list_directory(site, path)
    if absent(listing.failed) and isinstance((yield Stat(path)), Attrs):
        listing.failed = HIDDEN
    return listing


def read_names(
    site: Site, path: bytes, opened: Handle | Status, *, as_shown: bool = False
) -> Recipe[Listing]:
    """The same of a directory that was opened, or could not be."""
    listing = Listing()
    if isinstance(opened, Status):
        listing.failed = opened
        return listing
    ended = False
    ahead, most = AHEAD
    while not ended:
        replies: list[Names | Status] = yield [Readdir(opened.handle)] * ahead
        ahead = min(2 * ahead, most)
        for reply in replies:
            if isinstance(reply, Names):
                _take_names(reply, listing)
                ended = ended or len(listing.names) + len(listing.bad) > MOST_NAMES
                ended = ended or not reply.names  # an empty answer would come for ever
            else:
                ended = True
                if reply.code != Code.EOF:
                    listing.failed = reply
    yield Farewell(Close(opened.handle))
    if len(listing.names) + len(listing.bad) > MOST_NAMES:
        return Listing(failed=Status(Code.FAILED, ENDLESS))
    if not site.quirks.readdir_shows and not as_shown:
        yield from _see_links(site, path, listing)
    return listing


def _see_links(site: Site, path: bytes, listing: Listing) -> Recipe[None]:
    """Ask of each name that is not shown as a link whether it is one.

    What announces all that OpenSSH does is only asked of directories, which we may descend into.
    """
    kinds = {Kind.DIR} if site.claims_openssh else {Kind.DIR, Kind.FILE, None}
    suspects = [n for n, (_, attrs) in enumerate(listing.names) if kind_of(attrs) in kinds]
    for some in batches(suspects, BATCH):
        places = [inside(path.rstrip(b"/"), listing.names[n][0]) for n in some]
        links: list[Names | Status] = yield [Readlink(place) for place in places]
        for n, place, link in zip(some, places, links, strict=True):
            name, attrs = listing.names[n]
            listing.names[n] = name, link_or(attrs, link, place)
    if site.quirks.verbatim is None and not site.claims_openssh:
        yield from _see_ways(path, listing)


def _spelt(path: bytes) -> str:
    """A path as far as it matters where it leads."""
    return fold_name(os.fsdecode(b"/".join(filter(None, path.split(b"/")))))


def _see_ways(path: bytes, listing: Listing) -> Recipe[None]:
    """The same of directories where READLINK may tell nothing: what leads elsewhere is a link."""
    folders = [n for n, (_, attrs) in enumerate(listing.names) if kind_of(attrs) is Kind.DIR]
    for some in batches(folders, BATCH):
        places = [inside(path.rstrip(b"/"), listing.names[n][0]) for n in some]
        ways: list[Names | Status] = yield [Realpath(place) for place in places]
        for n, place, way in zip(some, places, ways, strict=True):
            end = content_of(way)
            if end is not None and _spelt(end) != _spelt(place):
                name, attrs = listing.names[n]
                listing.names[n] = name, link_or(attrs, way, place)


def _take_names(reply: Names, listing: Listing) -> None:
    for raw, attrs in reply.names:
        if raw in (b".", b".."):
            continue
        name = os.fsdecode(raw)
        if not raw or b"/" in raw or b"\0" in raw:
            listing.bad.append(name)
        else:
            listing.names.append((name, attrs))
