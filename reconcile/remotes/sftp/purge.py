"""What is ours and of no more use goes for good.

What may live here: removing what is in folders of ours, and these, whatever it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain

from reconcile.model import Kind
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.listing import BATCH, TOGETHER, batches, list_directory
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.sftp.site import Site, absent, act, inside, kind_of
from reconcile.remotes.sftp.steps import Recipe
from reconcile.remotes.sftp.wire import OK, Status

MANY = 4096  # removes that are under way at most, where nothing else goes on


def sweep(site: Site, directory: str) -> Recipe[None]:
    """Remove what dead runs of this job had staged in a directory, beside its target."""
    job, run = site.prefixes
    listing = yield from list_directory(site.at(directory))
    dead = [
        name
        for name, _ in listing.names
        if os.fsencode(name).startswith(job) and not os.fsencode(name).startswith(run)
    ]
    yield [wire.remove(inside(site.at(directory), name)) for name in dead]


def purge(session: Session, tops: Sequence[bytes], spare: frozenset[bytes], lastly: bytes) -> list[bytes]:
    """Remove directories with all that is in them but the spared paths; returns directories that remain.

    ``lastly`` is removed with them if it is empty then.
    """
    levels: list[list[bytes]] = []
    level = list(tops)
    while level:
        levels.append(level)
        level = [
            below
            for found in session.run(map(_empty, level), 2 * TOGETHER)
            for below in found
            if below not in spare
        ]
    levels.reverse()
    levels.append([lastly])
    left = session.call(remove_in_turn(list(chain.from_iterable(levels))))
    stuck: list[bytes] = []
    for level in levels:
        again = (_remove_directory(path) for path in level if path in left)
        stuck += [path for path, gone in session.run(again, BATCH) if not gone]
    return [path for path in stuck if path != lastly]


def remove_in_turn(directories: Sequence[bytes]) -> Recipe[set[bytes]]:
    """Remove empty directories, those inside others first; returns those that remain.

    Not waiting for one to be gone before the one it is in: most servers do what they are asked in turn.
    """
    left: set[bytes] = set()
    for some in batches(directories, MANY):
        statuses: list[Status] = yield [wire.rmdir(path) for path in some]
        left.update(path for path, status in zip(some, statuses, strict=True) if not is_gone(status))
    return left


def empty_trash(known: Sequence[tuple[bytes, bool]], lastly: Sequence[bytes]) -> Recipe[bool]:
    """Remove what is known to be in the trash, without a look, and these directories; tells if all went."""
    *first, last = batches([path for path, is_folder in known if not is_folder], MANY) or [[]]
    for some in first:
        yield [wire.remove(path) for path in some]
    folders = [path for path, is_folder in reversed(known) if is_folder]
    replies = yield [*map(wire.remove, last), remove_in_turn([*folders, *lastly])]
    left: set[bytes] = replies[-1]
    return not left


def is_gone(status: Status) -> bool:
    """Whether a removal leaves nothing."""
    return status is OK or absent(status)


def _empty(top: bytes) -> Recipe[list[bytes]]:
    """Remove all in a directory but the directories, which are returned."""
    listing = yield from list_directory(top)
    if listing.failed is not None and listing.failed.code == wire.FX_PERMISSION_DENIED:
        yield from act(wire.setstat(top, 0o700, None))
        listing = yield from list_directory(top)
    plain = [inside(top, name) for name, attrs in listing.names if kind_of(attrs) is not Kind.DIR]
    folders = [inside(top, name) for name, attrs in listing.names if kind_of(attrs) is Kind.DIR]
    for some in batches(plain, MANY):
        statuses: list[Status] = yield [wire.remove(path) for path in some]
        if any(status.code == wire.FX_PERMISSION_DENIED for status in statuses):
            yield from act(wire.setstat(top, 0o700, None))
            yield [wire.remove(path) for path in some]
    return folders


def _remove_directory(path: bytes) -> Recipe[tuple[bytes, bool]]:
    status = yield from act(wire.rmdir(path))
    if status.code == wire.FX_PERMISSION_DENIED:
        yield from act(wire.setstat(path.rpartition(b"/")[0], 0o700, None))
        status = yield from act(wire.rmdir(path))
    return path, is_gone(status)
