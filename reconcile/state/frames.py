"""Values one after the other in a file, each with a checksum: what a crash tears off is known by it.

A frame is the length of its payload (4 bytes, big-endian), xxh3-64 of the payload (8 bytes), and the payload,
msgpack. Names are bytes of the file system, as everywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]
import xxhash

_FRAME = struct.Struct(">I8s")
# Kept: making one takes as long as packing.
_pack = msgpack.Packer(autoreset=True, unicode_errors="surrogateescape").pack


def frame(payload: object) -> bytes:
    """One value as it is written."""
    packed: bytes = _pack(payload)
    return _FRAME.pack(len(packed), xxhash.xxh3_64_digest(packed)) + packed


def payloads(data: bytes, at: int) -> Iterator[Any]:
    """The payloads of all whole frames from there on; the first that is not ends them."""
    while at + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        packed = data[at : at + length]
        at += length
        if len(packed) < length or xxhash.xxh3_64_digest(packed) != checksum:
            return
        yield msgpack.unpackb(packed, unicode_errors="surrogateescape", strict_map_key=False)
