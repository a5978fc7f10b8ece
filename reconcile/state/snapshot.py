"""The format of a snapshot file: bytes ↔ :class:`reconcile.core.model.DirectorySnapshot`. No I/O.

    magic "RECONSNP" · format version, 4 bytes, big-endian · body · xxh3-128 of all before, 16 bytes

Magic, version and trailer stay where they are in every version to come, so that
an older program can tell a newer file from a damaged one. The body is msgpack of
``[header, flat list]`` with three items for each directory: its
path, and stamps and facts as ``rows`` packs them. ``marks`` is left out of the header
where there are none, as in files of before there were any. What is packed stays so until
somebody asks for the entries, so a million of them load in a blink.

Version 1 has other tags in its facts (see ``entries``), and so have directories that came from
there and have stayed packed since: a file of version 2 may hold both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]
import xxhash

from reconcile.core.errors import Refused
from reconcile.core.marks import is_mark
from reconcile.core.model import Directory, DirectorySnapshot
from reconcile.state.rows import PackedDirectory, pack_directory

MAGIC = b"RECONSNP"
FORMAT = 2

_PREFIX = len(MAGIC) + 4
_TRAILER = 16
_HEADER: dict[str, type] = {
    "lineage": str,
    "serial": int,
    "source": str,
    "target": str,
    "taken_ns": int,
    "settled": str,
    "directories": int,
}
_WAYS_OUT = (
    "Nothing was done. Put the copy ending in .bak in its place, if there is one beside it, or run once with "
    "--start-over, which lists the remote and adopts what is there."
)


def dump(snapshot: DirectorySnapshot) -> Iterator[bytes]:
    """The file's content, piece by piece. Directories that are still packed are taken as they are.

    Raises ValueError for what :func:`load` would refuse: a mistake of ours that
    must not reach the disk.
    """
    header = {
        "lineage": snapshot.lineage,
        "serial": snapshot.serial,
        "source": snapshot.source,
        "target": snapshot.target,
        "taken_ns": snapshot.taken_ns,
        "settled": snapshot.settled,
        "directories": len(snapshot.dirs),
    } | ({"marks": list(snapshot.marks)} if snapshot.marks else {})
    _check_header(header)
    _check_paths(list(snapshot.dirs))
    checksum = xxhash.xxh3_128()
    for piece in _pieces(header, snapshot.dirs):
        checksum.update(piece)
        yield piece
    yield checksum.digest()


def _pieces(header: dict[str, Any], dirs: Mapping[str, Directory]) -> Iterator[bytes]:
    """Magic, version and body: what the checksum is of."""
    packer = msgpack.Packer(autoreset=True, unicode_errors="surrogateescape")
    yield MAGIC + FORMAT.to_bytes(4, "big")
    yield packer.pack_array_header(2) + packer.pack(header) + packer.pack_array_header(3 * len(dirs))
    for path, directory in dirs.items():
        packed = directory if isinstance(directory, PackedDirectory) else pack_directory(directory.entries())
        yield packer.pack(path) + packer.pack(packed.raw) + packer.pack(packed.facts)


def load(data: bytes, name: str = "The snapshot", ways_out: str = _WAYS_OUT) -> DirectorySnapshot:
    """The snapshot whose file holds ``data``; ``name`` is what messages call it, ``ways_out`` their end.

    Raises Refused, with the ways out, if a single bit is not as it was written,
    or if a newer program wrote it.
    """
    if not data.startswith(MAGIC):
        raise Refused(f"{name} is no snapshot of reconcile, or its beginning was overwritten. {ways_out}")
    content = memoryview(data)[:-_TRAILER]
    if len(content) < _PREFIX or xxhash.xxh3_128_digest(content) != data[-_TRAILER:]:
        raise Refused(f"{name} is damaged: its checksum does not match its content. {ways_out}")
    version = int.from_bytes(content[len(MAGIC) : _PREFIX], "big")
    if not 0 < version <= FORMAT:
        raise Refused(
            f"{name} was written by a newer reconcile (format {version}; this one reads up to {FORMAT}). "
            f"Use that version, or a later one. {ways_out}"
        )
    try:
        return _parse(content[_PREFIX:])
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise Refused(f"{name} holds what no snapshot can hold ({error}). {ways_out}") from error


def read_header(beginning: bytes) -> dict[str, Any] | None:
    """The header of a file of which this is the beginning; None if it has none that we understand.

    Nothing vouches for it: the checksum is at the end.
    """
    if not beginning.startswith(MAGIC):
        return None
    unpacker = msgpack.Unpacker(unicode_errors="surrogateescape")
    unpacker.feed(beginning[_PREFIX:])
    try:
        unpacker.read_array_header()
        header = unpacker.unpack()
        _check_header(header)
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException):
        return None
    return dict(header)


def _parse(body: memoryview) -> DirectorySnapshot:
    """The body, of either version. Raises ValueError and what msgpack raises."""
    value = msgpack.unpackb(body, unicode_errors="surrogateescape")
    match value:
        case [dict() as header, list() as flat]:
            _check_header(header)
        case _:
            raise ValueError("the body is not a header and a list")
    marks = tuple(header.pop("marks", ()))
    paths, stamps, facts = flat[0::3], flat[1::3], flat[2::3]
    if len(flat) != 3 * header.pop("directories"):
        raise ValueError("directories are missing or left over")
    if set(map(type, paths)) - {str} or {*map(type, stamps), *map(type, facts)} - {bytes}:
        raise ValueError("a directory has items of the wrong type")
    _check_paths(paths)
    return DirectorySnapshot(
        dirs=dict(zip(paths, map(PackedDirectory, stamps, facts), strict=True)), marks=marks, **header
    )


def _check_header(header: dict[str, Any]) -> None:
    """Raise ValueError unless it is one."""
    marks = header.get("marks", [])
    if {key: type(value) for key, value in header.items() if key != "marks"} != _HEADER:
        raise ValueError("the header's items are not those of this format")
    if not set(header["lineage"]).isdisjoint("/\0") or header["lineage"] in (".", ".."):
        raise ValueError("the lineage would not be the name of a folder")
    if type(marks) is not list or not all(type(mark) is str and is_mark(mark) for mark in marks):
        raise ValueError("the marks are none")


def _check_paths(paths: Sequence[str]) -> None:
    """Raise ValueError unless all are relative, plain and different."""
    if len(set(paths)) != len(paths):
        raise ValueError("a directory is there twice")
    # One search through all of them instead of one for each: there may be a hundred thousand.
    text = "/\n".join(f"/{path}" for path in paths if path) + "/"
    if "\0" in text or any(part in text for part in ("//", "/./", "/../")):
        raise ValueError("a path is not one below the base")
