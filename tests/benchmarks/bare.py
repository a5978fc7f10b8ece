"""The floor of a first run to a folder here: ``python bare.py SRC DEST STATE``. A peer, and nothing of ours.

All that a copy with the same guarantees can't do without, in the same language: SRC is scanned, what is
intended is on the disk before the first write, each file has its stamp before and after it is read, is
staged with its mode and time and comes to its path by a rename, of its directory where that is new; then
come journal and snapshot. No plan, no outcome, no option, no report, no recovery: one loop.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import Any

import msgpack  # type: ignore[import-untyped]
import xxhash

PIECE = 1 << 20
STAGE = ".stage"
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Row = tuple[str, int, int, int, int, int]  # name, mode, size, mtime and ctime in ns, inode


def scan(path: str, fd: int, found: dict[str, list[Row]]) -> None:
    """What is in a directory, and below it."""
    rows = found[path] = []
    for name in sorted(os.listdir(fd)):
        info = os.lstat(name, dir_fd=fd)
        stamp = info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino
        rows.append((name, info.st_mode, *stamp))
    for name, mode, *_ in rows:
        if stat.S_ISDIR(mode):
            inner = os.open(name, _LIST, dir_fd=fd)
            scan(os.path.join(path, name), inner, found)
            os.close(inner)


def stage(source: int, target: int, row: Row) -> bytes:
    """Bring one file; its digest."""
    name, mode, size, mtime_ns, *_ = row
    here = os.open(name, _READ, dir_fd=source)
    _check(here, row)
    there = os.open(name, _NEW, mode & 0o777, dir_fd=target)
    hasher, offset = xxhash.xxh3_128(), 0
    while offset < size and (data := os.read(here, min(PIECE, size - offset))):
        hasher.update(data)
        offset += os.pwrite(there, data, offset)
    _check(here, row)
    os.close(here)
    os.fchmod(there, mode & 0o777)
    os.utime(there, (mtime_ns // 10**9, mtime_ns // 10**9))
    os.close(there)
    return hasher.digest()


def _check(fd: int, row: Row) -> None:
    info = os.fstat(fd)
    if (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino) != row[2:]:
        raise SystemExit(f"{row[0]!r} changed")


def publish(staged: str, target: str, files: list[Row]) -> None:
    """Put a directory over the empty one, or its files into one that is not."""
    os.makedirs(target, exist_ok=True)
    if not os.listdir(target):
        os.rename(staged, target)
        return
    for name, *_ in files:
        os.rename(os.path.join(staged, name), os.path.join(target, name))
    os.rmdir(staged)


def main(source: str, dest: str, state: str) -> None:
    """Copy SRC to DEST, which is not there yet."""
    found: dict[str, list[Row]] = {}
    top = os.open(source, _LIST)
    scan("", top, found)
    os.makedirs(state)
    with open(os.path.join(state, "journal"), "wb", buffering=1 << 16) as journal:
        journal.writelines(_pack([path, rows]) for path, rows in found.items())
        _sync(journal)
        os.makedirs(os.path.join(dest, STAGE))
        facts: dict[str, list[bytes]] = {}
        for number, (path, rows) in enumerate(found.items()):
            files = [row for row in rows if stat.S_ISREG(row[1])]
            staged = os.path.join(dest, STAGE, str(number))
            os.mkdir(staged)
            here, there = os.open(os.path.join(source, path), _LIST), os.open(staged, _LIST)
            facts[path] = [stage(here, there, row) for row in files]
            os.close(here)
            os.close(there)
            publish(staged, os.path.join(dest, path), files)
            journal.writelines(
                _pack([row[0], digest]) for row, digest in zip(files, facts[path], strict=True)
            )
        _sync(journal)
    with open(os.path.join(state, "snapshot.new"), "wb") as snapshot:
        for path, rows in found.items():
            snapshot.write(_pack([path, [item for row in rows for item in row], facts[path]]))
        _sync(snapshot)
    os.rename(os.path.join(state, "snapshot.new"), os.path.join(state, "snapshot"))
    os.unlink(os.path.join(state, "journal"))
    os.rmdir(os.path.join(dest, STAGE))


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
