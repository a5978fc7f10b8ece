"""The server answers one request with what it should not; then a plain run puts it right.

For every kind of request that the scenario takes: each status there is and one that
there is not, no answer, bytes that are none, a packet too long, the end.

Some answers no client sees through. A server that says "OK" and does nothing is
believed, once it has kept what was set for the first files of a run: that takes
``--refresh`` to find. What it denies to have stays with it.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.scenario import MIRROR, Scenario, describe, write_as_third_hand
from tests.support.faults import Do, Fault

STATUSES = [*range(9), 99]
BROKEN: list[Do] = [do for do in get_args(Do) if do in ("never", "garbage", "overlong", "close")]
GIVE_UP = ("--retries", "0", "--timeout", "1")
OK, PROBLEMS, REFUSED, UNREACHABLE = 0, 3, 4, 6
LIKELY = 0.75  # of the requests of a kind that one run takes, another one takes so many at least
NOT_THERE = 2  # the status; OK is 0 in both worlds

# Each kind of request the scenario takes, and a share of how many of it there are.
KINDS = [
    *("REALPATH", "STAT", "LSTAT", "OPENDIR", "READDIR", "READLINK", "MKDIR", "RMDIR", "REMOVE", "RENAME"),
    *("OPEN", "WRITE", "FSETSTAT", "CLOSE", "SYMLINK"),
    *("posix-rename@openssh.com", "lsetstat@openssh.com", "limits@openssh.com", "fsync@openssh.com"),
]
# Those that take part in keeping what a third hand wrote where we want to write.
KEEPING = ["hardlink@openssh.com", "posix-rename@openssh.com", "RENAME", "LSTAT", "MKDIR", "RMDIR"]
WHERE = [0.0, 0.3, 0.6, 1.0] if TORTURE else [0.4]


@dataclass(frozen=True)
class Case:
    """The scenario after ``prepare``, and which requests its run takes.

    In one a third hand has written to the server before the run.
    """

    scenario: Scenario
    third_hand: bool
    counts: Counter[str]

    def begin(self) -> frozenset[bytes]:
        """Put all back; what the third hand wrote."""
        self.scenario.restore()
        return write_as_third_hand(self.scenario.dest) if self.third_hand else frozenset()


def _ready(scenario: Scenario, *, third_hand: bool) -> Case:
    if not scenario.prepared:
        scenario.prepare()
        scenario.count_requests(*MIRROR)
    case = Case(scenario, third_hand, Counter())
    case.begin()
    scenario.sshd.requests()
    scenario.run_well(*MIRROR)
    case.counts.update(scenario.sshd.requests().requests)
    return case


@pytest.fixture(scope="module")
def ready(scenario: Scenario) -> Case:
    return _ready(scenario, third_hand=False)


@pytest.fixture(scope="module")
def drifted(scenario: Scenario) -> Case:
    return _ready(scenario, third_hand=True)


def test_every_kind_is_tried(ready: Case, drifted: Case) -> None:
    assert set(ready.counts) - {"INIT"} <= set(KINDS)
    assert set(drifted.counts) - {"INIT"} <= {*KINDS, *KEEPING}
    assert set(KEEPING) <= set(drifted.counts)


def attempt(case: Case, fault: Fault, fine: set[int]) -> None:
    scenario = case.scenario
    foreign = case.begin()
    scenario.sshd.arm(fault)
    ran = scenario.run(*MIRROR, *GIVE_UP)
    met = not scenario.sshd.armed
    scenario.sshd.arm()
    assert met or fault.at > LIKELY * case.counts[str(fault.kind)], f"{fault} was never met"
    assert ran.code in fine, describe(ran)
    document = ran.document
    if ran.code == PROBLEMS:
        assert document["problems"], "nothing says what failed"
        assert all(problem["message"] for problem in document["problems"])
    elif ran.code:
        assert document["message"], "nothing says what happened"
    assert "bug in reconcile" not in ran.out, describe(ran)
    scenario.sshd.end_sessions()  # what the client had queued is still being carried out
    if list(scenario.leftovers()):  # what could not be purged is tried again by the next run that writes
        for step in (Path.touch, Path.unlink):
            step(scenario.source / "late")
            scenario.run_well(*MIRROR)
    if fault.do == "answer" and fault.status == OK:
        scenario.settle(*MIRROR, "--refresh", foreign=foreign)
    else:
        denied = fault.kind == "LSTAT" and fault.status == NOT_THERE
        scenario.settle(*MIRROR, foreign=foreign, retained=denied)


def nobody_can_tell(kind: str, at: int, status: int) -> bool:
    """Of a rename that is acknowledged and not done, as where it leads to there may be what looks the same.

    A server that does not keep the time of one of the first files is taken for one that keeps none.
    """
    return status == OK and (kind in ("RENAME", "posix-rename@openssh.com") or (kind, at) == ("FSETSTAT", 1))


def positions(count: int) -> list[int]:
    return sorted({1 + int((count - 1) * share) for share in WHERE}) if count else []


def give_statuses(case: Case, tally: Counter[str], kind: str) -> None:
    failures = Failures(tally)
    chance = random.Random(kind)
    for at in positions(case.counts[kind]):
        for status in STATUSES if TORTURE else [chance.choice(STATUSES)]:
            if nobody_can_tell(kind, at, status):
                continue
            fault = Fault("answer", at, kind=kind, status=status)
            tally["wrong answers"] += 1
            failures.attempt(
                f"{kind} {at} status {status}",
                partial(attempt, case, fault, {OK, PROBLEMS, REFUSED, UNREACHABLE}),
            )
    failures.demand_none()


@pytest.mark.parametrize("kind", KINDS)
def test_a_status(ready: Case, tally: Counter[str], kind: str) -> None:
    give_statuses(ready, tally, kind)


@pytest.mark.parametrize("kind", KEEPING)
def test_a_status_while_what_a_third_hand_wrote_is_kept(
    drifted: Case, tally: Counter[str], kind: str
) -> None:
    give_statuses(drifted, tally, kind)


def give_no_answer(case: Case, tally: Counter[str], kind: str, do: Do) -> None:
    failures = Failures(tally)
    fine = {UNREACHABLE}
    if (kind, do) == ("CLOSE", "never"):
        fine.add(OK)  # of a listing: nobody waits for that
    for at in positions(case.counts[kind]):
        tally["wrong answers"] += 1
        failures.attempt(f"{kind} {at} {do}", partial(attempt, case, Fault(do, at, kind=kind), fine))
    failures.demand_none()


@pytest.mark.parametrize(
    ("kind", "do"),
    [(kind, do) for kind in KINDS for do in BROKEN]
    if TORTURE
    else [("LSTAT", "close"), ("WRITE", "never"), ("RENAME", "garbage"), ("OPEN", "overlong")],
)
def test_no_answer(ready: Case, tally: Counter[str], kind: str, do: Do) -> None:
    give_no_answer(ready, tally, kind, do)


@pytest.mark.parametrize("do", BROKEN if TORTURE else BROKEN[:1])
@pytest.mark.parametrize("kind", KEEPING if TORTURE else KEEPING[:1])
def test_no_answer_while_what_a_third_hand_wrote_is_kept(
    drifted: Case, tally: Counter[str], kind: str, do: Do
) -> None:
    give_no_answer(drifted, tally, kind, do)


def test_what_is_no_sftp_is_not_asked_for_again(ready: Case) -> None:
    scenario = ready.scenario
    ready.begin()
    scenario.sshd.requests()
    scenario.sshd.arm(Fault("garbage", 1, kind="RENAME"))
    ran = scenario.run(*MIRROR, "--retries", "5", "--retry-max-wait", "0.1")
    assert not scenario.sshd.armed
    assert ran.code == UNREACHABLE, describe(ran)
    assert "Nothing was done" not in ran.document["message"]
    assert not any("connecting again" in note["message"] for note in ran.document["notes"])
    scenario.sshd.end_sessions()
    scenario.settle(*MIRROR)
