"""What the folder of a job tells of it while nobody is at work there. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from reconcile.state.snapshot import load
from reconcile.state.store import NAME as SNAPSHOT
from reconcile.state.store import read_beginning, read_file

_DEEP = 2  # folders below the base in which a job's is: those of named jobs are in one of their own


def size_of(folder: str) -> int:
    """Bytes of all files in it."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                pass  # a run has removed it just now
    return total


def weigh(folder: str) -> tuple[int, int] | None:
    """Entries, and bytes of files, that DEST is known to hold; None: nothing is known of it.

    Raises ReconcileError where what is known can't be read.
    """
    data = read_file(os.path.join(folder, SNAPSHOT), "snapshot", "Make it readable for this user.")
    if data is None:
        return None
    count = size = 0
    for directory in load(data).dirs.values():
        entries = directory.entries()
        count += len(entries)
        size += sum(entry.size for entry in entries.values())
        directory.forget()
    return count, size


def find_known(base: str, deep: int = _DEEP) -> Iterator[tuple[str, str, str]]:
    """The folder, SRC and DEST of every job that has run with its state in ``base``."""
    try:
        folders = sorted(entry.path for entry in os.scandir(base) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for folder in folders:
        header = read_beginning(folder)
        if header is not None:
            yield folder, str(header["source"]), str(header["target"])
        elif deep > 1:
            yield from find_known(folder, deep - 1)
