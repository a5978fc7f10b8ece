"""How much content goes to DEST and back in a second: measured with a file of our own there.

What may live here: that. For a second each, or until it is enough.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from msgspec import Struct

from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.layout import STAGING
from reconcile.remotes.tree.site import PIECE, Site
from reconcile.remotes.tree.steps import Burst, Farewell, Recipe
from reconcile.remotes.tree.verbs import (
    OK,
    Close,
    Data,
    Handle,
    OpenToRead,
    Read,
    Status,
    Sync,
    Write,
)

SECONDS = 1.0  # that each way is given
MOST = 64 * 1024 * 1024  # bytes that are sent
SHARE = 10  # of the room that is left, at most one part of so many
SMALL = 4096  # bytes of a small file
UNDER_WAY = 64  # pieces that are asked for at a time


class Pace(Struct, frozen=True):
    """So many bytes in so many seconds. ``failed``: what was said where it did not go on."""

    size: int
    seconds: float
    failed: str = ""

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds if self.seconds else 0.0


def send(driver: Driver, site: Site, paths: Sequence[bytes], room: int | None) -> Pace:
    """Write files, as large as can be in the time, each over a channel of its own.

    ``room``: bytes that are left there, if that is known.
    """
    most = (MOST if room is None else min(MOST, room // SHARE)) // len(paths)
    began = time.perf_counter()
    writing = (_write(site, path, channel, most, began + SECONDS) for channel, path in enumerate(paths))
    written = list(driver.run(writing, len(paths)))
    took = time.perf_counter() - began
    return Pace(sum(size for size, _ in written), took, next((said for _, said in written if said), ""))


def fetch(driver: Driver, path: bytes, size: int) -> Pace:
    """Read it back, as far as can be in the time."""
    opened = driver.call(_open(path))
    if isinstance(opened, Status):
        return Pace(0, 0.0, opened.message or "it can't be opened")
    began = time.perf_counter()
    pieces = (_read(opened, at) for at in _while(began + SECONDS, range(0, size, PIECE)))
    came = sum(driver.run(pieces, UNDER_WAY))
    pace = Pace(came, time.perf_counter() - began)
    driver.call(_close(opened))
    return pace


def time_sync(driver: Driver, site: Site) -> float | None:
    """Seconds until a small file is on the disk there; None: that is refused."""
    opened = driver.call(_write_small(site, site.layout.fresh(STAGING)))
    if isinstance(opened, Status):
        return None
    began = time.perf_counter()
    synced = driver.call(_sync(opened))
    took = time.perf_counter() - began
    driver.call(_close(opened))
    return took if synced else None


def _while(until: float, numbers: range) -> Iterator[int]:
    for number in numbers:
        if time.perf_counter() >= until:
            return
        yield number


def _write(site: Site, path: bytes, channel: int, most: int, until: float) -> Recipe[tuple[int, str]]:
    """How many bytes were acknowledged, and what was said of others."""
    opened: Handle | Status = yield site.open_new(path, 0o600, channel)
    if isinstance(opened, Status):
        return 0, opened.message or "no file can be made"
    noise = os.urandom(site.block)  # a line that compresses has no use for it
    count = 0

    def writes() -> Iterator[Write]:
        nonlocal count
        for at in _while(until, range(0, most - site.block + 1, site.block)):
            count += 1
            yield Write(opened.handle, at, noise, channel)

    refused = yield Burst(writes())
    yield Close(opened.handle, channel)
    said = next((answer.message or "it failed" for _, answer in refused if isinstance(answer, Status)), "")
    return (count - len(refused)) * site.block, said


def _open(path: bytes) -> Recipe[Handle | Status]:
    opened: Handle | Status = yield OpenToRead(path)
    return opened


def _read(opened: Handle, at: int) -> Recipe[int]:
    """How many bytes came: some servers give less than was asked for."""
    came: Data | Status = yield Read(opened.handle, at, PIECE)
    return len(came.data) if isinstance(came, Data) else 0


def _write_small(site: Site, path: bytes) -> Recipe[Handle | Status]:
    opened: Handle | Status = yield site.open_new(path, 0o600)
    if isinstance(opened, Handle):
        yield Write(opened.handle, 0, bytes(SMALL))
    return opened


def _sync(opened: Handle) -> Recipe[bool]:
    return (yield Sync(opened.handle, SMALL)) is OK


def _close(opened: Handle) -> Recipe[None]:
    yield Farewell(Close(opened.handle))
