"""A run is killed at any request: the state it leaves is never taken for another's, nor another's for it.

The state alone is put back to what it was before (a cache that was not saved), or the server
alone (a backup): the next run finds all that differs, whatever the killed run had come to.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconcile.core.marks import is_mark
from tests.faults.conftest import TORTURE
from tests.faults.failures import Failures
from tests.faults.runner import Runner
from tests.faults.scenario import MIRROR, OLD, Scenario, copy, describe, noticed
from tests.support.faults import Fault
from tests.support.sshd import start_sshd
from tests.support.trees import File, build_tree

KILLED = -9
SAMPLE = 5  # requests that ``make test`` tries


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, runner: Runner) -> Iterator[Scenario]:
    """A job that has something of each sort to do."""
    folder = tmp_path_factory.mktemp("marks")
    for name in ("sshd", "source", "outside", "saved"):
        (folder / name).mkdir()
    with start_sshd(folder / "sshd", with_shim=True) as sshd:
        scenario = Scenario(folder, sshd, runner)
        files = {f"f{n}": File(f"file {n}", mtime=OLD + n) for n in range(8)}
        build_tree(scenario.source, files | {"d": {"inner": File("inner", mtime=OLD)}})
        scenario.run_well()
        for path in (scenario.dest, scenario.state):
            copy(path, scenario.saved / path.name)
        edits = {f"f{n}": File(f"changed {n}", mtime=OLD + 50 + n) for n in range(4)}
        build_tree(scenario.source, edits | {f"n{n}": File(f"new {n}", mtime=OLD) for n in range(4)})
        (scenario.source / "f4").rename(scenario.source / "moved")
        (scenario.source / "d").rename(scenario.source / "e")
        (scenario.source / "f5").unlink()
        yield scenario


def marks(scenario: Scenario) -> set[str]:
    return {path.name for path in scenario.dest.glob(".reconcile/*/*") if is_mark(path.name)}


def put_back(scenario: Scenario, place: Path) -> None:
    shutil.rmtree(place)
    copy(scenario.saved / place.name, place)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("older", ["neither", "state", "server"])
def test_which_is_older(small: Scenario, tally: Counter[str], older: str, when: str) -> None:
    failures = Failures(tally)
    small.restore()
    before = marks(small)
    count = small.count_requests(*MIRROR)

    def attempt() -> None:
        small.restore()
        small.sshd.arm(Fault("kill", at, when=when, pid_file=str(small.runner.pid_file)))  # type: ignore[arg-type]
        ran = small.run(*MIRROR)
        if small.sshd.armed:  # it took fewer requests this time
            small.sshd.arm()
            return
        assert ran.code == KILLED, describe(ran)
        small.sshd.end_sessions()
        if older == "state":
            put_back(small, small.state)
        elif older == "server":
            put_back(small, small.dest)
        changed = marks(small) != before
        ran = small.run_well(*MIRROR)
        if older != "server":
            assert noticed(ran) == (changed and older == "state"), describe(ran)
        kept = found_by_then(small) if older != "neither" else frozenset()
        small.check(foreign=kept, retained=older == "server")  # what was deleted since is nobody's there
        assert small.run_well(*MIRROR, "--check-mark").counts == {}
        tally[f"kill points, then an older {older}"] += 1

    step = 1 if TORTURE else max(1, count // SAMPLE)
    for at in range(2, count + 1, step):
        failures.attempt(f"{older} {when} {at}", attempt)
    failures.demand_none()


def found_by_then(scenario: Scenario) -> frozenset[bytes]:
    """What is kept of the one side's may be of either age."""
    kept = scenario.dest.glob(".reconcile/*/*/trash/kept/**/*")
    return frozenset(path.read_bytes() for path in kept if path.is_file())


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("do", ["refused", "believed", "unanswered"])
def test_the_renaming_of_the_mark_goes_wrong(small: Scenario, do: str, at: int) -> None:
    """As the run begins, or as it ends."""
    small.restore()
    faults = {
        "refused": Fault("answer", at, kind="RENAME", path="/mark-", status=4),
        "believed": Fault("answer", at, kind="RENAME", path="/mark-", status=0),
        "unanswered": Fault("cut", at, kind="RENAME", path="/mark-", when="after"),
    }
    small.sshd.arm(faults[do])
    small.run_well(*MIRROR, "--retry-max-wait", "0.1")
    assert not small.sshd.armed
    small.check()
    ran = small.run_well(*MIRROR, "--check-mark")
    assert noticed(ran) == (do == "believed"), "which costs a listing, once"
    assert ran.counts == {}
    assert not noticed(small.run_well(*MIRROR, "--check-mark"))
    assert len(marks(small)) == 1
