"""What a server does, tried in our own folder before anything is built on it, once for each version of it.

What may live here: recipes that try things, and what their answers prove. On a server that
announces what OpenSSH's does all of it is asked in one burst, along with the making of
our folder; that is its proof of order, too. Elsewhere question follows answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

from msgspec.structs import replace

from reconcile.core.job import Links
from reconcile.core.model import Kind
from reconcile.remotes.tree.attributes import try_attributes
from reconcile.remotes.tree.layout import STAGING
from reconcile.remotes.tree.link import content_of, symlink
from reconcile.remotes.tree.site import Site, kind_of
from reconcile.remotes.tree.steps import Farewell, Recipe
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Close,
    Code,
    Handle,
    Lstat,
    Mkdir,
    Names,
    Opendir,
    OpenNew,
    Readdir,
    Readlink,
    Remove,
    Rename,
    Replace,
    Rmdir,
    Status,
    Verb,
)

_NEVER = (Code.DENIED, Code.UNSUPPORTED)  # in a folder of our own: so everywhere
_NO_SUCH_FLAGS = (Code.MISSING, Code.FAILED)
_LEFT_OUT = "they are left out; --links follow brings what they lead to"
CHAIN = 64  # requests of which each needs the one before

_Reply: TypeAlias = "Attrs | Handle | Names | Status"


def try_out(site: Site, *, together: bool) -> Recipe[None]:
    """Learn what is found out by trying, in this run's staging folder. ``together``: in one burst.

    What could not be tried (the disk may be full) stays unknown.
    """
    if not together:
        site.quirks = replace(site.quirks, ordered=False)
        yield from _clear_away([(yield from open_anyhow(site, path := site.layout.fresh(STAGING)))], [path])
        yield [
            _try_renames(site, together=False),
            _try_links(site, together=False),
            _try_attributes(site, together=False),
        ]
        return
    went, *_ = yield [
        _went_in_order(site),
        _try_renames(site, together=True),
        _try_links(site, together=True),
        _try_attributes(site, together=True),
    ]
    site.quirks = replace(site.quirks, ordered=went)
    if not went:  # what the other answers seem to prove is void
        first = site.quirks.path_first or None
        site.quirks = replace(
            site.quirks, refuses=None, makes_links=None, path_first=first, lstat_shows=None, moves_links=None
        )


def open_anyhow(site: Site, path: bytes, opened: Handle | Status | None = None) -> Recipe[Handle | Status]:
    """Open a new file of ours, as npm ssh2 wants it where the usual way (``opened``, if tried) fails."""
    opened = opened or (yield site.open_new(path, 0o600))
    if isinstance(opened, Handle) or site.quirks.truncates or opened.code not in _NO_SUCH_FLAGS:
        return opened
    again: Handle | Status = yield OpenNew(path, 0o600, truncate=True)
    if isinstance(again, Handle):
        site.quirks = replace(site.quirks, truncates=True)
        return again
    return opened


def _in_turn(requests: Sequence[Verb], *, together: bool) -> Recipe[list[_Reply]]:
    """The replies to requests that need one another."""
    replies: list[_Reply]
    if together:
        replies = yield requests
        return replies
    replies = []
    for request in requests:
        reply: _Reply = yield request
        replies.append(reply)
    return replies


def _went_in_order(site: Site) -> Recipe[bool]:
    """Whether a directory that is made, renamed again and again and removed in one breath is always there."""
    names = [site.layout.fresh(STAGING) for _ in range(CHAIN - 1)]
    steps: list[Verb] = [
        Mkdir(names[0], 0o700),
        *(Rename(old, new) for old, new in pairwise(names)),
        Rmdir(names[-1]),
    ]
    statuses: list[Status] = yield steps
    if statuses[-1] is not OK:
        yield [Rmdir(name) for name in names]
    return all(status is OK for status in statuses)


def _try_attributes(site: Site, *, together: bool) -> Recipe[None]:
    """Whether modes and times are kept. ``together``: told by what comes along with the next questions."""
    path = site.layout.fresh(STAGING)
    opened: Handle | Status = yield site.open_new(path, 0o600)
    if not isinstance(opened, Handle):
        return
    trying = try_attributes(site, path, opened, together=together)
    if together:
        site.later.append(trying)
    else:
        yield from trying


def _try_renames(site: Site, *, together: bool) -> Recipe[None]:
    """Whether RENAME leaves a file alone that is there already."""
    one, other, third = (site.layout.fresh(STAGING) for _ in range(3))
    replies = yield from _in_turn(
        [
            site.open_new(one, 0o600),
            site.open_new(other, 0o600),
            Rename(one, other),
            Lstat(one),
            Lstat(other),
            Rename(one, third),  # for it may have been refused for another reason
        ],
        together=together,
    )
    *opened, onto, first, second, away = replies
    if isinstance(first, Attrs) and isinstance(second, Attrs) and onto is not OK and away is OK:
        site.quirks = replace(site.quirks, refuses=True)
    elif onto is OK:
        site.quirks = replace(site.quirks, refuses=False)
    elif isinstance(away, Status) and away.code in _NEVER and all(isinstance(r, Handle) for r in opened):
        site.quirks = replace(site.quirks, refuses=False, renames=False)
    yield from _clear_away(opened, [one, other, third])


def _try_links(site: Site, *, together: bool) -> Recipe[None]:
    """The order of SYMLINK's arguments, and what the server does with a link."""
    guess, known = site.quirks.path_first, site.quirks.makes_links
    failed = yield from _try_link(site, together=together)
    if failed is not None and guess is not False:  # what is known already would only make another answer
        site.quirks = replace(site.quirks, path_first=not guess)
        failed = yield from _try_link(site, together=False)
    if failed is not None:
        # Denied in a folder of our own, it is denied everywhere; or nobody can see it. Else it may be for
        # want of space.
        denied = failed.code in (Code.OK, Code.UNSUPPORTED, Code.DENIED)
        site.quirks = replace(site.quirks, path_first=guess, makes_links=False if denied else None)
    if known is not False and site.quirks.makes_links is False and site.options.links is Links.KEEP:
        site.say_once(f"{site.who} makes no links, or none that lead where they should: {_LEFT_OUT}")


