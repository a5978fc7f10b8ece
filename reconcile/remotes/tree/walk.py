"""What DEST holds, looked through before anything is done there.

What may live here: what only looks. Nothing is descended into that may be a link.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from reconcile.core.errors import Refused, Unreachable
from reconcile.core.model import RESERVED_NAME, RESERVED_PREFIX, UNSEEN, Kind, Seen
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.layout import inside
from reconcile.remotes.tree.link import NOT_TOLD, Told, look, seen_as, show, tell_link
from reconcile.remotes.tree.listing import HIDDEN, TOGETHER, Listing, batches, list_for_sure
from reconcile.remotes.tree.site import Site, absent, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Code, Status

MOST_DEEP = (
    256  # directories inside one another; more are links that lead round in a ring, and not shown as such
)


def walk(
    driver: Driver, site: Site, top: str, in_flight: int, say: Callable[[str], None]
) -> Iterator[tuple[str, Seen]]:
    """Everything below ``top``, breadth first, our own files left out."""
    level = [] if site.layout.vacant else [top]
    for _ in range(MOST_DEEP):
        deeper: list[str] = []
        for path, listing, links in _list_all(driver, site, level, in_flight):
            if listing.failed is not None and not absent(listing.failed):
                _tell_unlisted(site, path, listing.failed, is_top=path == top, say=say)
            for name in listing.bad:
                say(f"{site.who} lists a name that can't be one, in {path!r}: {name!r}; left out")
            where = site.layout.at(path)
            for name, attrs in listing.names:
                if not path and (name == RESERVED_NAME or name.startswith(RESERVED_PREFIX)):
                    continue
                child = f"{path}/{name}" if path else name
                if kind_of(attrs) is Kind.DIR:
                    deeper.append(child)
                yield child, seen_as(site, where, attrs, links.get(name, NOT_TOLD))
        level = deeper
        if not level:
            return
    say(f"{level[0]!r} is {MOST_DEEP} directories deep; what is in it and beside it there is unknown")


def observe(site: Site, path: str) -> Recipe[tuple[str, Seen | None]]:
    """What is at a path; None: nothing. What we may not see may be something."""
    where = site.layout.at(path)
    there = yield from look(site, where)
    if isinstance(there, Status):
        return path, None if absent(there) else UNSEEN
    return path, (yield from show(site, where, there))


def _tell_unlisted(
    site: Site, path: str, failed: Status, *, is_top: bool, say: Callable[[str], None]
) -> None:
    what = "permission denied" if failed.code == Code.DENIED else failed.message or "it failed"
    shown = os.fsdecode(site.layout.at(path))
    if is_top and failed is HIDDEN:
        raise Refused(
            f"The server shows {shown!r}, and says that it is not there when it is to be listed: what it "
            "holds can't be seen. Nothing was done. On some servers one link that leads nowhere is enough "
            "for that: remove it there, or choose another DEST."
        )
    if is_top:
        raise Unreachable(
            f"The server does not list {shown!r}: {what}. Nothing was done. "
            "Make DEST readable for this user, or choose another."
        )
    say(f"{site.who} does not list {path!r}: {what}; what is in it is unknown")


def _list_all(
    driver: Driver, site: Site, paths: Sequence[str], in_flight: int
) -> Iterator[tuple[str, Listing, dict[str, Told]]]:
    """Directories, and once more and fewer at a time those that were refused without a word."""
    while paths:
        refused: list[str] = []
        for found in driver.run((_list(site, path) for path in paths), in_flight):
            path, listing, _ = found
            silent = listing.failed is not None and listing.failed.code == Code.FAILED
            if silent and in_flight > 1 and not site.tells_limits:
                refused.append(path)
            else:
                yield found
        paths, in_flight = refused, in_flight // 2


def _list(site: Site, path: str) -> Recipe[tuple[str, Listing, dict[str, Told]]]:
    """A directory with the targets of the links in it."""
    where = site.layout.at(path)
    listing = yield from list_for_sure(site, where)
    links = [name for name, attrs in listing.names if kind_of(attrs) is Kind.SYMLINK]
    targets: dict[str, Told] = {}
    for some in batches(links, TOGETHER):
        read = yield [tell_link(site, inside(where.rstrip(b"/"), name)) for name in some]
        targets.update(zip(some, read, strict=True))
    return path, listing, targets
