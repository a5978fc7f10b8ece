"""Failures, collected so that one does not hide the others, and counted by what they mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class Failures:
    """What went wrong so far in one test."""

    def __init__(self, tally: Counter[str]) -> None:
        self.found: list[str] = []
        self.tried = 0
        self.tally = tally
        tally.update({"lost": 0, "diverged": 0, "written outside": 0})

    def attempt(self, name: str, step: Callable[[], object]) -> None:
        """Do ``step``; if what it demands does not hold, remember it under ``name``."""
        self.tried += 1
        try:
            step()
        except AssertionError as error:
            text = str(error)
            kind = "lost" if "LOST" in text else "written outside" if "WRITTEN" in text else "diverged"
            self.tally[kind] += 1
            self.found.append(f"{name}: {text}")

    def demand_none(self) -> None:
        """Fail if anything did, and show the first few; also if nothing was tried at all."""
        assert self.tried, "nothing was tried"
        assert not self.found, f"{len(self.found)} failures:\n" + "\n\n".join(self.found[:10])
