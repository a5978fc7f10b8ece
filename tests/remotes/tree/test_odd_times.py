"""Times that SFTP can't carry, and times that are yet to come."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.core.fold import FUTURE_NS, fold
from reconcile.core.model import DirectorySnapshot, Entry, Kind, PlainDirectory, Stamp
from tests.support.command import Reconcile
from tests.support.sshd import Sshd
from tests.support.trees import Tree

MakeTree = Callable[[Tree], Path]
TIMES = {
    "old": -1_000_000_000,
    "edge": -1,
    "new": (1 << 32) + 12345,
    "later": 7_000_000_000,
    "usual": 1_600_000_000,
}
DAY_NS = 86_400 * 10**9


@pytest.fixture
def job(sshd: Sshd, source: Path, dest: Path, state: Path, tree: MakeTree) -> Reconcile:
    tree({name: name for name in TIMES})
    for name, seconds in TIMES.items():
        os.utime(source / name, (seconds, seconds))
        if (source / name).stat().st_mtime != seconds:
            pytest.skip("the file system has no such times")
    return Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())


@pytest.mark.parametrize("by", ["reconcile", "others"])
def test_files_with_any_time_are_adopted(
    job: Reconcile, source: Path, dest: Path, state: Path, by: str
) -> None:
    if by == "reconcile":
        job.run()
        shutil.rmtree(state)
    else:  # such as rsync: the server holds the times themselves, and can't tell them all
        shutil.copytree(source, dest)
    assert job.plan("--adopt-existing").counts == {}
    ran = job.run("--adopt-existing")
    assert (ran.counts, ran.document["bytes_to_send"]) == ({}, 0)
    for flags in ([], ["--refresh"], ["--rehash"]):
        assert job.run("--mirror", *flags).counts == {}
    if by == "others":
        assert [(dest / name).stat().st_mtime for name in TIMES] == list(TIMES.values())


def test_another_time_is_still_another(job: Reconcile, source: Path, dest: Path) -> None:
    shutil.copytree(source, dest)
    (dest / "new").write_text("wen")
    for name in ("old", "new", "usual"):
        os.utime(dest / name, (1, 1))
    assert job.plan("--adopt-existing").counts == {"setmeta": 3}, "it reads nothing back"
    assert job.run("--adopt-existing").counts == {"modify": 1, "setmeta": 2}


@pytest.mark.parametrize(
    ("mtime", "ctime", "trusted"),
    [
        (-DAY_NS, -DAY_NS, True),
        (DAY_NS, -DAY_NS, True),  # a camera's clock
        (FUTURE_NS + 1, 0, True),
        (FUTURE_NS, -DAY_NS, False),  # it may be a server's clock
        (1, -DAY_NS, False),
        (DAY_NS, 1, False),
        (DAY_NS, None, False),  # ctime is left out
        (-DAY_NS, 1, False),
    ],
)
def test_what_was_set_into_the_future_long_ago_is_trusted(
    mtime: int, ctime: int | None, trusted: bool
) -> None:
    now = time.time_ns()
    stamp = Stamp(1, 1, now + mtime, 0 if ctime is None else now + ctime, 0o100644)
    entry = Entry(Kind.FILE, 0o644, 1, stamp.mtime_ns, digest=b"x" * 16, stamp=stamp)
    new = fold(DirectorySnapshot({"": PlainDirectory({})}), [], {"f": entry}, now)
    assert (new.dirs[""].entries()["f"].stamp is not None) is trusted
