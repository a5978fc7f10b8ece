"""A job goes over to state at DEST, and breaks off meanwhile: the next run goes on, or says which one can.

``make torture`` breaks each request; what ``make test`` has of it is in ``tests/phases/test_handover``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.runner import Runner
from tests.faults.scenario import MIRROR, Scenario, describe, noticed
from tests.faults.test_every_request import BREAKAGES, Breakage, break_off
from tests.support.sshd import Sshd, start_sshd

ENDING = [breakage for breakage in BREAKAGES if 0 not in breakage.ends]
STEP = 64  # requests, from one that a test breaks to the next
THERE = ("--state", "remote")
WAIT = ("--wait", "20")  # seconds: who died before it said whose the lock is may yet say so for ten
REFUSED = 4


class GoingOver(Scenario):
    """Its state is in the usual place, and goes to DEST if that is asked for."""

    def __init__(self, folder: Path, sshd: Sshd, runner: Runner, home: Path) -> None:
        super().__init__(folder, sshd, runner)
        self.state = home / "reconcile"

    def arguments(self, command: str, *flags: str) -> list[str]:
        job = [str(self.source), self.sshd.url(self.dest)]
        return [command, *job, *self.sshd.endpoint.flags(), "--json", *flags]

    def leftovers(self) -> Iterator[str]:
        return (path for path in super().leftovers() if not path.startswith(".reconcile/store/"))


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoingOver]:
    folder = tmp_path_factory.mktemp("over")
    (folder / "sshd").mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        start_sshd(folder / "sshd", with_shim=True) as sshd,
    ):
        patch.setenv("XDG_STATE_HOME", str(folder / "home"))
        with Runner(folder) as runner:
            yield GoingOver(folder, sshd, runner, folder / "home")


@pytest.mark.skipif(not TORTURE, reason="takes minutes")
@pytest.mark.parametrize("part", range(STEP if TORTURE else 1))
@pytest.mark.parametrize("breakage", ENDING if TORTURE else ENDING[:1], ids=lambda breakage: breakage.name)
def test_then_a_run_by_either_state(
    scenario: GoingOver, tally: Counter[str], breakage: Breakage, part: int
) -> None:
    if not scenario.prepared:
        scenario.prepare()
    scenario.restore()
    count = scenario.count_requests(*MIRROR, *THERE)
    failures = Failures(tally)

    def attempt() -> None:
        scenario.restore()
        if break_off(scenario, breakage, at, *MIRROR, *THERE, count=count):
            tally[f"{breakage.tally}, as the state went over to DEST"] += 1
        way = THERE if at // STEP % 2 else ()
        ran = scenario.run(*MIRROR, *WAIT, *way)
        if ran.code == REFUSED and not way:  # begun by the other
            assert "Run once with --state remote" in ran.document["message"]
            way = THERE
            ran = scenario.run(*MIRROR, *WAIT, *way)
        assert ran.code == 0, describe(ran)
        assert not noticed(ran), f"taken for a stale state: {describe(ran)}"
        scenario.check()
        for other in ((), THERE) if way else (THERE, ()):
            assert scenario.run_well(*MIRROR, *WAIT, *other).counts == {}
        scenario.check()

    for at in range(1 + part, count + 1, STEP):
        failures.attempt(f"{breakage.name} {at}", attempt)
    failures.demand_none()
