"""The parts of the trash that outlive their run, wherever they lie: the names beside a run's folder that tell
of them, what of them goes once it is old or too much, and what is said. Pure.

    <run>.kept-<count>           things that others wrote, or that are only copies (``--keep``)
    <run>.old-<count>-<bytes>    things that were the job's own (``--trash``)
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from reconcile.core.job import Trash
from reconcile.core.units import show_bytes

SHOWN = 4  # characters of a run's own name in what people call it

_NOTE = re.compile(r"(.+)\.(?:kept-([0-9]+)|old-([0-9]+)-([0-9]+))")


class Note(Struct, frozen=True):
    """What such a name tells."""

    run: str
    count: int  # things; a directory is one
    size: int  # bytes of content, where that is told
    is_kept: bool  # in the part that stays, and not in the one that has an age

    @property
    def name(self) -> str:
        """It again."""
        return f"{self.run}.kept-{self.count}" if self.is_kept else f"{self.run}.old-{self.count}-{self.size}"


def read_note(name: str) -> Note | None:
    """None: it is none of them."""
    match = _NOTE.fullmatch(name)
    if match is None:
        return None
    return Note(match[1], int(match[2] or match[3]), int(match[4] or 0), match[2] is not None)


def call_run(run: str, since: int) -> str:
    """What people call a run that has left something: when it ended, and what tells it from another of that
    second."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(since))}-{run[:SHOWN]}"


class Retired(Protocol):
    """What a run has left there."""

    @property
    def count(self) -> int:
        """Things; a directory is one."""

    @property
    def size(self) -> int:
        """Bytes of content."""

    @property
    def since(self) -> int:
        """When the run ended, in seconds of the clock there."""


R = TypeVar("R", bound=Retired)


def find_expired(runs: Sequence[R], seconds: float | None, now: float | None) -> list[R]:
    """What is older than that. None: nothing is, or nobody can tell."""
    if seconds is None or now is None:
        return []
    return [run for run in runs if run.since + seconds < now]


def find_outgrown(runs: Sequence[R], limits: Trash, now: int | None, fresh: int) -> Iterator[R]:
    """What is too old, and of the rest the oldest that is too much beside the ``fresh`` bytes of this run,
    which stay in any case. ``now``: None where nobody can tell."""
    too_old = find_expired(runs, limits.seconds, now)
    yield from too_old
    if limits.bytes is None:
        return
    total = fresh
    for run in sorted(runs, key=lambda run: run.since, reverse=True):
        if run not in too_old:
            total += run.size
            if total > limits.bytes:
                yield run


def tell_retired(count: int, size: int, before: Sequence[Retired]) -> str:
    """What was added, beside what is there of runs ``before``."""
    things = "1 thing that was" if count == 1 else f"{count:,} things that were"
    text = f"{things} deleted or replaced went to the trash there ({show_bytes(size)}; 'reconcile trash')"
    if before:
        day = time.strftime("%Y-%m-%d", time.gmtime(min(run.since for run in before)))
        every, total = count + sum(run.count for run in before), size + sum(run.size for run in before)
        text += f", which has {every:,} since {day} ({show_bytes(total)})"
    return text
