"""Releases of what a job brings: copies of it side by side, of which a link names the one that is shown.

    DEST/releases/next      what the job brings, and the next run changes
    DEST/releases/<id>      as it was at some time: its files are second names of the same content, or copies
    DEST/shared/…           what all of them have in common
    DEST/current            a link to one of them

What may live here: making them, changing the link, and removing them. Nothing is ever written to a file that
has a second name: what changes comes as a new file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from msgspec import Struct

from reconcile.core.errors import ReconcileError, Refused, Unreachable
from reconcile.core.model import RESERVED_PREFIX, Kind
from reconcile.core.paths import is_ours, parent
from reconcile.core.shelf import CURRENT, SHARED, is_release, look_of
from reconcile.remotes.tree.copying import copy
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.layout import inside
from reconcile.remotes.tree.link import content_of, look, read_link, symlink
from reconcile.remotes.tree.listing import BATCH, TOGETHER, batches, list_directory
from reconcile.remotes.tree.mark import shown
from reconcile.remotes.tree.purge import purge
from reconcile.remotes.tree.site import Site, absent, act, kind_of
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Copy,
    HardLink,
    Lstat,
    Mkdir,
    Names,
    Readlink,
    Remove,
    Rename,
    Replace,
    Set,
    Stat,
    Status,
    Verb,
)

_FRESH, _GONE = b".new", b".gone"  # end the names of those that are not whole yet, or any more
_HALF = re.compile(r"(.*)\.(new|gone)")


class _Folder(Struct, frozen=True):
    """One to be copied."""

    old: bytes
    new: bytes
    path: str
    mode: int


class TreeShelf:
    """See ``remotes.Shelf``. The job's own tree is DEST of ``site``."""

    def __init__(self, driver: Driver, site: Site) -> None:
        self._driver = driver
        self._site = site
        self._tree = site.layout.base
        self._all = self._tree.rpartition(b"/")[0]
        self._dest = self._all.rpartition(b"/")[0]

    def try_out(self) -> None:
        """See ``Shelf``."""
        why = self._driver.call(_try_out(self._site, self._dest))
        if why:
            raise Refused(
                f"--publish release is not to be had on this server: {why}. Nothing was done. Take --publish "
                "end, which brings all that changed in one moment."
            )

    def ids(self) -> list[str]:
        """See ``Shelf``."""
        return [name for name in self._names() if is_release(name)]

    def current(self) -> str | None:
        """See ``Shelf``."""
        self._driver.call(_stay_here(self._site))
        return self._driver.call(_current(self._site, inside(self._dest, CURRENT)))

    def make(self, name: str, shared: Sequence[str]) -> dict[str, str]:
        """See ``Shelf``. One that was begun and not ended, of the same name, is gone on with."""
        site, fresh = self._site, inside(self._all, name) + _FRESH
        looks: dict[str, str] = {}
        modes: list[tuple[bytes, int]] = []
        level = [_Folder(self._tree, fresh, "", 0o755)]
        top: Attrs | Status = self._driver.call(_ask(Stat(self._tree)))
        if isinstance(top, Attrs):
            level = [_Folder(self._tree, fresh, "", top.mode & 0o777)]
        while level:
            copied = self._driver.run((_copy(site, folder, frozenset(shared)) for folder in level), TOGETHER)
            modes += [(folder.new, folder.mode) for folder in level]
            level = []
            for some, deeper in copied:
                looks |= some
                level += deeper
        for path in shared:
            self._driver.call(_share(site, self._dest, fresh, path))
        for group in batches(modes[::-1], BATCH):
            self._driver.call(_send([Set(path, mode, None) for path, mode in group]))
        return looks

    def ready(self, name: str) -> None:
        """See ``Shelf``."""
        self._driver.call(_rename(self._site, inside(self._all, name) + _FRESH, inside(self._all, name)))

    def holds(self, name: str) -> dict[str, str]:
        """See ``Shelf``."""
        found: dict[str, str] = {}
        level = [""]
        while level:
            listed = self._driver.run(
                (_list(self._site, inside(self._all, name), path) for path in level), TOGETHER
            )
            level = []
            for some, deeper in listed:
                found |= some
                level += deeper
        return found

    def switch(self, name: str) -> None:
        """See ``Shelf``."""
        self._driver.call(_switch(self._site, self._dest, b"releases/" + os.fsencode(name)))

    def drop(self, name: str) -> None:
        """See ``Shelf``."""
        self._driver.call(act(Rename(inside(self._all, name), inside(self._all, name) + _GONE)))

    def tidy(self) -> None:
        """See ``Shelf``. RACE: so goes what another run is just making, and that one fails."""
        halves = [name for name in self._names() if (match := _HALF.fullmatch(name)) and is_release(match[1])]
        purge(self._driver, self._site, [inside(self._all, name) for name in halves])

    def _names(self) -> list[str]:
        listing = self._driver.call(list_directory(self._site, self._all))
        return sorted(name for name, attrs in listing.names if kind_of(attrs) is Kind.DIR)


