"""Some breakages once more where OpenSSH's own client connects; all of them with ``TRANSPORT=ssh``."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.scenario import MIRROR, Scenario
from tests.faults.test_every_request import BREAKAGES, Breakage, break_off, ready

__all__ = ["ready"]

NAMES = {"kill-after", "cut-and-reconnect", "drop"}
CHOSEN = [each for each in BREAKAGES if each.name in NAMES]


@pytest.fixture(autouse=True)
def by_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.sshd.TRANSPORT", "ssh")


@pytest.mark.parametrize("breakage", CHOSEN, ids=lambda breakage: breakage.name)
def test_then_a_plain_run(ready: tuple[Scenario, int], tally: Counter[str], breakage: Breakage) -> None:
    scenario, count = ready
    scenario.restore()
    if break_off(scenario, breakage, 1 + count // 2, *MIRROR, count=count):
        tally[f"{breakage.tally}, over OpenSSH's client"] += 1
    scenario.settle(*MIRROR)
