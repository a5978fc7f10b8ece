"""A few small things in our folder that outlive runs and are every job's: see ``remotes.Store``.

What may live here: how they lie there. A name is a directory, since servers make one for the first
who asks and for nobody else, but for rclone's, which says OK to both; its value is a file in it, renamed
into place once it is whole. A put that broke off leaves the name without a value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from reconcile.core.errors import Unreachable
from reconcile.core.model import Kind
from reconcile.remotes import Lease
from reconcile.remotes.tree.denied import deny
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.folders import in_turn, make_shared
from reconcile.remotes.tree.layout import STORE
from reconcile.remotes.tree.link import look
from reconcile.remotes.tree.listing import TOGETHER, list_directory
from reconcile.remotes.tree.mark import shown
from reconcile.remotes.tree.probe import open_anyhow
from reconcile.remotes.tree.readback import read_open
from reconcile.remotes.tree.site import Site, absent, act, kind_of
from reconcile.remotes.tree.steps import Burst, Farewell, Notable, Recipe
from reconcile.remotes.tree.verbs import (
    OK,
    Attrs,
    Close,
    Code,
    Handle,
    Lstat,
    Mkdir,
    OpenToRead,
    Remove,
    Rename,
    Rmdir,
    Set,
    Status,
    Sync,
    Verb,
    Write,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VALUE, _FRESH = b"/value", b"/fresh"  # the latter goes on with what no other has
_BEAT = b"/.beat"
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
        listing = self._driver.call(list_directory(self._site, _folder(self._site), as_shown=True))
        if listing.failed is not None and not absent(listing.failed):
            raise self._driver.call(_failure(self._site, _folder(self._site), "list", listing.failed))
        return sorted(
            name for name, attrs in listing.names if kind_of(attrs) is Kind.DIR and _NAME.fullmatch(name)
        )

    def age(self, name: str) -> int | None:
        """See ``Store``."""
        return self._driver.call(_age(self._site, self._at(name)))

    def renew(self, name: str) -> bool:
        """See ``Store``."""
        place = self._at(name)
        status = self._driver.call(_renew(place))
        if status is not OK and not absent(status):
            raise self._driver.call(_failure(self._site, place, "renew", status))
        return status is OK

    def drop(self, name: str) -> bool:
        """See ``Store``."""
        return self._driver.call(_drop(self._site, self._at(name)))

    def drop_all(self, names: Iterable[str]) -> None:
        """See ``Store``."""
        dropping = [_drop(self._site, self._at(name)) for name in names]
        for _ in self._driver.run([*dropping, _sweep(self._site)], TOGETHER):
            pass

    def beat(self, lease: Lease) -> Recipe[None]:
        """Renew it, and tell it what is there. Where the server fails that is for the next beat."""
        status = yield from _renew(self._at(lease.name))
        if status is OK:
            listing = yield from list_directory(self._site, _folder(self._site))
            if listing.failed is None:
                lease.renewed([name for name, _ in listing.names])
        elif absent(status):
            lease.renewed(None)

    def _at(self, name: str) -> bytes:
        if not _NAME.fullmatch(name):
            raise ValueError(f"no name for the store: {name!r}")
        return _folder(self._site) + b"/" + os.fsencode(name)


def _folder(site: Site) -> bytes:
    return site.layout.workdir + b"/" + STORE


def _get(site: Site, place: bytes) -> Recipe[bytes | None]:
    """Looked at and opened at once: of what is no file, nothing is read."""
    path = place + _VALUE
    there, opened = yield [look(site, path), OpenToRead(path)]
    if isinstance(there, Attrs) and kind_of(there) is Kind.FILE and isinstance(opened, Handle):
        value = yield from read_open(opened, there.size)
        yield Farewell(Close(opened.handle))
        if value is not None:
            return value
        failed = Status(Code.FAILED, "")
    elif isinstance(there, Attrs) and kind_of(there) is not Kind.FILE:
        if isinstance(opened, Handle):
            yield Farewell(Close(opened.handle))
        failed = Status(Code.FAILED, "it is no file")
    else:
        failed = there if isinstance(there, Status) else cast("Status", opened)
    if absent(failed) or absent((yield Lstat(path))):
        return None  # never put, or dropped meanwhile
    raise (yield from _failure(site, path, "read", failed))


def _claim(site: Site, place: bytes) -> Recipe[bool]:
    made, _ = yield from _begin(site, place)
    return made


def _begin(site: Site, place: bytes, file: bytes | None = None) -> Recipe[tuple[bool, Handle | Status]]:
    """Take a name; and what came of opening a new ``file`` in it, which is asked for along with that.

    RACE: over rclone two who ask within a round trip may both have it.
    """
    in_order = site.quirks.ordered or site.claims_openssh
    if not in_order and isinstance((yield from look(site, place)), Attrs):
        return False, OK
    requests: list[Verb] = [Mkdir(place, 0o700), *([] if file is None else [site.open_new(file, 0o600)])]
    status, *opened = yield requests
    if absent(status):
        yield from make_shared(site, _folder(site))
        yield from deny(site)
        status, *opened = yield requests
    if status is OK:
        if opened and absent(opened[0]):  # asked for before there was the name
            opened = yield requests[1:]
        return True, opened[0] if opened else OK
    if opened and isinstance(opened[0], Handle):  # in a name of somebody else's
        yield Close(opened[0].handle)
        yield Remove(file or place)
    if isinstance((yield from look(site, place)), Attrs):
        return False, OK
    raise (yield from _failure(site, place, "make", status))


def _put(site: Site, place: bytes, value: bytes, *, sync: bool) -> Recipe[bool]:
    fresh = place + _FRESH + os.urandom(6).hex().encode()
    is_ours, opened = yield from _begin(site, place, fresh)
    if not is_ours:
        return False
    opened = yield from open_anyhow(site, fresh, opened)
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
        yield Close(opened.handle)

    notable: Notable = yield Burst(verbs())
    failed = [answer for verb, answer in notable if verb in (Write, Close) and isinstance(answer, Status)]
    if not failed:
        return OK
    if all(verb is not Close for verb, _ in notable):  # it may not have come to that
        yield Farewell(Close(opened.handle))
    return failed[0]


def _age(site: Site, place: bytes) -> Recipe[int | None]:
    """By how much it is older than what is made now: along with the look at it, where order is kept."""
    now = _unique(site, _NOW)
    requests: list[Verb] = [Mkdir(now, 0o700), Lstat(now), Rmdir(now)]
    in_order = site.quirks.ordered or site.claims_openssh
    there: Attrs | Status
    told: list[Any]
    there, *told = yield [look(site, place), *(requests if in_order else [])]
    if isinstance(there, Status):
        if absent(there):
            return None
        raise (yield from _failure(site, place, "look at", there))
    if not in_order or not isinstance(told[1], Attrs):
        told = yield from _one_by_one(requests)
    made, clock, _ = told
    if not isinstance(clock, Attrs):
        raise (yield from _failure(site, now, "make", clock if made is OK else made))
    return max(0, clock.mtime - there.mtime)


def _one_by_one(requests: Iterable[Verb]) -> Recipe[list[Any]]:
    replies: list[Any] = []
    for request in requests:
        reply: object = yield request
        replies.append(reply)
    return replies


def _renew(place: bytes) -> Recipe[Status]:
    """Something is made in it, and goes again, which makes it younger; where that does not, its time is set,
    to what it is over there."""
    inner = place + _BEAT
    made, clock, _, there = yield [Mkdir(inner, 0o700), Lstat(inner), Rmdir(inner), Lstat(place)]
    if isinstance(there, Status):
        return there
    if isinstance(clock, Status):
        return clock if made is OK else made
    if there.mtime >= clock.mtime:
        return OK
    return (yield from act(Set(place, None, clock.mtime)))


def _drop(site: Site, place: bytes) -> Recipe[bool]:
    """Renamed first: of two who do it at once one alone did, and a new one is not touched."""
    gone = _unique(site, _GONE)
    status = yield from act(Rename(place, gone))
    if status is OK:
        yield from _clear(site, gone)
        return True
    if absent(status) or absent((yield from look(site, place))):
        return False
    status = yield from _clear(site, place)  # the server renames no directory
    if status is OK or absent(status):
        return status is OK
    raise (yield from _failure(site, place, "remove", status))


def _clear(site: Site, place: bytes) -> Recipe[Status]:
    """Remove a name that is nobody's any more, also with what one who died while he put something left."""
    *_, status = yield from in_turn(site, [Remove(place + _VALUE), Rmdir(place)])
    if status is not OK and not absent(status):
        listing = yield from list_directory(site, place)
        inner = [place + b"/" + os.fsencode(name) for name, _ in listing.names]
        yield [verb(path) for path in inner for verb in (Remove, Rmdir)]
        status = yield from act(Rmdir(place))
    return cast("Status", status)


def _sweep(site: Site) -> Recipe[bool]:
    """Clear what others have dropped who died before it was gone."""
    listing = yield from list_directory(site, _folder(site), as_shown=True)
    left = [name for name, _ in listing.names if name.startswith(os.fsdecode(_GONE))]
    yield [_clear(site, _folder(site) + b"/" + os.fsencode(name)) for name in left]
    return bool(left)


def _unique(site: Site, prefix: bytes) -> bytes:
    return _folder(site) + b"/" + prefix + os.urandom(6).hex().encode()


def _failure(site: Site, path: bytes, doing: str, status: Status, size: int = 0) -> Recipe[Unreachable]:
    failed = yield from explain(site, "", f"{doing} {shown(path)}", status, size)
    return Unreachable(f"What runs share on the remote can't be used: {failed.message}.")
