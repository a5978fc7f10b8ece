"""Runs of a job whose state lies at DEST, on whatever machine they were made: as they come along with that.

A line of JSON each, as in ``history``, the last ones only. What others have written is anybody's word: it is
passed over where it can't be read, and nothing relies on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress

from msgspec import ValidationError, convert, to_builtins

from reconcile.ci import name_ourselves
from reconcile.state.history import VERSION, Run, read_runs
from reconcile.state.private import create, open_ours

NAME = "there"  # in the state folder
_MOST = 50  # runs
_LONGEST = 256 * 1024  # bytes that are looked at
_SAME = 1.0  # seconds between two beginnings that are one, told of twice


def recall_there(folder: str) -> bytes:
    """The lines, as they were when the state was fetched or saved last."""
    try:
        with open(open_ours(os.path.join(folder, NAME)), "rb") as file:
            return file.read(_LONGEST)
    except OSError:
        return b""


def keep_there(folder: str, lines: bytes) -> None:
    """Put them in the place of what was known. Never fails."""
    path = os.path.join(folder, NAME)
    with suppress(OSError):
        with open(create(f"{path}.new"), "wb") as file:
            file.write(lines[:_LONGEST])
        os.replace(f"{path}.new", path)


def note_there(folder: str, run: Run) -> None:
    """Add a run of this machine, or what has become of it since it was added. Never fails."""
    others = [each for each in _read(recall_there(folder)) if not _is_same(each, run)]
    told = [to_builtins(each) for each in [*others, run][-_MOST:]]
    keep_there(folder, b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in told))


def read_all_runs(folder: str, there: str | None = None) -> list[Run]:
    """All runs that are known of, the oldest first: of this machine all of them, in full.

    ``there``: a folder with what was fetched just now, if it is another one.
    """
    own, here = read_runs(folder), name_ourselves()
    began = [run.began for run in own]

    def is_ours(run: Run) -> bool:
        return run.by == here and any(abs(run.began - each) < _SAME for each in began)

    others = [run for run in _read(recall_there(there or folder)) if run.by and not is_ours(run)]
    return sorted([*own, *others], key=lambda run: run.began) if others else own


def _is_same(one: Run, other: Run) -> bool:
    return one.by == other.by and abs(one.began - other.began) < _SAME


def _read(lines: bytes) -> Iterator[Run]:
    for line in lines.splitlines()[-_MOST:]:
        with suppress(ValueError, ValidationError, RecursionError):
            run = convert(json.loads(line), Run)
            if run.v == VERSION:
                yield run
