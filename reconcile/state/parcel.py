"""What of a job's state goes to DEST at a time: some of its files, made one value. Only the codec lives here.

    magic "RECONPCL" · format version, 4 bytes, big-endian · zlib · xxh3-128 of all before, 16 bytes

What is compressed is msgpack of a map, from names of files in the state folder to what is in them. Magic,
version and trailer stay where they are in every version to come.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import msgpack  # type: ignore[import-untyped]
import xxhash

from reconcile.core.errors import Refused

MAGIC = b"RECONPCL"
FORMAT = 1

_PREFIX = len(MAGIC) + 4
_TRAILER = 16
_LEVEL = 3  # half the time of the usual one, for a twentieth more
_MOST = 1 << 32  # bytes; what claims to be more is no state of ours
WAYS_OUT = (
    "Nothing was done. Run once with --start-over, which forgets what is known there, lists DEST and adopts "
    "what it holds."
)


def pack(files: Mapping[str, bytes]) -> bytes:
    """The value that holds these files."""
    compressed = zlib.compress(msgpack.packb(dict(files)), _LEVEL)
    content = MAGIC + FORMAT.to_bytes(4, "big") + compressed
    return content + xxhash.xxh3_128_digest(content)


def checksum(value: bytes) -> str:
    """What tells it from others, in hexadecimal digits."""
    return value[-_TRAILER:].hex()


def unpack(value: bytes, name: str) -> Mapping[str, bytes]:
    """The files in it; ``name`` is what messages call it.

    Raises Refused, with the ways out, if a single bit is not as it was put there, or if a newer program
    put it there.
    """
    if not value.startswith(MAGIC):
        raise Refused(f"{name} is no state of reconcile, or its beginning was overwritten. {WAYS_OUT}")
    content = memoryview(value)[:-_TRAILER]
    if len(content) < _PREFIX or xxhash.xxh3_128_digest(content) != value[-_TRAILER:]:
        raise Refused(f"{name} is damaged: its checksum does not match its content. {WAYS_OUT}")
    version = int.from_bytes(content[len(MAGIC) : _PREFIX], "big")
    if not 0 < version <= FORMAT:
        raise Refused(
            f"{name} was written by a newer reconcile (format {version}; this one reads up to {FORMAT}). "
            f"Use that version here, too, or a later one. {WAYS_OUT}"
        )
    try:
        return _files(content[_PREFIX:])
    except (ValueError, TypeError, OverflowError, zlib.error, msgpack.UnpackException) as error:
        raise Refused(f"{name} holds what no state can hold ({error}). {WAYS_OUT}") from error


def _files(compressed: memoryview) -> dict[str, bytes]:
    opened = zlib.decompressobj()
    files = msgpack.unpackb(opened.decompress(compressed, _MOST))
    if not opened.eof:
        raise ValueError("it has no end")
    if type(files) is not dict or {*map(type, files)} - {str} or {*map(type, files.values())} - {bytes}:
        raise ValueError("it is no map of files")
    return files
