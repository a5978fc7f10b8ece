"""The part of the trash that has an age, wherever it lies: what of it goes, and what is said of it. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from reconcile.core.job import Trash
from reconcile.core.units import show_bytes


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


def find_outgrown(runs: Sequence[R], limits: Trash, now: int | None, fresh: int) -> Iterator[R]:
    """What is too old, and of the rest the oldest that is too much beside the ``fresh`` bytes of this run,
    which stay in any case. ``now``: None where nobody can tell."""
    too_old: list[R] = []
    if limits.seconds is not None and now is not None:
        too_old = [run for run in runs if run.since + limits.seconds < now]
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