def _try_link(site: Site, *, together: bool) -> Recipe[Status | None]:
    """None if a link was made where it should be, else what SYMLINK said.

    It leads to ``.``: with the arguments the other way round that is there already, wherever
    the server begins to look, so that nothing is made outside our folder.
    """
    folder = site.layout.fresh(STAGING)
    names = (b"/link", b"/moved", b"/stays", b"/gone", b"/file")
    link, moved, stays, gone, file = (folder + name for name in names)
    asked = [
        Mkdir(folder, 0o700),
        *(symlink(site, b".", path) for path in (link, stays, gone)),
        Readlink(link),
        Readlink(folder),
        Lstat(link),
        Opendir(folder),
        Remove(gone),
        Readlink(gone),
        Rename(link, moved),
        Readlink(moved),
        Lstat(moved),
        site.open_new(file, 0o600),
    ]
    if Replace in site.can:
        asked += [Replace(file, moved), Readlink(moved), Lstat(moved)]
    replies = yield from _in_turn(asked, together=together)
    (_, made, _, _, read, plain, shown, listed), replies = replies[:8], replies[8:]
    removed, read_gone, renamed, read_again, seen_again, opened, *replaced = replies
    yield from _clear_away([opened], [link, moved, gone, file])
    if isinstance(plain, Names) or not _is_link(read, shown):
        yield from _clear_away([listed], [stays])
        yield Farewell(Rmdir(folder))
        return made if isinstance(made, Status) else OK
    takes_it = renamed is OK and _is_link(read_again, seen_again)
    if replaced:
        put, read_after, seen_after = replaced
        takes_it = takes_it and put is OK and not _is_link(read_after, seen_after)
    content = content_of(read) if isinstance(read, Names) else None
    # Conch's lead from the login folder, wherever they are: what is beside it is not seen through it.
    is_true = content in (None, b".") or isinstance((yield Lstat(stays + b"/stays")), Attrs)
    site.quirks = replace(
        site.quirks,
        makes_links=is_true,
        path_first=bool(site.quirks.path_first),
        lstat_shows=_is_link(OK, shown),
        moves_links=takes_it,
        removes_links=removed is OK and isinstance(read_gone, Status),
        verbatim=None if content is None else content == b".",
    )
    site.later.append(_read_names(site, folder, listed))
    return None


def _is_link(read: _Reply, shown: _Reply) -> bool:
    """Whether READLINK or LSTAT says so."""
    return isinstance(read, Names) or (isinstance(shown, Attrs) and kind_of(shown) is Kind.SYMLINK)


def _read_names(site: Site, folder: bytes, listed: _Reply) -> Recipe[None]:
    """Whether READDIR shows the link that is left as one."""
    stays = folder + b"/stays"
    if isinstance(listed, Handle):
        shown: Names | Status = yield Readdir(listed.handle)
        if isinstance(shown, Names):
            kinds = [kind_of(attrs) for name, attrs in shown.names if name == b"stays"]
            site.quirks = replace(site.quirks, readdir_shows=kinds == [Kind.SYMLINK])
    yield from _clear_away([listed], [stays])
    yield Farewell(Rmdir(folder))


def _clear_away(opened: Sequence[_Reply], paths: Sequence[bytes]) -> Recipe[None]:
    """Nobody waits for it: what stays is purged with the staging folder."""
    for reply in opened:
        if isinstance(reply, Handle):
            yield Farewell(Close(reply.handle))
    for path in paths:
        yield Farewell(Remove(path))
