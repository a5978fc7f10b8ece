"""Many files that take each other's places: cut off anywhere between aside and home, none is lost or sent."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.scenario import MIRROR, Scenario, describe
from tests.faults.test_every_request import KILLED, RECONNECT
from tests.support.faults import Fault

LOGS = 9
ASIDE = LOGS - 2  # the first and the last go straight
SAMPLE = (4, ASIDE + 2, ASIDE + 6)  # renames: on the way aside, at its end, and on the way home


@pytest.fixture(scope="module")
def rotated(scenario: Scenario) -> Scenario:
    scenario.build()
    shutil.rmtree(scenario.source)
    (scenario.source / "logs").mkdir(parents=True)
    for number in range(LOGS):
        (scenario.source / f"logs/log.{number}").write_text(f"day {number}, which the server has")
    scenario.run_well()
    shutil.copytree(scenario.dest, scenario.saved / "dest", symlinks=True)
    shutil.copytree(scenario.state, scenario.saved / "state", symlinks=True)
    for number in range(LOGS, 0, -1):
        (scenario.source / f"logs/log.{number - 1}").rename(scenario.source / f"logs/log.{number}")
    return scenario


@pytest.mark.parametrize("at", SAMPLE)
@pytest.mark.parametrize("how", ["killed before", "killed after", "cut before", "cut after"])
def test_a_run_that_breaks_off(rotated: Scenario, how: str, at: int) -> None:
    do, _, when = how.partition(" ")
    rotated.restore()
    pid_file = str(rotated.runner.pid_file)
    rotated.sshd.arm(
        Fault(
            "kill" if do == "killed" else "cut",
            at,
            kind="RENAME",
            when="before" if when == "before" else "after",
            pid_file=pid_file,
        )
    )
    ran = rotated.run(*MIRROR, *RECONNECT)
    assert not rotated.sshd.armed
    assert ran.code == (KILLED if do == "killed" else 0), describe(ran)
    rotated.settle(*MIRROR)
    assert not list(rotated.leftovers())


@pytest.mark.parametrize("at", [ASIDE + 6, 2 * ASIDE + 2])
def test_what_came_home_is_not_taken_for_what_was_there(rotated: Scenario, at: int) -> None:
    """Logs of equal size and second look the same: of one that somebody replaced the next is no copy."""
    rotated.restore()
    rotated.sshd.arm(Fault("kill", at, kind="RENAME", when="after", pid_file=str(rotated.runner.pid_file)))
    assert rotated.run(*MIRROR).code == KILLED
    rotated.sshd.end_sessions()
    foreign = set()
    for number in range(1, LOGS, 2):
        if (path := rotated.dest / f"logs/log.{number}").exists():
            path.write_text(f"somebody else's {number}")
            foreign.add(path.read_bytes())
    rotated.settle(*MIRROR, foreign=frozenset(foreign))
