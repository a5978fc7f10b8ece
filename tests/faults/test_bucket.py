"""A run to S3 breaks at one request, for every request; then a plain run puts it right.

``make test`` takes a few that lie far apart, ``make torture`` each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.faults.bucket import BucketScenario, open_scenario, write_as_third_hand
from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.scenario import MIRROR, describe
from tests.support.command import Ran
from tests.support.http_faults import Fault

GOOD, PROBLEMS, UNREACHABLE, KILLED = 0, 3, 6, -9
SAMPLE = 2  # requests that ``make test`` tries of each breakage
SERVERS = ["rclone", "moto"] if TORTURE else ["rclone"]  # without conditional writes, and with


@pytest.fixture(scope="module", params=SERVERS)
def bucket(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BucketScenario]:
    """The scenario, prepared."""
    with open_scenario(request.param, tmp_path_factory.mktemp("bucket")) as scenario:
        scenario.prepare()
        yield scenario


MakeFault = Callable[[BucketScenario, int], Fault]


def kill(scenario: BucketScenario, at: int) -> Fault:
    return Fault("kill", at, pid_file=str(scenario.runner.pid_file))


def kill_after(scenario: BucketScenario, at: int) -> Fault:
    return Fault("kill", at, when="after", pid_file=str(scenario.runner.pid_file))


def fail_for_good(_: BucketScenario, at: int) -> Fault:
    return Fault("answer", at, status=500, code="InternalError", times=40)


def cut_after(_: BucketScenario, at: int) -> Fault:
    return Fault("cut", at, when="after")


BREAKAGES: list[tuple[MakeFault, set[int]]] = [
    (kill, {KILLED}),
    (kill_after, {KILLED}),
    (fail_for_good, {UNREACHABLE, PROBLEMS}),
    (cut_after, {GOOD}),  # which is asked for once more
]


@pytest.mark.parametrize(
    "third_hand", [True, False] if TORTURE else [True], ids=lambda it: "drifted" if it else "alone"
)
@pytest.mark.parametrize(("breakage", "ends"), BREAKAGES, ids=lambda it: getattr(it, "__name__", ""))
def test_then_a_plain_run(
    bucket: BucketScenario, tally: Counter[str], breakage: MakeFault, ends: set[int], third_hand: bool
) -> None:
    failures = Failures(tally)
    bucket.restore()
    theirs = write_as_third_hand(bucket.hand) if third_hand else set()
    bucket.proxy.arm()
    bucket.run_well(*MIRROR)
    count = len(bucket.proxy.kinds())
    assert count > 50

    def attempt() -> None:
        bucket.restore()
        theirs = write_as_third_hand(bucket.hand) if third_hand else set[bytes]()
        bucket.proxy.arm(breakage(bucket, at))
        ran = bucket.run(*MIRROR, "--retries", "0")
        missed = bucket.proxy.armed
        assert ran.code in ({GOOD} if missed else ends), describe(ran)
        assert not missed or at > 0.9 * count, f"request {at} of {count} was never made"
        tally["requests to S3 that broke"] += not missed
        bucket.proxy.arm()
        bucket.is_whole(theirs)
        bucket.settle(*MIRROR, theirs=theirs)

    points = range(1, count + 1) if TORTURE else [count * (2 * n + 1) // (2 * SAMPLE) for n in range(SAMPLE)]
    for at in points:
        failures.attempt(f"{breakage.__name__} at {at} of {count}", attempt)
    assert theirs <= set(map(bucket.hand.get, bucket.hand.names()))
    failures.demand_none()


@pytest.mark.parametrize(
    ("breakage", "ends"), BREAKAGES if TORTURE else BREAKAGES[:1], ids=lambda it: getattr(it, "__name__", "")
)
def test_an_undo_is_ended_by_the_next_one(
    bucket: BucketScenario, tally: Counter[str], breakage: MakeFault, ends: set[int]
) -> None:
    flags = (*MIRROR, "--trash", "30d")
    failures = Failures(tally)
    bucket.restore()
    bucket.proxy.arm()
    before = bucket.shown()
    bucket.run_well(*flags)
    there, state = bucket.keep()

    def undo(*more: str) -> Ran:
        return bucket.run(*flags, "--yes", *more, command="undo")

    bucket.proxy.arm()
    ran = undo()
    assert (ran.code, bucket.shown()) == (GOOD, before), describe(ran)
    count = len(bucket.proxy.kinds())

    def attempt() -> None:
        bucket.restore(there, state)
        bucket.proxy.arm(breakage(bucket, at))
        ran = undo("--retries", "0")
        assert ran.code in (ends if not bucket.proxy.armed else {GOOD}), describe(ran)
        tally["requests to S3 that broke, of an undo"] += not bucket.proxy.armed
        bucket.proxy.arm()
        if ran.code != GOOD:
            ran = undo()
        assert (ran.code, bucket.shown()) == (GOOD, before), describe(ran)
        assert bucket.run_well(*flags).counts == {}
        assert bucket.shown() == before

    for at in range(1, count + 1) if TORTURE else [count // 2]:
        failures.attempt(f"{breakage.__name__} at {at} of {count}", attempt)
    failures.demand_none()
