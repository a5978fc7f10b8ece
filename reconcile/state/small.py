"""Small things a job remembers beside its snapshot, each in a file of its own.

    xxh3-64 of the rest, 8 bytes · msgpack

Nothing that a run relies on: what can't be read or written is forgotten, and a run
goes on. So nothing here is fsynced.
"""

from __future__ import annotations

import os
from typing import Any

import msgpack  # type: ignore[import-untyped]
import xxhash

from reconcile.state.private import create, open_ours

_CHECKSUM = 8


def recall(folder: str, name: str) -> Any:
    """What was remembered under ``name``; None if nothing was. Raises ValueError if it is damaged."""
    try:
        with open(open_ours(os.path.join(folder, name)), "rb") as file:
            data = file.read()
    except OSError:
        return None
    packed = data[_CHECKSUM:]
    if xxhash.xxh3_64_digest(packed) != data[:_CHECKSUM]:
        raise ValueError("the checksum does not match")
    return msgpack.unpackb(packed, unicode_errors="surrogateescape")  # raises ValueErrors only


def remember(folder: str, name: str, value: object) -> None:
    """Keep ``value`` in the place of what was there; None: nothing. Raises OSError, and all is as before."""
    path = os.path.join(folder, name)
    if value is None:
        if os.path.lexists(path):
            os.unlink(path)
        return
    packed = msgpack.packb(value, unicode_errors="surrogateescape")
    put(path, xxhash.xxh3_64_digest(packed) + packed)


def put(path: str, data: bytes) -> None:
    """A file in the place of what was there. Raises OSError, and all is as before."""
    fresh = f"{path}.new"
    with open(create(fresh), "wb") as file:
        file.write(data)
    os.replace(fresh, path)
