"""What runs that never came to their end have left on the server, of this job and of others."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reconcile.pipeline import run
from reconcile.state.names import is_lost, name_run
from tests.remotes.conformance import Heard
from tests.support.command import Reconcile
from tests.support.faults import Fault
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.sshd import Sshd
from tests.support.trees import assert_same_tree, build_tree, read_tree

DAY = 86_400


@pytest.fixture
def job(source: Path, dest: Path, state: Path, shim_sshd: Sshd) -> Reconcile:
    return Reconcile(source, shim_sshd.url(dest), state, shim_sshd.endpoint.flags())


def die_while_sending(job: Reconcile, server: Sshd, tmp_path: Path) -> None:
    """The run is killed when its first file is about to be published."""
    die_at(job, server, tmp_path, Fault("kill", 1, "RENAME", "/big"), "--adopt-existing")


def die_at(job: Reconcile, server: Sshd, tmp_path: Path, fault: Fault, *flags: str) -> None:
    """The run is killed at one request."""
    pid_file = tmp_path / "pid"
    pid_file.write_text("0")
    server.arm(replace(fault, pid_file=str(pid_file)))
    process = job.start("run", *flags)
    pid_file.write_text(str(process.pid))
    process.wait(60)


def staged(dest: Path) -> list[str]:
    return sorted(
        str(path.relative_to(dest)) for path in dest.glob(".reconcile/*/*/staging/**/*") if path.is_file()
    )


def test_what_a_run_had_staged_whose_state_is_lost_is_removed(
    job: Reconcile, source: Path, dest: Path, state: Path, shim_sshd: Sshd, tmp_path: Path
) -> None:
    build_tree(source, {"big": "x" * 100_000, "d": {f"f{n}": "y" for n in range(10)}})
    for _ in range(2):
        die_while_sending(job, shim_sshd, tmp_path)
        shutil.rmtree(state)
    assert staged(dest)
    ran = job.run("--adopt-existing")
    assert staged(dest) == []
    assert sum("removed what a dead run had staged" in note["message"] for note in ran.document["notes"]) == 2
    assert job.run().counts == {}


def other_lineage(dest: Path, *, age_s: float, **more: object) -> Path:
    """The folder of a run of which nobody knows anything."""
    folder = dest / ".reconcile/elsewhere/run"
    build_tree(folder, {"staging": {"1": "x" * 1000}, "trash": {"kept": {"f": "kept"}, "a": "a"}, **more})
    then = time.time() - age_s
    for path in [*folder.rglob("*"), folder, folder.parent]:
        os.utime(path, (then, then))
    return folder


def test_others_staged_files_go_once_they_are_old_and_nothing_else_of_theirs(
    job: Reconcile, source: Path, dest: Path
) -> None:
    build_tree(source, {"f": "1"})
    job.run()
    folder = other_lineage(dest, age_s=29 * DAY)
    build_tree(source, {"f": "22"})
    [told] = [n["message"] for n in job.run().document["notes"] if "another job" in n["message"]]
    assert "1 file or folder of 1,000 bytes, staged" in told
    assert "29 days ago" in told
    assert (folder / "staging/1").exists()
    build_tree(source, {"f": "333"})
    assert not [n for n in job.run().document["notes"] if "another job" in n["message"]], "told once"
    shutil.rmtree(folder.parent)
    folder = other_lineage(dest, age_s=31 * DAY)
    build_tree(source, {"f": "4444"})
    job.run()
    left = {path: node.content for path, node in read_tree(folder.parent).items() if node.content is not None}
    assert left == {"run.dead/trash/kept/f": b"kept", "run.dead/trash/a": b"a"}


def test_where_something_is_parked_nothing_is_touched(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"f": "1"})
    job.run()
    folder = other_lineage(dest, age_s=400 * DAY, parked={"0": "the only copy"})
    before = read_tree(folder.parent)
    build_tree(source, {"f": "22"})
    [told] = [n["message"] for n in job.run().document["notes"] if "another job" in n["message"]]
    assert "1 moved aside" in told
    assert read_tree(folder.parent) == before


def test_a_living_or_resumable_run_is_not_lost(state: Path, tmp_path: Path) -> None:
    mine, other = state / "mine", state / "other"
    for folder in (mine, other):
        folder.mkdir(parents=True)
    living = name_run(str(other))
    assert living.count("-") == 4, "no proof on this system"
    dead = living[:-1] + ("0" if living[-1] != "0" else "1")  # began at another time
    assert not is_lost(living, str(mine))
    assert not is_lost(dead, str(mine)), "its state is there: it may go on"
    other.rmdir()
    assert is_lost(dead, str(mine))
    assert is_lost(dead + ".dead", str(mine))
    assert not is_lost(living, str(mine))
    assert not is_lost(dead, str(tmp_path / "base" / "mine")), "of another folder of states"
    assert not is_lost("0123456789ab", str(mine))


def test_debris_beside_its_target_does_not_keep_a_deleted_folder(
    job: Reconcile, source: Path, dest: Path
) -> None:
    build_tree(source, {"d": {"e": {"f": "f"}}, "rest": "r"})
    job.run()
    [lineage] = [path.name for path in (dest / ".reconcile").iterdir()]
    (dest / f"d/e/.reconcile-{lineage}-0123456789ab-7").write_text("half a file")
    (dest / "d/e/.reconcile-another-0123456789ab-7").write_text("of another job")
    shutil.rmtree(source / "d")
    job.run("--mirror", "--allow-mass-delete")
    assert os.listdir(dest / "d/e") == [".reconcile-another-0123456789ab-7"]
    (dest / "d/e/.reconcile-another-0123456789ab-7").unlink()


def test_only_ours_beside_goes_with_its_folder(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"d": {"e": {"f": "f"}}, "rest": "r"})
    job.run()
    [lineage] = [path.name for path in (dest / ".reconcile").iterdir()]
    (dest / f"d/e/.reconcile-{lineage}-0123456789ab-7").write_text("half a file")
    shutil.rmtree(source / "d")
    job.run("--mirror", "--allow-mass-delete")
    assert not (dest / "d").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to somebody else")
def test_a_work_folder_of_somebody_else_is_told(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"f": "1"})
    job.run()
    os.chown(dest / ".reconcile", 12345, 12345)
    build_tree(source, {"f": "22"})
    said = [note["message"] for note in job.run().document["notes"]]
    assert any("is user 12345's" in text for text in said)


@pytest.mark.parametrize("at", [250, 350, 399])
def test_what_a_dead_run_had_staged_whole_is_not_sent_again(
    job: Reconcile, source: Path, dest: Path, shim_sshd: Sshd, tmp_path: Path, at: int
) -> None:
    build_tree(source, {f"d{d}": {f"f{n}": f"content {d} {n:03}" for n in range(100)} for d in range(4)})
    die_at(job, shim_sshd, tmp_path, Fault("kill", at, "WRITE", "content", delay=0.0001))
    arrived = [path for path in dest.rglob("f*") if path.is_file() and path.stat().st_size == 13]
    shim_sshd.end_sessions()
    planned = job.plan()
    shim_sshd.requests()
    ran = job.run()
    created = ran.counts.get("create", 0)  # none, if the dead client had queued all that was missing
    assert created <= 400 - len(arrived) + 64, "those of one step may lack their time"
    sent = shim_sshd.requests().requests["WRITE"]
    assert sent <= created + 5
    assert planned.counts == ran.counts
    assert_same_tree(source, dest)
    assert not staged(dest)
    assert job.run("--refresh").counts == {}


def test_what_is_staged_of_a_file_that_has_changed_since_is_sent_anew(
    job: Reconcile, source: Path, dest: Path, shim_sshd: Sshd, tmp_path: Path
) -> None:
    build_tree(source, {"d": {f"f{n}": f"content {n:03}" for n in range(50)}})
    die_at(job, shim_sshd, tmp_path, Fault("kill", 45, "WRITE", "content"))
    build_tree(source, {"d": {f"f{n}": f"CONTENT {n:03}" for n in range(50)}})
    job.run()
    job.run()
    assert_same_tree(source, dest)


def test_what_a_server_still_holds_of_a_dead_run_is_told_and_is_no_problem(
    job_to: JobTo, source: Path, served: Path
) -> None:
    """Nothing of anybody's is at stake, and it goes once the server lets go of it."""
    job = job_to(Quirk.HELD_OPEN)
    build_tree(source, {"f": "f"})
    run(job, Heard())
    [ours] = (served / "dest/.reconcile").iterdir()
    build_tree(ours / "dead/staging", {"1": "half of it"})
    build_tree(source, {"f": "changed"})
    heard = Heard()
    assert run(job, heard).problems == []
    assert [said for said in heard.said if "had staged" in said and "a later run will try" in said]
