"""Two runs of one job at once: one works, the other leaves without having done anything."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import TORTURE
from tests.faults.runner import Runner
from tests.faults.scenario import Scenario
from tests.support.faults import Fault
from tests.support.processes import wait_for
from tests.support.sshd import start_sshd
from tests.support.trees import File, build_tree

OK, REFUSED, LOCKED, KILLED = 0, 4, 5, -9
TIMES = 20 if TORTURE else 4


@pytest.fixture
def small(tmp_path: Path, runner: Runner) -> Iterator[Scenario]:
    """A scenario whose source is to be filled."""
    (tmp_path / "sshd").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "outside").mkdir()
    with start_sshd(tmp_path / "sshd", with_shim=True) as sshd:
        yield Scenario(tmp_path, sshd, runner)


def test_started_at_once(small: Scenario, tally: Counter[str]) -> None:
    for number in range(TIMES):
        build_tree(small.source, {f"f{number}-{n}": File(f"content {n} of {number}") for n in range(10)})
        # The one that holds the lock takes longer than the other needs to see that.
        small.sshd.arm(Fault("slow", delay=0.02))
        runs = [
            subprocess.Popen(
                [sys.executable, "-m", "reconcile", *small.arguments("run")],
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        said = [process.communicate(timeout=60) for process in runs]
        assert sorted(process.returncode for process in runs) == [OK, LOCKED], said
        (refused,) = (
            out for process, (out, _) in zip(runs, said, strict=True) if process.returncode == LOCKED
        )
        assert "Another run of this job" in refused
        tally["two runs at once"] += 1
        small.check()
    small.settle()


def test_a_killed_run_leaves_no_lock(small: Scenario) -> None:
    build_tree(small.source, {f"f{n}": File(f"content {n}") for n in range(10)})
    small.sshd.arm(Fault("kill", 20, pid_file=str(small.runner.pid_file)))
    assert small.run().code == -9
    small.settle()


def test_a_plan_beside_a_run_says_that_it_is_at_work(small: Scenario) -> None:
    build_tree(small.source, {f"f{n}": File(f"content {n}") for n in range(10)})
    small.sshd.arm(Fault("slow", delay=0.02))
    run = subprocess.Popen(
        [sys.executable, "-m", "reconcile", *small.arguments("run")],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: any(small.state.glob("*/journal")), "the journal")
    planned = small.runner.run(*small.arguments("plan", "--adopt-existing"))
    said = " ".join(note["message"] for note in planned.document["notes"])
    if run.poll() is None:
        assert f"a run of this job is at work: process {run.pid}" in said
    assert "interrupted" not in said
    assert run.wait() == OK
    small.sshd.arm()
    small.settle()


def test_a_refusal_after_recovery_does_not_say_that_nothing_was_done(small: Scenario) -> None:
    build_tree(small.source, {f"f{n}": File(f"content {n}") for n in range(40)})
    small.run_well()
    build_tree(small.source, {f"f{n}": File(f"changed {n}!") for n in range(5)})
    small.sshd.arm(Fault("kill", 30, pid_file=str(small.runner.pid_file)))
    assert small.run("--mirror").code == KILLED
    for n in range(1, 40):
        (small.source / f"f{n}").unlink()
    refused = small.run("--mirror")
    assert refused.code == REFUSED
    assert "Nothing was done." not in refused.document["message"]
    assert "put in order what the interrupted run had left" in refused.document["message"]
    again = small.run("--mirror")
    assert again.code == REFUSED
    assert "Nothing was done" in again.document["message"]
    assert not any("interrupted" in note["message"] for note in again.document["notes"])
