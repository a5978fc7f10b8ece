"""What the user has run before a run and after it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from reconcile.core.errors import Exit
from reconcile.state.lock import hold_lock
from tests.support.command import Reconcile, ReconcileHere
from tests.support.processes import alive, wait_for


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the hooks wrote down."""
    return tmp_path / "log"


@pytest.fixture
def job(source: Path, dest: Path, state: Path, log: Path) -> Reconcile:
    """All four hooks write down their name, the status and the exit code."""
    (source / "a").write_text("a")
    note = f'echo "$RECONCILE_RUN_HOOK $RECONCILE_RUN_STATUS $RECONCILE_RUN_EXIT_CODE" >> {log}'
    hooks = ("--before", "--after", "--on-success", "--on-failure")
    return ReconcileHere(source, str(dest), state, [word for hook in hooks for word in (hook, note)])


def test_a_run_that_goes_well(job: Reconcile, log: Path) -> None:
    job.run()
    assert log.read_text() == "before  \nafter  \non-success ok 0\n"


def test_one_that_does_not(job: Reconcile, log: Path, dest: Path) -> None:
    dest.mkdir()
    (dest / "theirs").touch()
    assert job("run").code == Exit.REFUSED
    assert log.read_text() == "before  \nafter refused 4\non-failure refused 4\n"


def test_a_plan_runs_nothing(job: Reconcile, log: Path) -> None:
    job.plan()
    job("run", "--dry-run")
    assert not log.exists()


def test_if_what_goes_before_fails_nothing_is_done(job: Reconcile, log: Path, dest: Path) -> None:
    ran = job("run", "--before", "echo it goes wrong; exit 7")
    assert ran.code == Exit.FATAL
    assert ran.document["message"] == "The command before the run failed: it exited with 7. Nothing was done."
    assert "it goes wrong" in ran.err, "what it prints is to be seen, and stdout is for the document"
    assert not dest.exists()
    assert log.read_text() == "on-failure error 1\n", "nothing is tidied up that was not prepared"


def test_what_goes_before_may_make_the_source(source: Path, dest: Path, state: Path) -> None:
    job = ReconcileHere(source / "later", str(dest), state)
    job.run("--before", f"mkdir {source}/later && touch {source}/later/made")
    assert (dest / "made").exists()


def test_no_other_run_is_at_work_meanwhile(source: Path, dest: Path, state: Path, tmp_path: Path) -> None:
    job = ReconcileHere(source, str(dest), state)
    job.run()
    (folder,) = state.iterdir()
    with hold_lock(str(folder)):
        assert job("run", "--before", f"touch {tmp_path}/ran").code == Exit.LOCKED
    assert not (tmp_path / "ran").exists()


def test_if_what_goes_after_fails_that_is_a_problem_of_the_run(job: Reconcile, log: Path, dest: Path) -> None:
    ran = job("run", "--after", "kill -9 $$", json_out=False)
    assert ran.code == Exit.PROBLEMS
    assert "problem: the command after the run failed: it was ended by signal 9\n" in ran.err
    assert (dest / "a").exists()
    assert log.read_text() == "before  \non-failure problems 3\n"


def test_who_is_told_changes_nothing(job: Reconcile) -> None:
    ran = job("run", "--on-success", "exit 3", "--quiet", json_out=False)
    assert ran.code == Exit.OK
    assert ran.err == "reconcile: note: the command --on-success failed: it exited with 3\n"


def test_what_they_are_told(job: Reconcile, log: Path, dest: Path) -> None:
    job.run("--on-success", f"cat > {log}; env | grep ^RECONCILE_RUN_ >> {log}")
    said, *facts = log.read_text().splitlines()
    assert said.startswith("1 created, 1 B sent in ")
    told = dict(fact.removeprefix("RECONCILE_RUN_").split("=", 1) for fact in facts)
    assert float(told.pop("SECONDS")) >= 0
    assert told.pop("STATE").startswith(str(job.state))
    assert told == {
        "JOB": "",
        "SOURCE": str(job.source),
        "TARGET": str(dest),
        "HOOK": "on-success",
        "STATUS": "ok",
        "EXIT_CODE": "0",
        "MESSAGE": said,
        "CREATE": "1",
        "BYTES": "1",
        "PROBLEMS": "0",
    }


def test_what_the_environment_names_does_not_go_round_in_circles(
    source: Path, dest: Path, state: Path, tmp_path: Path
) -> None:
    names = {
        "RECONCILE_BEFORE": f"echo once >> {tmp_path}/log; env | grep -c ^RECONCILE_BEFORE >> {tmp_path}/log"
    }
    assert (
        ReconcileHere(source, str(dest), state)("run", "--on-success", "true", env=names).code == Exit.FATAL
    )
    assert (tmp_path / "log").read_text() == "once\n0\n"


def test_a_hook_that_reads_nothing_of_what_it_is_told(job: Reconcile, source: Path) -> None:
    for number in range(20):
        (source / f"{number} {'x' * 200}").touch(mode=0)
    assert job("run", "--on-success", "exec <&-; true").code in (Exit.OK, Exit.PROBLEMS)


def test_a_name_that_is_no_text(job: Reconcile, source: Path, log: Path) -> None:
    odd = source / os.fsdecode(b"\xff")
    odd.mkdir()
    (odd / "a").touch()
    other = ReconcileHere(odd, job.target, job.state)
    other.run("--on-success", f"printf %s $RECONCILE_RUN_SOURCE > {log}")
    assert log.read_bytes() == os.fsencode(odd)


def test_terminated_while_it_prepares(source: Path, dest: Path, state: Path, tmp_path: Path) -> None:
    """Its command does not outlive it."""
    pid, told = tmp_path / "pid", tmp_path / "told"
    waits = f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"
    flags = ["--before", waits, "--after", f"touch {tmp_path}/tidied", "--on-failure", f"cat > {told}"]
    process = ReconcileHere(source, str(dest), state, flags).start("run")
    wait_for(pid.exists, "the command before", seconds=60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == Exit.TERMINATED
    assert told.read_text() == "error: terminated; nothing was done\n"
    assert not (tmp_path / "tidied").exists()
    wait_for(lambda: not alive(int(pid.read_text())), "its end")


def test_terminated_while_it_connects(source: Path, state: Path, tmp_path: Path) -> None:
    """What was prepared is tidied up, although the process ends at once."""
    told = tmp_path / "told"
    flags = ["--after", f"echo tidied >> {told}", "--on-failure", f"cat >> {told}"]
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"sftp://me@127.0.0.1:{mute.getsockname()[1]}/dest"
        process = ReconcileHere(source, url, state, flags).start("run")
        line, _ = mute.accept()
        with line:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == Exit.TERMINATED
    assert told.read_text() == "tidied\nerror: terminated; nothing was done\n"
