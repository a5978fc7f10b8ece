"""What is in a directory of the server's.

What may live here: reading names off the wire, and what is done with many paths at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.steps import Farewell, Recipe
from reconcile.remotes.sftp.wire import Attrs, Handle, Names, Status

T = TypeVar("T")

TOGETHER = 32  # directories that one recipe lists at a time: each costs a handle on the server
BATCH = 256  # renames or removes that one recipe has under way
MOST_NAMES = 1_000_000  # in one directory: a server that lists more has lost its place, and would for ever
ENDLESS = f"it lists more than {MOST_NAMES:,} names in one directory, and does not come to an end"
AHEAD = 2, 64  # READDIRs sent at once, at first and at most: OpenSSH answers with 100 names, then with EOF


@dataclass(slots=True)
class Listing:
    """What is in a directory. ``bad`` names can't be paths; ``failed`` is how it ended, if badly."""

    names: list[tuple[str, Attrs]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    failed: Status | None = None


def batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """``items`` in slices."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def list_directory(path: bytes) -> Recipe[Listing]:
    """Names and attributes in a directory, ``.`` and ``..`` left out, in the server's order."""
    opened: Handle | Status = yield wire.opendir(path)
    return (yield from read_names(opened))


def read_names(opened: Handle | Status) -> Recipe[Listing]:
    """The same of a directory that was opened, or could not be."""
    listing = Listing()
    if isinstance(opened, Status):
        listing.failed = opened
        return listing
    ended = False
    ahead, most = AHEAD
    while not ended:
        replies: list[Names | Status] = yield [wire.readdir(opened.handle)] * ahead
        ahead = min(2 * ahead, most)
        for reply in replies:
            if isinstance(reply, Names):
                _take_names(reply, listing)
                ended = ended or len(listing.names) + len(listing.bad) > MOST_NAMES
                ended = ended or not reply.names  # an empty answer would come for ever
            else:
                ended = True
                if reply.code != wire.FX_EOF:
                    listing.failed = reply
    yield Farewell(wire.close(opened.handle))
    if len(listing.names) + len(listing.bad) > MOST_NAMES:
        return Listing(failed=Status(wire.FX_FAILURE, ENDLESS))
    return listing


def _take_names(reply: Names, listing: Listing) -> None:
    for raw, attrs in reply.names:
        if raw in (b".", b".."):
            continue
        name = os.fsdecode(raw)
        if not raw or b"/" in raw or b"\0" in raw:
            listing.bad.append(name)
        else:
            listing.names.append((name, attrs))
