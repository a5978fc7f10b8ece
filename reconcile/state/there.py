"""Runs of a job whose state lies at DEST, on whatever machine they were made: as they come along with that.

A line of JSON each, as in ``history``, the last ones only. What others have written is anybody's word: it is
passed over where it can't be read, and nothing relies on it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress

from msgspec import ValidationError, convert, to_builtins
from msgspec.structs import replace

from reconcile.state.history import VERSION, Run, read_runs
from reconcile.state.private import open_ours
from reconcile.state.small import put

NAME = "there"  # in the state folder
_MOST = 50  # runs
_LONGEST = 256 * 1024  # bytes that are looked at
_LATEST = 1e11  # seconds since the epoch, and of a run: more is no time
_WIDEST = 1000  # characters of where a run was made
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
    with suppress(OSError):
        put(os.path.join(folder, NAME), lines[-_LONGEST:])


def note_there(folder: str, run: Run) -> None:
    """Add a run of this machine, or what has become of it since it was added. Never fails."""
    others = [each for each in _read(recall_there(folder), math.inf) if not _is_same(each, run)]
    told = [to_builtins(each) for each in [*others, run][-_MOST:]]
    keep_there(folder, b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in told))


def read_all_runs(folder: str, there: str | None = None) -> list[Run]:
    """All runs that are known of, the oldest first: of this machine all of them, in full.

    ``there``: a folder with what was fetched just now, if it is another one. By another machine's clock
    nothing was later than we have heard of it: what comes after that here is not hidden by it.
    """
    own, place = read_runs(folder), there or folder
    try:
        heard = os.stat(os.path.join(place, NAME)).st_mtime
    except OSError:
        return own

    def is_ours(run: Run) -> bool:
        return any(abs(run.began - each.began) < _SAME and _looks_of(run) == _looks_of(each) for each in own)

    others = [run for run in _read(recall_there(place), heard) if not is_ours(run)]
    return sorted([*own, *others], key=lambda run: run.began) if others else own


def _looks_of(run: Run) -> object:
    return run.sent, run.found, dict(run.counts)


def _is_same(one: Run, other: Run) -> bool:
    return one.by == other.by and abs(one.began - other.began) < _SAME


def _read(lines: bytes, heard: float) -> Iterator[Run]:
    """Those that can be; ``heard``: seconds since the epoch after which none of them was."""
    for line in lines.splitlines()[-_MOST:]:
        with suppress(ValueError, ValidationError, RecursionError):
            run = convert(json.loads(line), Run)
            if run.v == VERSION and _is_sane(run):
                yield replace(run, n=0, began=min(run.began, heard), message="", paths=())


def _is_sane(run: Run) -> bool:
    """Whether it may be shown: what is in it is anybody's word."""
    numbers = (
        run.sent,
        run.avoided,
        run.found,
        run.kept,
        run.problems,
        *run.counts.values(),
        *run.entries.values(),
    )
    return (
        0 <= run.began < _LATEST
        and 0 <= run.seconds < _LATEST
        and all(0 <= number < 1 << 63 for number in numbers)
        and 0 <= run.exit_code < 256
        and re.fullmatch("[a-z]{1,20}", run.status) is not None
        and 0 < len(run.by) <= _WIDEST
    )
