"""The state machine, on S3: whatever is done to the folder, by a third hand, and to runs, nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from tests.faults.bucket import BucketScenario, open_scenario
from tests.faults.conftest import TORTURE
from tests.faults.scenario import Scenario, describe
from tests.faults.test_state_machine import GOOD, KILLED, PATHS, PROBLEMS, UNREACHABLE, Job
from tests.support.http_faults import Fault
from tests.support.trees import read_tree

EXAMPLES, STEPS = (200, 40) if TORTURE else (4, 15)
KINDS = ["PutObject", "CopyObject", "DeleteObjects", "HeadObject", "ListObjectsV2", "GetObject"]


class BucketJob(Job):
    """One job to a bucket from its first run on. Links and modes are nothing there."""

    bucket: ClassVar[BucketScenario]
    make_link = change_mode = lose_the_line = None  # type: ignore[assignment]

    @initialize()
    def begin(self) -> None:
        self.bucket.begin_anew()
        self.run()

    @rule(path=PATHS)
    def drift(self, path: str) -> None:
        hand = self.bucket.hand
        if path in hand.names() and hand.get(path) in self.theirs:
            return  # that would be the third hand's own loss
        content = f"a third hand's {len(self.theirs)}".encode()
        hand.put(path, content)
        self.theirs.add(content)

    @rule(at=st.integers(1, 14), when=st.sampled_from(["before", "after"]))
    def crash(self, at: int, when: str) -> None:
        pid_file = str(self.bucket.runner.pid_file)
        self.fail_at(Fault("kill", at, when=when, pid_file=pid_file), {KILLED})  # type: ignore[arg-type]

    @rule(
        at=st.integers(1, 3),
        kind=st.sampled_from(KINDS),
        refusal=st.sampled_from([(500, "InternalError"), (403, "AccessDenied"), (503, "SlowDown")]),
        when=st.sampled_from(["before", "after"]),
    )
    def fail(self, at: int, kind: str, refusal: tuple[int, str], when: str) -> None:
        status, code = refusal
        fault = Fault("answer", at, kind, when=when, status=status, code=code)  # type: ignore[arg-type]
        self.fail_at(fault, {GOOD, PROBLEMS, UNREACHABLE})

    def fail_at(self, fault: Fault, ends: set[int]) -> None:
        """A run that has something to do and meets a fault, or takes too few requests to."""
        self.write("busy", f"at {self.clock}")
        self.bucket.proxy.arm(fault)
        ran = self.bucket.run(*self.flags, "--retries", "0")
        missed = self.bucket.proxy.armed
        self.bucket.proxy.arm()
        assert ran.code in ({GOOD} if missed else ends), describe(ran)
        self.tally["faults of the state machine on S3"] += not missed

    @invariant()
    def nothing_is_lost(self) -> None:
        there = self.everything().values()
        assert self.theirs <= set(there), f"LOST of a third hand: {self.theirs - set(there)}"

    def check(self) -> None:
        """The bucket holds what the folder does, but where a third hand wrote and nobody looked since."""
        nodes = read_tree(self.bucket.source).items()
        here = {p: n.content for p, n in nodes if n.kind == "file" and not self.hidden(p)}
        there = {k: data for k, data in self.everything().items() if k[-1] != "/" and ".reconcile" not in k}
        for path, content in here.items():
            assert there.get(path) == content or there.get(path) in self.theirs, (
                f"{path}: {there.get(path)!r}"
            )
        if self.mirror:
            gone = there.keys() - here.keys()
            left = {path for path in gone if not self.hidden(path) and there[path] not in self.theirs}
            assert not left, f"not deleted: {left}"

    def everything(self) -> dict[str, bytes]:
        """All objects, ours too."""
        return {key: self.bucket.hand.get(key) for key in self.bucket.hand.names()}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketScenario]:
    with open_scenario("moto", tmp_path_factory.mktemp("bucket")) as scenario:
        yield scenario


def test_anything_in_any_order(bucket: BucketScenario, tally: Counter[str]) -> None:
    class OurJob(BucketJob):
        pass

    OurJob.bucket, OurJob.tally = bucket, tally
    OurJob.scenario = cast("Scenario", bucket)  # of which no more is asked
    run_state_machine_as_test(
        OurJob,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not TORTURE,
            suppress_health_check=list(HealthCheck),
        ),
    )
