"""Looking at what is on the server, and renaming it, so that nothing behind a link is meant.

What may live here: what replaces LSTAT, READLINK, RENAME and SYMLINK where a server's own
follow links. Everywhere else these are one request, and that is what the usual server gets.
"""

from __future__ import annotations

import os
import posixpath
import stat

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core import observe
from reconcile.core.model import PERMISSIONS, Entry, Kind, Seen
from reconcile.remotes.tree.site import Site, act, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.tags import pack
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Code,
    Lstat,
    Names,
    Readlink,
    Realpath,
    Remove,
    Rename,
    Set,
    Status,
    Symlink,
    Verb,
)

NO_WAY = "this server renames and removes what a link leads to instead of the link, so it was not touched"
_A_LINK = stat.S_IFLNK | 0o777
_NOTHING = Attrs(0, 0, 0)


def look(site: Site, path: bytes) -> Recipe[Attrs | Status]:
    """LSTAT, of a link too where the server's tells of what it leads to.

    A link that it shows proves nothing: one to nowhere is shown everywhere.
    """
    there: Attrs | Status
    if site.quirks.lstat_shows:
        there = yield Lstat(path)
        return there
    there, link = yield [Lstat(path), Readlink(path)]
    if isinstance(there, Attrs):
        return link_or(there, link, path)
    seen = link_or(_NOTHING, link, path)
    return there if seen is _NOTHING else seen


def link_or(there: Attrs, link: Names | Status, path: bytes) -> Attrs:
    """What LSTAT should say of a path, by what READLINK did; else it is as ``there`` says."""
    content = content_of(link)
    # Itself: that is no link, but a server that has an answer to anything.
    if content is None or content == path or kind_of(there) is Kind.SYMLINK:
        return there
    return replace(there, mode=_A_LINK, size=len(content))


def content_of(reply: Names | Status) -> bytes | None:
    """What READLINK told."""
    return reply.names[0][0] if isinstance(reply, Names) and len(reply.names) == 1 else None


class Told(Struct, frozen=True):
    """What the server tells of a symlink."""

    link: str | None = None  # None: nothing
    is_end: bool = False  # it is where the link leads in the end, past all others


NOT_TOLD = Told()


def tell_link(site: Site, path: bytes) -> Recipe[Told]:
    """The target of a symlink; what READLINK fails to tell is where it leads in the end.

    (asyncssh's reads a relative one from where the server was started.)
    """
    content = content_of((yield Readlink(path)))
    if content is not None:
        return Told(os.fsdecode(content))
    end = None if site.quirks.verbatim else content_of((yield Realpath(path)))
    return NOT_TOLD if end is None or end == path else Told(os.fsdecode(end), is_end=True)


def read_link(site: Site, path: bytes) -> Recipe[str | None]:
    """The same, for who makes it anew; None if it can't be read."""
    return (yield from tell_link(site, path)).link


def symlink(site: Site, content: bytes, path: bytes) -> Verb:
    """SYMLINK with its arguments as this server takes them."""
    return Symlink(path, content) if site.quirks.path_first else Symlink(content, path)


def show(site: Site, path: bytes, attrs: Attrs, link: str | None = None) -> Recipe[Seen]:
    """What is at a path of which ``look`` told ``attrs``: a link with what it holds.

    That is taken to be ``link``, where the server tells no more than that both end at the same.
    """
    if kind_of(attrs) is not Kind.SYMLINK:
        return seen_as(site, b"", attrs)
    told = yield from tell_link(site, path)
    directory = path.rpartition(b"/")[0]
    ours = posixpath.join(directory, os.fsencode(link or ""))
    # By a link that leads to itself it would only be told where it leads by now.
    if told.is_end and link is not None and posixpath.normpath(ours) != path:
        end = content_of((yield Realpath(ours)))
        if end is not None and os.fsdecode(end) == told.link:
            told = Told(link)
    return seen_as(site, directory, attrs, told)


