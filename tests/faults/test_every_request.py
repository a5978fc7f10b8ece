"""Something breaks at one request, for every request of a run; then a plain run puts it right.

``make test`` takes a few requests that lie far apart, ``make torture`` each.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.scenario import MIRROR, OLD, Scenario, describe, write_as_third_hand
from tests.support.faults import Fault
from tests.support.trees import File, build_tree

KILLED = -9
PROBLEMS = 3
UNREACHABLE = 6
RECONNECT = ("--retries", "5", "--retry-max-wait", "0.1", "--timeout", "1")
GIVE_UP = ("--retries", "0")
LIKELY = 0.9  # of the requests of one run, another one takes so many at least
PARTS = 8 if TORTURE else 1  # tests to divide the requests of one breakage among


@dataclass(frozen=True)
class Breakage:
    """One way to break, and how the run ends that meets it."""

    name: str
    tally: str
    fault: Callable[[Scenario, int], Fault]
    flags: tuple[str, ...] = ()
    ends: frozenset[int] = frozenset({KILLED})
    sample: int = 2  # requests that ``make test`` tries


def kill(scenario: Scenario, at: int) -> Fault:
    return Fault("kill", at, pid_file=str(scenario.runner.pid_file))


def kill_after(scenario: Scenario, at: int) -> Fault:
    return Fault("kill", at, when="after", pid_file=str(scenario.runner.pid_file))


def kill_with_a_queue(scenario: Scenario, at: int) -> Fault:
    return Fault("kill", at, delay=0.003, pid_file=str(scenario.runner.pid_file))


def cut(_: Scenario, at: int) -> Fault:
    return Fault("cut", at)


def cut_after(_: Scenario, at: int) -> Fault:
    return Fault("cut", at, when="after")


def drop(_: Scenario, at: int) -> Fault:
    return Fault("drop", at)


BREAKAGES = [
    Breakage("kill-before", "kill points", kill),
    Breakage("kill-after", "kill points", kill_after),
    Breakage("kill-queued", "kill points with queued requests", kill_with_a_queue),
    Breakage("cut-before", "cut points", cut, GIVE_UP, frozenset({UNREACHABLE})),
    Breakage("cut-after", "cut points", cut_after, GIVE_UP, frozenset({UNREACHABLE})),
    Breakage("cut-and-reconnect", "cut points, same run goes on", cut_after, RECONNECT, frozenset({0})),
    Breakage("drop", "dropped replies, same run goes on", drop, RECONNECT, frozenset({0})),
]


def some(*names: str) -> pytest.MarkDecorator:
    """A test for each of these breakages, or with ``make torture`` for all that end the run."""
    chosen = [b for b in BREAKAGES if (0 not in b.ends if TORTURE else b.name in names)]
    return pytest.mark.parametrize("breakage", chosen, ids=lambda breakage: breakage.name)


def spread(count: int, sample: int, part: int) -> Iterable[int]:
    """Which of ``count`` requests to break: all of this part, or a few."""
    if TORTURE:
        return range(1 + part, count + 1, PARTS)
    return sorted({1 + count * (2 * n + 1) // (2 * sample) for n in range(sample)})


@pytest.fixture
def ready(scenario: Scenario) -> tuple[Scenario, int]:
    """The scenario after ``prepare``, and how many requests its run takes."""
    if not scenario.prepared:
        scenario.prepare()
    scenario.restore()
    return scenario, scenario.count_requests(*MIRROR)


def break_off(scenario: Scenario, breakage: Breakage, at: int, *flags: str, count: int = 0) -> bool:
    """Run until it breaks. False if it took fewer than ``at`` requests, as no two runs take the same.

    They differ by little: only at one of the last of ``count`` may it stay out, and never if that is 0.
    """
    scenario.sshd.arm(breakage.fault(scenario, at))
    ran = scenario.run(*flags, *breakage.flags)
    if scenario.sshd.armed:
        scenario.sshd.arm()
        assert at > LIKELY * (count or at * 2), f"the fault at request {at} of {count} was never met"
        return False
    assert ran.code in breakage.ends, describe(ran)
    return True


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_then_a_plain_run(
    ready: tuple[Scenario, int], tally: Counter[str], breakage: Breakage, part: int
) -> None:
    scenario, count = ready
    failures = Failures(tally)

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, breakage, at, *MIRROR, count=count):
            tally[breakage.tally] += 1
        scenario.settle(*MIRROR)

    for at in spread(count, breakage.sample, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


@pytest.mark.parametrize("part", range(PARTS))
@some("kill-before")
def test_a_plan_foresees_the_run(
    ready: tuple[Scenario, int], tally: Counter[str], breakage: Breakage, part: int
) -> None:
    scenario, count = ready
    failures = Failures(tally)

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, breakage, at, *MIRROR, count=count):
            tally[f"{breakage.tally}, a plan in between"] += 1
        scenario.sshd.end_sessions()  # no plan can know what the dead client has queued
        planned = scenario.runner.run(*scenario.arguments("plan", *MIRROR))
        ran = scenario.run_well(*MIRROR)
        foreseen, done = planned.document, ran.document
        assert foreseen["counts"] == done["counts"], f"{describe(planned)}\n{describe(ran)}"
        assert foreseen["entries"] == done["entries"], f"{describe(planned)}\n{describe(ran)}"

    for at in spread(count, 3, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


@pytest.mark.parametrize("part", range(PARTS))
@some("kill-after")
def test_without_mirror(
    ready: tuple[Scenario, int], tally: Counter[str], breakage: Breakage, part: int
) -> None:
    scenario, count = ready
    failures = Failures(tally)

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, breakage, at, count=count):
            tally[breakage.tally] += 1
        scenario.settle()

    for at in spread(count * 3 // 4, 1, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


@pytest.mark.parametrize("part", range(PARTS))
@some("kill-before", "kill-queued", "cut-after")
def test_a_third_hand_writes_in_between(
    ready: tuple[Scenario, int], tally: Counter[str], breakage: Breakage, part: int
) -> None:
    scenario, count = ready
    failures = Failures(tally)

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, breakage, at, *MIRROR, count=count):
            tally[f"{breakage.tally}, a third hand in between"] += 1
        scenario.sshd.end_sessions()  # what the dead client had queued is not the third hand's fault
        foreign = write_as_third_hand(scenario.dest)
        scenario.settle(*MIRROR, foreign=foreign)

    for at in spread(count, 1, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


def edit_again(source: Path) -> None:
    """More edits, to what the broken run was about to do."""
    (source / "new/n3").unlink()
    (source / "new/a").rename(source / "modify/a")
    (source / "moved/w1").rename(source / "moved/again")
    (source / "modify/m5").rename(source / "move-back")
    (source / "modify/m7").unlink()
    (source / "folders/r1").rename(source / "folders/d1")
    (source / "swap/s0").replace(source / "swap/s1")
    (source / "case").rename(source / "Case")
    (source / "logs/log").unlink()
    (source / "logs/log.1").rename(source / "logs/log")
    (source / "type/dir-file").unlink()
    shutil.rmtree(source / "type/file-dir")
    build_tree(
        source,
        {
            "modify": {"m9": File("once more", mtime=OLD + 9)},
            "new": {"n6": File("another six", mtime=OLD + 10), "later": "made in between"},
            "type": {"dir-file": {"again": "a directory"}, "file-dir": File("a file again", mtime=OLD)},
            "large": File(b"smaller now", mtime=OLD + 1),
        },
    )


@pytest.mark.parametrize("part", range(PARTS))
@some("kill-after", "cut-before")
def test_edits_are_made_in_between(
    ready: tuple[Scenario, int], tally: Counter[str], breakage: Breakage, part: int
) -> None:
    scenario, count = ready
    failures = Failures(tally)

    def attempt() -> None:
        scenario.prepare()
        if break_off(scenario, breakage, at, *MIRROR, count=count):
            tally[f"{breakage.tally}, edits in between"] += 1
        edit_again(scenario.source)
        scenario.prepared = False
        scenario.settle(*MIRROR)

    for at in spread(count, 1, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


EARLY = 40  # requests within which a run has connected, recovered and prepared


@pytest.mark.parametrize(
    "breakage", [b for b in BREAKAGES if 0 in b.ends], ids=lambda breakage: breakage.name
)
@pytest.mark.parametrize("case", ["first run", "recovery"])
def test_a_loss_before_the_first_action(
    scenario: Scenario, tally: Counter[str], breakage: Breakage, case: str
) -> None:
    failures = Failures(tally)
    if case == "first run":
        scenario.build()
        flags: tuple[str, ...] = ()
    else:
        scenario.prepare()
        flags = MIRROR

    def attempt() -> None:
        scenario.restore()
        if case == "recovery":
            break_off(scenario, BREAKAGES[0], 500, *MIRROR)
        break_off(scenario, breakage, at, *flags)
        tally[f"{breakage.tally}, {case}"] += 1
        scenario.settle(*flags)

    for at in range(1, EARLY) if TORTURE else (2, 9):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


@pytest.mark.parametrize("part", range(PARTS))
@some("kill-before", "cut-after")
def test_the_first_run(scenario: Scenario, tally: Counter[str], breakage: Breakage, part: int) -> None:
    failures = Failures(tally)
    scenario.build()
    count = scenario.count_requests()

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, breakage, at, count=count):
            tally[f"{breakage.tally}, first run"] += 1
        scenario.settle()

    for at in spread(count, 1, part):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_loss_while_what_was_parked_goes_home(scenario: Scenario, when: Literal["before", "after"]) -> None:
    """Of a swap one half fails; the other, which made room for it, must not stay out in the cold."""
    scenario.build()
    scenario.run_well()
    one, two = scenario.source / "swap/s0", scenario.source / "swap/s1"
    one.rename(scenario.source / "aside")
    two.rename(one)
    (scenario.source / "aside").rename(two)
    foreign = b"a third hand was here"
    drifted = scenario.dest / "swap/s0"  # is to move to s1, which stands in its way and is parked
    drifted.write_bytes(foreign)
    scenario.sshd.arm(Fault("cut", 2, kind="RENAME", path="/parked/", when=when))
    ran = scenario.run(*MIRROR, "--on-drift", "skip", *RECONNECT)
    assert not scenario.sshd.armed
    assert ran.code == PROBLEMS, describe(ran)
    assert ran.document["problems"], "nothing says what failed"
    assert drifted.read_bytes() == foreign
    assert not list(scenario.leftovers())
    scenario.settle(*MIRROR, foreign=frozenset({foreign}))
