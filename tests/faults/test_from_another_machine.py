"""A run with its state at DEST breaks off, and the next one is on another machine: it converges all the same.

``make test`` takes a few requests that lie far apart, ``make torture`` each.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconcile.state.small import recall
from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.runner import Runner
from tests.faults.scenario import MIRROR, Scenario, copy
from tests.faults.test_every_request import BREAKAGES, PARTS, Breakage, break_off, spread
from tests.support.sshd import Sshd, start_sshd

WAIT = ("--wait", "20")  # seconds: who died before it said whose the lock is may yet say so for ten
LAST = 3  # requests
ENDING = [breakage for breakage in BREAKAGES if 0 not in breakage.ends]
CHOSEN = ENDING if TORTURE else [b for b in ENDING if b.name in ("kill-before", "cut-after")]


class Elsewhere(Scenario):
    """One in which the state is at DEST, and the next run may be on another machine: SRC is at another path,
    and nothing is there in which anything could be remembered."""

    def __init__(self, folder: Path, sshd: Sshd, runner: Runner, home: Path) -> None:
        super().__init__(folder, sshd, runner)
        self.state = home / "reconcile"
        self._places = self.source, folder / "elsewhere"

    def arguments(self, command: str, *flags: str) -> list[str]:
        job = [str(self.source), self.sshd.url(self.dest), "--state", "remote"]
        return [command, *job, *self.sshd.endpoint.flags(), "--json", *flags]

    def build(self) -> None:
        self.source = self._places[0]
        super().build()

    def restore(self) -> None:
        self.source = self._places[0]
        super().restore()

    def go_elsewhere(self) -> None:
        """From now on it is the other machine."""
        self.sshd.arm()
        shutil.rmtree(self.state, ignore_errors=True)
        self.source = self._places[1]
        shutil.rmtree(self.source, ignore_errors=True)
        copy(self._places[0], self.source)

    def check(self, foreign: frozenset[bytes] = frozenset(), *, retained: bool = False) -> None:
        super().check(foreign, retained=retained)
        (here,) = self.state.glob("remote/*")
        names = {path.name for path in here.iterdir()}
        assert not {name for name in names if name.startswith((".", "journal")) or name.endswith(".new")}
        newest = recall(str(here), "copy")[2]
        store = self.dest / ".reconcile/store"
        assert (store / f"job-default.{newest}.state/value").exists()
        left = [path.name for what in ("intent", "part-*") for path in store.glob(f"*.{newest}.{what}")]
        assert not left, f"left in the store: {left}"  # what is of states before goes with the next

    def leftovers(self) -> Iterator[str]:
        return (path for path in super().leftovers() if not path.startswith(".reconcile/store/"))


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "sshd").mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        start_sshd(folder / "sshd", with_shim=True) as sshd,
    ):
        patch.setenv("XDG_STATE_HOME", str(folder / "home"))
        with Runner(folder) as runner:
            yield Elsewhere(folder, sshd, runner, folder / "home")


@pytest.fixture
def ready(scenario: Elsewhere) -> tuple[Elsewhere, int]:
    """The scenario after ``prepare``, and how many requests its run takes."""
    if not scenario.prepared:
        scenario.prepare()
    scenario.restore()
    return scenario, scenario.count_requests(*MIRROR)


def _met(breakage: Breakage, at: int, count: int) -> Breakage:
    """The last it asks for is that others may have the lock: all is saved by then."""
    return replace(breakage, ends=breakage.ends | {0}) if at > count - LAST else breakage


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("breakage", CHOSEN, ids=lambda breakage: breakage.name)
def test_then_a_run_on_another_machine(
    ready: tuple[Elsewhere, int], tally: Counter[str], breakage: Breakage, part: int
) -> None:
    scenario, count = ready
    failures = Failures(tally)

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, _met(breakage, at, count), at, *MIRROR, count=count):
            tally[f"{breakage.tally}, then another machine"] += 1
        scenario.go_elsewhere()
        scenario.settle(*MIRROR, *WAIT)

    for at in spread(count, 1, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


@pytest.mark.parametrize("part", range(PARTS))
def test_the_first_run(scenario: Elsewhere, tally: Counter[str], part: int) -> None:
    failures = Failures(tally)
    scenario.build()
    scenario.restore()
    count = scenario.count_requests()
    breakage = BREAKAGES[1]

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, _met(breakage, at, count), at, count=count):
            tally[f"{breakage.tally}, first run, then another machine"] += 1
        scenario.go_elsewhere()
        scenario.settle(*WAIT, retained=True)

    for at in spread(count, 1, part):
        failures.attempt(f"first run {at}", attempt)
    failures.demand_none()


def test_with_nothing_to_do_it_asks_for_little(scenario: Elsewhere) -> None:
    """It opens, lists what is shared, and reads the state: each in two round trips at most."""
    scenario.build()
    scenario.run_well()
    for most in (13, 9):  # the second time there is a copy
        scenario.go_elsewhere() if most == 13 else None
        ran = scenario.run_well()
        assert ran.counts == {}
        assert ran.document["requests"] <= most, ran.out
    assert not list((scenario.dest / ".reconcile/store").glob("*lock-2*")), "it took the lock"
