"""Whether a copy is one. A fast wrong copy is a failure."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

OURS = ".reconcile"  # the folder we keep at the top of a target
CHUNK = 1024 * 1024


class WrongCopy(Exception):
    """Source and target differ; says where first."""


def compare(source: Path, target: Path, *, modes: bool, times: bool = True) -> None:
    """Demand the same names, kinds, contents byte for byte, and mtimes of files to the second.

    ``modes``: 0777 bits too; not every peer promises them. ``times``: not where the target keeps none.
    """
    for relative, here, there in _pairs(os.fspath(source), os.fspath(target), ""):
        if stat.S_IFMT(here.st_mode) != stat.S_IFMT(there.st_mode):
            raise WrongCopy(f"{relative!r} is of another kind in {target}")
        if modes and stat.S_IMODE(here.st_mode) & 0o777 != stat.S_IMODE(there.st_mode) & 0o777:
            raise WrongCopy(f"{relative!r} has mode {stat.S_IMODE(there.st_mode):o} in {target}")
        if not stat.S_ISREG(here.st_mode):
            continue
        if here.st_size != there.st_size or not _same_bytes(source / relative, target / relative):
            raise WrongCopy(f"{relative!r} has other content in {target}")
        if times and here.st_mtime_ns // 10**9 != there.st_mtime_ns // 10**9:
            raise WrongCopy(f"{relative!r} is of {there.st_mtime:.0f}, not {here.st_mtime:.0f}, in {target}")


def _pairs(source: str, target: str, below: str) -> Iterator[tuple[str, os.stat_result, os.stat_result]]:
    """Every path below, with what both sides say of it."""
    if not os.path.isdir(target):
        raise WrongCopy(f"{target} is no folder")
    here, there = sorted(os.listdir(source)), sorted(os.listdir(target))
    if not below:
        there = [name for name in there if name != OURS]
    if here != there:
        odd = min(set(here) ^ set(there))
        raise WrongCopy(
            f"{os.path.join(below, odd)!r} is {'missing' if odd in here else 'too many'} in {target}"
        )
    for name in here:
        relative = os.path.join(below, name)
        inside, outside = os.path.join(source, name), os.path.join(target, name)
        status = os.lstat(inside)
        yield relative, status, os.lstat(outside)
        if stat.S_ISDIR(status.st_mode):
            yield from _pairs(inside, outside, relative)


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb", buffering=0) as a, other.open("rb", buffering=0) as b:
        while (block := a.read(CHUNK)) == b.read(CHUNK):
            if not block:
                return True
    return False