def _try_out(site: Site, dest: bytes) -> Recipe[str]:
    """Whether a link can be put over another in one step, and a file have two names; "": yes."""
    if Replace not in site.can:
        return "it can't rename over what is there (posix-rename@openssh.com)"
    if HardLink not in site.can:
        how = "which it makes itself" if Copy in site.can else "read back and sent again"
        site.say_once(
            f"{site.who} makes no hard links (hardlink@openssh.com): each release is a copy, {how}; "
            "--publish end does without"
        )
    if absent((yield Stat(dest))):
        return ""  # it is tried once that is there
    one, other = (_beside(dest) for _ in range(2))
    steps: list[Verb] = [
        symlink(site, b"1", one),
        symlink(site, b"2", other),
        Replace(other, one),
        Readlink(one),
    ]
    replies: list[object] = yield from _one_by_one(steps)
    yield [Remove(one), Remove(other)]
    if replies[0] is not OK:
        return f"it makes no links ({replies[0]})"
    shows = isinstance(replies[3], Names) and content_of(replies[3]) == b"2"
    return "" if shows else "it does not rename a link over another"


def _one_by_one(steps: Sequence[Verb]) -> Recipe[list[object]]:
    answers: list[object] = []
    for step in steps:
        answer: object = yield step
        answers.append(answer)
    return answers


def _beside(dest: bytes) -> bytes:
    return dest + b"/" + os.fsencode(RESERVED_PREFIX) + os.urandom(6).hex().encode()


def _stay_here(site: Site) -> Recipe[None]:
    """Raises Refused where DEST/releases, or next in it, is a link: what is beside it is in another DEST."""
    tree = site.layout.asked
    for folder in (tree.rpartition(b"/")[0], tree):
        there: Attrs | Status = yield from look(site, folder)
        if isinstance(there, Attrs) and kind_of(there) is Kind.SYMLINK:
            raise Refused(
                f"{shown(folder)} is a link, and releases have to be in DEST itself. Nothing was done. Move "
                "what it leads to to its place; or remove it, and let DEST itself be a link."
            )


def _current(site: Site, link: bytes) -> Recipe[str | None]:
    there: Attrs | Status = yield Lstat(link)
    if absent(there):
        return None
    if isinstance(there, Attrs) and kind_of(there) is not Kind.SYMLINK:
        raise Refused(
            f"{shown(link)} is no link, so it can't be made to lead to a release. Nothing was done. Move it "
            "away; a release brings all that SRC holds."
        )
    target = yield from read_link(site, link)
    head, _, name = (target or "").rpartition("/")
    if head != "releases" or not is_release(name):
        raise Refused(
            f"{shown(link)} leads to {target!r}, which is no release of ours. Nothing was done. Remove the "
            "link if it may lead to one."
        )
    return name


