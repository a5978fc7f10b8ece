"""A few small things in our folder that outlive runs and are every job's: see ``remotes.Store``.

What may live here: how they lie there. A name is a directory, since servers make one for the first
who asks and for nobody else, but for rclone's, which says OK to both; its value is a file in it, renamed
into place once it is whole. A put that broke off leaves the name without a value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from reconcile.core.errors import Unreachable
from reconcile.core.model import Kind
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.folders import make_shared
from reconcile.remotes.tree.layout import STORE
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.listing import list_directory
from reconcile.remotes.tree.mark import shown
from reconcile.remotes.tree.probe import open_anyhow
from reconcile.remotes.tree.readback import read_span, spans
from reconcile.remotes.tree.site import Site, absent, act, kind_of
from reconcile.remotes.tree.steps import Burst, Notable, Recipe
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Close,
    Code,
    Handle,
    Lstat,
    Mkdir,
    Remove,
    Rename,
    Rmdir,
    Status,
    Sync,
    Verb,
    Write,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VALUE, _FRESH = b"/value", b"/fresh"
_GONE, _NOW = b".gone-", b".now-"  # begin what is no name


class TreeStore:
    """See ``Store``."""

    def __init__(self, driver: Driver, site: Site) -> None:
        self._driver = driver
        self._site = site

    def get(self, name: str) -> bytes | None:
        """See ``Store``."""
        return self._driver.call(_get(self._site, self._at(name)))

    def put_new(self, name: str, value: bytes) -> bool:
        """See ``Store``."""
        return self._driver.call(_put(self._site, self._at(name), value, sync=Sync in self._site.can))

    def claim(self, name: str) -> bool:
        """See ``Store``."""
        return self._driver.call(_claim(self._site, self._at(name)))

    def names(self) -> list[str]:
        """See ``Store``."""
        listing = self._driver.call(list_directory(self._site, _folder(self._site)))
        if listing.failed is not None and not absent(listing.failed):
            raise self._driver.call(_failure(self._site, _folder(self._site), "list", listing.failed))
        return sorted(
            name for name, attrs in listing.names if kind_of(attrs) is Kind.DIR and _NAME.fullmatch(name)
        )

    def age(self, name: str) -> int | None:
        """See ``Store``."""
        return self._driver.call(_age(self._site, self._at(name)))

    def drop(self, name: str) -> bool:
        """See ``Store``."""
        return self._driver.call(_drop(self._site, self._at(name)))

    def _at(self, name: str) -> bytes:
        if not _NAME.fullmatch(name):
            raise ValueError(f"no name for the store: {name!r}")
        return _folder(self._site) + b"/" + os.fsencode(name)


def _folder(site: Site) -> bytes:
    return site.layout.workdir + b"/" + STORE


def _get(site: Site, place: bytes) -> Recipe[bytes | None]:
    path = place + _VALUE
    there = yield from look(site, path)
    if isinstance(there, Status):
        if absent(there):
            return None
        raise (yield from _failure(site, path, "read", there))
    if kind_of(there) is not Kind.FILE:
        raise (yield from _failure(site, path, "read", Status(Code.FAILED, "it is no file")))
    pieces: list[bytes] = []
    for span in spans([("", 0, there.size)]):
        _, piece = yield from read_span(span, path)
        if piece is None:
            if absent((yield Lstat(path))):
                return None  # dropped meanwhile
            raise (yield from _failure(site, path, "read", Status(Code.FAILED, "")))
        pieces.append(piece)
    return b"".join(pieces)


def _claim(site: Site, place: bytes) -> Recipe[bool]:
    """RACE: over rclone two who ask within a round trip may both have it."""
    if not site.quirks.ordered and isinstance((yield from look(site, place)), Attrs):
        return False
    status = yield from act(Mkdir(place, 0o700))
    if absent(status):
        yield from make_shared(site, _folder(site))
        status = yield from act(Mkdir(place, 0o700))
    if status is OK:
        return True
    if isinstance((yield from look(site, place)), Attrs):
        return False
    raise (yield from _failure(site, place, "make", status))


def _put(site: Site, place: bytes, value: bytes, *, sync: bool) -> Recipe[bool]:
    if not (yield from _claim(site, place)):
        return False
    fresh = place + _FRESH
    opened: Handle | Status = yield from open_anyhow(site, fresh)
    failed = opened if isinstance(opened, Status) else (yield from _fill(site, opened, value, sync=sync))
    if failed is OK:
        failed = yield from act(Rename(fresh, place + _VALUE))
    if failed is OK:
        return True
    yield [Remove(fresh), Rmdir(place)]
    raise (yield from _failure(site, place, "write", failed, len(value)))


def _fill(site: Site, opened: Handle, value: bytes, *, sync: bool) -> Recipe[Status]:
    def verbs() -> Iterator[Verb]:
        for start in range(0, len(value), site.block):
            yield Write(opened.handle, start, value[start : start + site.block])
        if sync:
            yield Sync(opened.handle, len(value))

    notable: Notable = yield Burst(verbs())
    closed = yield from act(Close(opened.handle))
    failed = [answer for verb, answer in notable if verb is Write and isinstance(answer, Status)]
    return failed[0] if failed else closed


def _age(site: Site, place: bytes) -> Recipe[int | None]:
    now = _unique(site, _NOW)
    there = yield from look(site, place)
    if isinstance(there, Status):
        if absent(there):
            return None
        raise (yield from _failure(site, place, "look at", there))
    made: Status = yield Mkdir(now, 0o700)
    clock: Attrs | Status = yield Lstat(now)
    yield Rmdir(now)
    if isinstance(clock, Status):
        raise (yield from _failure(site, now, "make", clock if made is OK else made))
    return max(0, clock.mtime - there.mtime)


def _drop(site: Site, place: bytes) -> Recipe[bool]:
    """Renamed first: of two who do it at once one alone did, and a new one is not touched."""
    gone = _unique(site, _GONE)
    status = yield from act(Rename(place, gone))
    if status is OK:
        yield from _clear(gone)
        return True
    if absent(status) or absent((yield from look(site, place))):
        return False
    status = yield from _clear(place)  # the server renames no directory
    if status is OK or absent(status):
        return status is OK
    raise (yield from _failure(site, place, "remove", status))


def _clear(place: bytes) -> Recipe[Status]:
    yield [Remove(place + _VALUE), Remove(place + _FRESH)]
    return (yield from act(Rmdir(place)))


def _unique(site: Site, prefix: bytes) -> bytes:
    return _folder(site) + b"/" + prefix + os.urandom(6).hex().encode()


def _failure(site: Site, path: bytes, doing: str, status: Status, size: int = 0) -> Recipe[Unreachable]:
    failed = yield from explain(site, "", f"{doing} {shown(path)}", status, size)
    return Unreachable(f"What runs share on the remote can't be used: {failed.message}.")
