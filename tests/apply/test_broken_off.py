"""A run broke off while files changed places, and its state is lost or given up: what looks alike is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.command import Reconcile
from tests.support.faults import Fault
from tests.support.sshd import Sshd
from tests.support.trees import Tree, build_tree, read_tree

NAMES = ("a", "b", "c")
FOLDERS: Tree = {name: {"f": f"from {name}", "g": f"and {name}"} for name in NAMES}
FILES: Tree = {name: f"from {name}" for name in NAMES}
FILTER = ("--exclude", ".env")  # folders are then looked into, and moved piece by piece
REST: Tree = {"rest": {f"r{n}": "r" for n in range(20)}}
SECOND = 1_500_000_000


@pytest.fixture
def job(source: Path, dest: Path, state: Path, shim_sshd: Sshd) -> Reconcile:
    return Reconcile(source, shim_sshd.url(dest), state, shim_sshd.endpoint.flags())


def break_off(job: Reconcile, sshd: Sshd, tree: Tree, at: int) -> None:
    """Three things that look alike change places in a ring; the run dies with ``at`` of its renames done."""
    build_tree(job.source, tree)
    build_tree(job.source, REST)
    for path in (path for path in job.source.rglob("*") if path.is_file()):
        os.utime(path, (SECOND, SECOND))
    job.run(*FILTER)
    for old, new in (("a", "aside"), ("c", "a"), ("b", "c"), ("aside", "b")):
        (job.source / old).rename(job.source / new)
    sshd.arm(Fault("close", at, "RENAME", "parked/", "after"))
    job("run", *FILTER, "--retries", "0")
    assert not sshd.armed


def contents(folder: Path) -> dict[str, bytes | None]:
    found = read_tree(folder)
    return {path: node.content for path, node in found.items() if path.split("/")[0] != ".reconcile"}


@pytest.mark.parametrize("tree", [FILES, FOLDERS], ids=["files", "folders"])
@pytest.mark.parametrize("at", [2, 4, 5])
def test_starting_over(
    job: Reconcile, source: Path, dest: Path, shim_sshd: Sshd, tree: Tree, at: int
) -> None:
    break_off(job, shim_sshd, tree, at)
    job.plan("--start-over", *FILTER)
    ran = job.run("--start-over", *FILTER)
    assert contents(dest) == contents(source)
    assert not list(dest.glob(".reconcile/*/*/parked/*"))
    assert "rest" not in ran.err
    assert job.run(*FILTER, "--refresh").counts == {}


@pytest.mark.parametrize("tree", [FILES, FOLDERS], ids=["files", "folders"])
@pytest.mark.parametrize("at", [2, 4, 5])
def test_a_lost_state(
    job: Reconcile, source: Path, dest: Path, state: Path, shim_sshd: Sshd, tree: Tree, at: int
) -> None:
    break_off(job, shim_sshd, tree, at)
    shutil.rmtree(state)
    job.run("--adopt-existing", *FILTER)
    assert contents(dest) == contents(source)
    assert job.run(*FILTER, "--refresh").counts == {}


def test_what_has_arrived_is_told_by_content_where_times_prove_nothing(
    job: Reconcile, source: Path, dest: Path, shim_sshd: Sshd
) -> None:
    ignoring = ("--times", "ignore")
    build_tree(source, {"old": "old"})
    job.run(*ignoring)
    build_tree(source, {"old": "new", **{f"n{number}": f"content {number}" for number in range(9)}})
    shim_sshd.arm(Fault("close", 6, "RENAME", "/n", "after"))
    assert job("run", *ignoring, "--retries", "0").code == 6
    arrived = {path.name: path.stat().st_ino for path in dest.glob("n*")}
    assert 2 < len(arrived) < 9
    theirs, *others = sorted(arrived)
    (dest / theirs).write_text("CONTENT 0")  # somebody else's by now, and of the same size
    first = job.plan(*ignoring)
    assert contents(dest)[theirs] == b"CONTENT 0"
    assert first.counts.keys() == {"create", "modify"}
    ran = job.run(*ignoring)
    assert "may have arrived: they are read back and compared" in str(ran.document["notes"])
    assert ran.counts == {"create": 9 - len(others), "modify": 1}
    assert contents(dest) == contents(source)
    assert {name: (dest / name).stat().st_ino for name in others} == {name: arrived[name] for name in others}
    kept = [path.read_text() for path in dest.glob(".reconcile/*/*/trash/kept/**/n*")]
    assert kept == ["CONTENT 0"]
    assert job.run(*ignoring, "--refresh").counts == {}
