"""An undo breaks off at one request: the next one ends it, and no run brings forward what it has taken back.
A run does: an undo takes back what of it was done.

``make test`` takes a few requests that lie far apart, ``make torture`` each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.runner import Runner
from tests.faults.scenario import MIRROR, Scenario, copy, describe, edit
from tests.faults.test_every_request import BREAKAGES, PARTS, Breakage, break_off, spread
from tests.support.command import Ran
from tests.support.sshd import start_sshd
from tests.support.trees import Node, assert_alike, read_tree

TRASH = (*MIRROR, "--trash", "30d")
ENDING = [breakage for breakage in BREAKAGES if 0 not in breakage.ends]
CHOSEN = ENDING if TORTURE else [b for b in ENDING if b.name in ("kill-before", "cut-after")]


class Undone(Scenario):
    """One in which what breaks is an undo: of a run that has changed all there is to change."""

    before: dict[str, Node]  # what DEST showed before that run
    after: dict[str, Node]

    def prepare(self) -> None:
        self.build()
        super().run("--trash", "30d")
        self.before = self.shown()
        edit(self.source)
        ran = super().run(*TRASH)
        assert ran.code == 0, describe(ran)
        self.after = self.shown()
        for path in (self.dest, self.state):
            copy(path, self.saved / path.name)
        self.prepared = True

    def shown(self) -> dict[str, Node]:
        """What DEST shows."""
        found = read_tree(self.dest)
        return {path: node for path, node in found.items() if path.split("/")[0] != ".reconcile"}

    def run(self, *flags: str) -> Ran:
        return self.runner.run(*self.arguments("undo", "--yes", *flags))

    def push(self, *flags: str) -> Ran:
        ran = super().run(*TRASH, *flags)
        assert ran.code == 0, describe(ran)
        return ran


class Broken(Undone):
    """One in which the run breaks that an undo is to take back."""

    def prepare(self) -> None:
        self.build()
        Scenario.run(self, "--trash", "30d")
        self.before = self.shown()
        for path in (self.dest, self.state):
            copy(path, self.saved / path.name)
        edit(self.source)
        self.prepared = True

    def run(self, *flags: str) -> Ran:
        return Scenario.run(self, *flags)

    def take_back(self) -> None:
        ran = self.runner.run(*self.arguments("undo", "--yes", *TRASH))
        assert ran.code == 0, describe(ran)


@pytest.fixture(scope="module")
def undone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undone]:
    folder = tmp_path_factory.mktemp("undone")
    (folder / "sshd").mkdir()
    with start_sshd(folder / "sshd", with_shim=True) as sshd, Runner(folder) as runner:
        yield Undone(folder, sshd, runner)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "sshd").mkdir()
    with start_sshd(folder / "sshd", with_shim=True) as sshd, Runner(folder) as runner:
        scenario = Broken(folder, sshd, runner)
        scenario.prepare()
        yield scenario


@pytest.fixture
def ready(undone: Undone) -> tuple[Undone, int]:
    """All of that, and how many requests an undo takes."""
    if not undone.prepared:
        undone.prepare()
    undone.restore()
    count = undone.count_requests(*TRASH)
    assert_alike(undone.before, undone.shown())
    return undone, count


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("breakage", CHOSEN, ids=lambda breakage: breakage.name)
def test_the_next_one_ends_it(
    ready: tuple[Undone, int], tally: Counter[str], breakage: Breakage, part: int
) -> None:
    scenario, count = ready
    failures = Failures(tally)

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, breakage, at, *TRASH, count=count):
            tally[f"{breakage.tally}, of an undo"] += 1
        if at % 2:  # a night passes
            ran = scenario.push()
            assert not {"create", "modify", "move"} & ran.counts.keys(), describe(ran)
        scenario.run_well(*TRASH)
        assert_alike(scenario.before, scenario.shown())
        assert scenario.push().counts == {}
        assert_alike(scenario.before, scenario.shown())

    for at in spread(count, breakage.sample, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


def test_again_brings_it_forward(ready: tuple[Undone, int]) -> None:
    scenario, _ = ready
    scenario.push("--again")
    assert_alike(scenario.after, scenario.shown())
    assert scenario.push().counts == {}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("breakage", ENDING if TORTURE else CHOSEN[:1], ids=lambda breakage: breakage.name)
def test_a_run_that_broke_off_is_taken_back(
    broken: Broken, tally: Counter[str], breakage: Breakage, part: int
) -> None:
    broken.restore()
    count = broken.count_requests(*TRASH)
    failures = Failures(tally)

    def attempt() -> None:
        broken.restore()
        broke = break_off(broken, breakage, at, *TRASH, count=count)
        if not broke or broken.shown() == broken.before:  # nothing is to be taken back, or all there is
            return
        tally[f"{breakage.tally}, of a run to undo"] += 1
        if at % 2:
            broken.run(*TRASH)
        broken.take_back()
        assert_alike(broken.before, broken.shown())

    for at in spread(count, breakage.sample, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()