def _copy(site: Site, folder: _Folder, skip: frozenset[str]) -> Recipe[tuple[dict[str, str], list[_Folder]]]:
    """One directory: what is in it by second names, and what is to be copied below it."""
    made: Status = yield Mkdir(folder.new, 0o700)
    if made is not OK and not isinstance((yield Lstat(folder.new)), Attrs):
        raise (yield from _failed(site, folder.new, made))
    listing = yield from list_directory(site, folder.old)
    if listing.failed is not None:
        raise (yield from _failed(site, folder.old, listing.failed))
    looks: dict[str, str] = {}
    deeper: list[_Folder] = []
    files: list[tuple[bytes, bytes, Attrs]] = []
    for name, attrs in listing.names:
        path = f"{folder.path}/{name}" if folder.path else name
        old, new = inside(folder.old, name), inside(folder.new, name)
        if path in skip or is_ours(path) or name.startswith(RESERVED_PREFIX):
            continue
        looks[path] = _look_of(attrs)
        match kind_of(attrs):
            case Kind.DIR:
                deeper.append(_Folder(old, new, path, attrs.mode & 0o777))
            case Kind.SYMLINK:
                content = yield from read_link(site, old)
                status: Status = yield symlink(site, os.fsencode(content or ""), new)
                if status is not OK and (yield from read_link(site, new)) != content:
                    raise (yield from _failed(site, new, status))
            case Kind.FILE:
                files.append((old, new, attrs))
            case _:
                del looks[path]  # neither: it is none of ours
    can_link = HardLink in site.can
    for some in batches(files, BATCH if can_link else TOGETHER):
        statuses: list[Status] = yield [
            HardLink(old, new) if can_link else copy(site, old, new, attrs) for old, new, attrs in some
        ]
        for (_, new, _), status in zip(some, statuses, strict=True):
            if status is not OK and not (can_link and isinstance((yield Lstat(new)), Attrs)):
                raise (yield from _failed(site, new, status))
    return looks, deeper


def _look_of(attrs: Attrs) -> str:
    return look_of(attrs.size, attrs.mtime) if kind_of(attrs) is Kind.FILE else ""


def _list(site: Site, top: bytes, path: str) -> Recipe[tuple[dict[str, str], list[str]]]:
    listing = yield from list_directory(site, inside(top, path))
    if listing.failed is not None and not absent(listing.failed):
        raise (yield from _failed(site, inside(top, path), listing.failed))
    found = {f"{path}/{name}" if path else name: attrs for name, attrs in listing.names}
    folders = [name for name, attrs in found.items() if kind_of(attrs) is Kind.DIR]
    return {name: _look_of(attrs) for name, attrs in found.items()}, folders


def _share(site: Site, dest: bytes, release: bytes, path: str) -> Recipe[None]:
    """A link in the release to what all have in common; that is made as a folder, if it is not there."""
    common = inside(inside(dest, SHARED), path)
    above = [inside(release, top) for top in _above(path)]
    yield [Mkdir(folder, 0o777) for folder in above]
    if absent((yield Stat(common))):
        for folder in [
            inside(dest, SHARED),
            *(inside(inside(dest, SHARED), top) for top in _above(path)),
            common,
        ]:
            yield Mkdir(folder, 0o777)
    content = "../" * (2 + path.count("/")) + f"{SHARED}/{path}"
    link = inside(release, path)
    status: Status = yield symlink(site, os.fsencode(content), link)
    if status is not OK and (yield from read_link(site, link)) != content:
        raise (yield from _failed(site, link, status))


def _above(path: str) -> list[str]:
    """The directories above it, the topmost first."""
    above: list[str] = []
    while path := parent(path):
        above.insert(0, path)
    return above


def _switch(site: Site, dest: bytes, content: bytes) -> Recipe[None]:
    """The link is made beside, and put over the one that is there: of that there is one request."""
    fresh, link = _beside(dest), inside(dest, CURRENT)
    status: Status = yield symlink(site, content, fresh)
    if status is OK:
        status = yield Replace(fresh, link)
    if status is not OK:
        yield Remove(fresh)
        raise (yield from _failed(site, link, status))


def _rename(site: Site, old: bytes, new: bytes) -> Recipe[None]:
    status = yield from act(Rename(old, new))
    if status is not OK and not (absent((yield Lstat(old))) and isinstance((yield Lstat(new)), Attrs)):
        raise (yield from _failed(site, new, status))


def _ask(verb: Verb) -> Recipe[Attrs | Status]:
    answer: Attrs | Status = yield verb
    return answer


def _send(verbs: Sequence[Verb]) -> Recipe[None]:
    yield verbs


def _failed(site: Site, path: bytes, status: Status) -> Recipe[ReconcileError]:
    failed = yield from explain(site, "", f"make {shown(path)}", status)
    return Unreachable(f"The release could not be made: {failed.message}. DEST/{CURRENT} is as it was.")