def seen_as(site: Site, directory: bytes, attrs: Attrs, told: Told = NOT_TOLD) -> Seen:
    """The same of something in a directory; of a link that is what was ``told``."""
    kind = kind_of(attrs)
    tag = pack(attrs.size, attrs.mtime) if kind is Kind.FILE else b""
    above = None if told.link is None or site.quirks.verbatim else os.fsdecode(directory)
    mode = attrs.mode & PERMISSIONS
    return Seen(kind, mode, attrs.size, attrs.mtime, tag, told.link, above, told.is_end)


def matches(site: Site, path: bytes, attrs: Attrs, entry: Entry) -> Recipe[bool]:
    """Whether the server still shows what we believe."""
    if entry.kind is Kind.SYMLINK and kind_of(attrs) is not Kind.SYMLINK:
        attrs = yield from _look_twice(site, path, attrs)
    if kind_of(attrs) is not entry.kind:
        return False
    return observe.matches((yield from show(site, path, attrs, entry.link)), entry, site)


def intended(site: Site, path: bytes, attrs: Attrs, new: Entry) -> Recipe[bool]:
    """Whether a file or link is exactly as we were to bring it: taken as done."""
    if new.kind is Kind.DIR or kind_of(attrs) is not new.kind:
        return False
    return observe.intended((yield from show(site, path, attrs, new.link)), new, site)


def _look_twice(site: Site, path: bytes, attrs: Attrs) -> Recipe[Attrs]:
    """``attrs`` of what was our link. Where it is one still, the server is another than the one we knew,
    of the same version: then nothing is believed of what it does with links.
    """
    seen = link_or(attrs, (yield Readlink(path)), path)
    if seen is not attrs:
        site.quirks = replace(
            site.quirks, lstat_shows=False, readdir_shows=False, moves_links=False, verbatim=None
        )
        site.ask_anew()
    return seen


def rename(site: Site, source: bytes, target: bytes, link: str | None = None) -> Recipe[Status]:
    """Rename anything to where nothing is. ``link``: what it holds if it is a link, as far as that is known.

    A directory that forbids writing can't change its parent, so it is opened meanwhile.
    RACE: killed in between, it keeps the wider mode until it is changed here or refreshed.
    """
    if not site.quirks.moves_links and (yield from is_link(site, source)):
        return (yield from _make_anew(site, source, target, link))
    status = yield from act(Rename(source, target))
    if status.code != Code.DENIED:
        return status
    there = yield from look(site, source)
    if not isinstance(there, Attrs) or kind_of(there) is not Kind.DIR or there.mode & 0o200:
        return status
    mode = stat.S_IMODE(there.mode)
    if (yield from act(Set(source, mode | 0o700, None))) is not OK:
        return status
    status = yield from act(Rename(source, target))
    yield Set(target if status is OK else source, mode, None)
    return status


def _make_anew(site: Site, source: bytes, target: bytes, link: str | None) -> Recipe[Status]:
    """A link in another place, where RENAME would take what it leads to.

    What it holds is as the server tells it, unless we know. Where the server does not tell that
    literally it may hold a whole path afterwards.
    """
    if not site.quirks.removes_links or site.quirks.makes_links is False:
        return Status(Code.FAILED, NO_WAY)
    content: str | None = link if link is not None else (yield from read_link(site, source))
    if content is None:
        return Status(Code.FAILED, NO_WAY)
    status = yield from act(symlink(site, os.fsencode(content), target))
    if status is OK:
        status = yield from act(Remove(source))
        if status is not OK:
            yield Remove(target)
    return status


def make_room(site: Site, path: bytes) -> Recipe[Status]:
    """Remove a link that is about to be renamed over, where that would mean what it leads to."""
    if site.quirks.moves_links or not (yield from is_link(site, path)):
        return OK
    return (yield from remove_link(site, path))


def is_link(site: Site, path: bytes) -> Recipe[bool]:
    """Whether there is a link at a path."""
    there = yield from look(site, path)
    return isinstance(there, Attrs) and kind_of(there) is Kind.SYMLINK


def remove_link(site: Site, path: bytes) -> Recipe[Status]:
    """REMOVE of what is a link, if the server takes it for one."""
    if site.quirks.removes_links is False:
        return Status(Code.FAILED, NO_WAY)
    return (yield from act(Remove(path)))
