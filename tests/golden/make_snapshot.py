"""Write the golden snapshots of the present format version: ``python -m tests.golden.make_snapshot``.

It refuses to overwrite one that is there. A format that was released doesn't
change; a new one gets a new version and a new file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from stat import S_IFLNK, S_IFREG
from typing import Any

import msgpack  # type: ignore[import-untyped]
import xxhash
from msgspec.structs import replace

from reconcile.core.model import NS, UNKNOWN_MODE, DirectorySnapshot, Entry, Kind, Stamp
from reconcile.remotes.tree.tags import pack
from reconcile.state.rows import pack_directory
from reconcile.state.snapshot import FORMAT, MAGIC, dump

HERE = Path(__file__).parent


def golden_snapshot() -> DirectorySnapshot:
    """One entry of each sort that a snapshot can hold."""
    stamp = Stamp(ino=2**63, size=5, mtime_ns=1_700_000_000 * NS + 7, ctime_ns=-NS, mode=S_IFREG | 0o4755)
    file = Entry(Kind.FILE, 0o755, 5, stamp.mtime_ns, bytes(range(16)), stamp=stamp)
    link = Stamp(ino=3, size=6, mtime_ns=2 * NS, ctime_ns=3 * NS, mode=S_IFLNK | 0o777)
    base = {
        "dir": Entry(Kind.DIR, 0o750),
        "file": file,
        "file \udcff\n": Entry(Kind.FILE, UNKNOWN_MODE, 5, 9 * NS, b"d" * 16, stamp=stamp),
        "foreign": Entry(Kind.FILE, 0o644, 1, NS, foreign=True),
        "link": Entry(Kind.SYMLINK, 0o777, 6, 2 * NS, link="to \udcfe", stamp=link),
        "gone": Entry(Kind.DIR, 0o700, retained=True),
        "unstamped": Entry(Kind.FILE, 0o600, 5, 9 * NS, b"e" * 16),
    }
    gone = {"left out": Entry(Kind.SYMLINK, 0o777, link="é", retained=True, excluded=True)}
    return DirectorySnapshot(
        dirs={"": pack_directory(base), "dir": pack_directory({}), "gone": pack_directory(gone)},
        lineage="01234567-89ab-cdef-0123-456789abcdef",
        serial=42,
        source="/home/é/\udcff",
        target="sftp://user@example.org:2222/srv/data",
        taken_ns=1_700_000_001 * NS,
        settled="fingerprint",
    )


def golden_tags() -> DirectorySnapshot:
    """Files that show what they should, and files that don't; and a header with marks."""
    stamp = Stamp(ino=7, size=5, mtime_ns=9 * NS + 3, ctime_ns=9 * NS, mode=S_IFREG | 0o644)
    file = Entry(Kind.FILE, 0o644, 5, 9 * NS + 3, b"d" * 16, stamp=stamp)
    entries = {
        "as it is": file,
        "none": file,
        "rounded": replace(file, tag=pack(5, 8)),
        "short": replace(file, digest=None, stamp=None, size=3, tag=pack(3, 11)),
        "early": replace(file, stamp=None, mtime_ns=-5 * NS - 1, tag=pack(5, 0)),
        "retained": replace(file, retained=True),
    }
    return DirectorySnapshot(
        {"": pack_directory(entries)},
        lineage="01234567-89ab-cdef-0123-456789abcdef",
        serial=3,
        source="/s",
        target="sftp://host/t",
        taken_ns=10 * NS,
        marks=("mark-2-0a", "mark-3-0b"),
    )


GOLDEN = {"": golden_snapshot, "-tags": golden_tags}  # by the end of the file's name


def dumped(snapshot: DirectorySnapshot) -> bytes:
    """The whole file."""
    return b"".join(dump(snapshot))


def sealed(body: object, version: int = FORMAT) -> bytes:
    """A file with a good checksum, whatever it holds."""
    packed = msgpack.packb(body, unicode_errors="surrogateescape")
    content: bytes = MAGIC + version.to_bytes(4, "big") + packed
    return content + xxhash.xxh3_128_digest(content)


def unsealed(data: bytes) -> tuple[int, list[Any]]:
    """What a file holds, and its version."""
    body = msgpack.unpackb(data[12:-16], unicode_errors="surrogateescape")
    return int.from_bytes(data[8:12], "big"), body


def main() -> None:
    """Write the files, unless there are any."""
    for end, make in GOLDEN.items():
        path = HERE / f"snapshot-v{FORMAT}{end}.msgpack"
        try:
            with path.open("xb") as file:
                file.write(dumped(make()))
        except FileExistsError:
            sys.exit(f"{path.name} exists and stays as it is: a changed format needs a new version number")


if __name__ == "__main__":
    main()
