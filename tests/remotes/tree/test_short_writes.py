"""Servers that acknowledge more than they have written: no file stands, or stays, that came out short."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.core.job import Options
from reconcile.pipeline import run
from reconcile.remotes.tree.site import TRIALS
from reconcile.serve.files import File, Files
from tests.remotes.conformance import Heard
from tests.support.command import Reconcile
from tests.support.faults import Fault, write_faults
from tests.support.jobs import JobTo
from tests.support.sshd import Sshd
from tests.support.trees import Tree, assert_same_tree, build_tree, read_tree

SIZE = 10_000  # bytes of a file
COUNT = 2 * TRIALS


def many_files() -> Tree:
    return {f"f{n:03}": f"{n:05}" * (SIZE // 5) for n in range(COUNT)}


class ShortFile(File):
    """Takes what fits, and says that it took all."""

    room = 0  # bytes

    def write(self, offset: int, data: bytes) -> int:  # type: ignore[override]  # as in File
        ShortFile.room -= len(data)
        return super().write(offset, data[: max(0, ShortFile.room + len(data))])


class ShortFiles(Files):
    def hold(self, fd: int) -> File:
        return ShortFile(fd)


def test_what_came_out_short_is_not_published(job_to: JobTo, source: Path, served: Path) -> None:
    build_tree(source, many_files())
    job = job_to(interface=ShortFiles, options=Options())
    # The marks of ours are written, too; the disk fills up in the middle of a file.
    ShortFile.room = (TRIALS + 5) * SIZE + SIZE // 2
    full = run(job, Heard())
    there = read_tree(served / "dest")
    whole = {path for path in there if path.startswith("f")}
    assert TRIALS < len(whole) < COUNT
    assert all(there[path].content == read_tree(source)[path].content for path in whole)
    assert {problem.path for problem in full.problems} == {*read_tree(source)} - whole
    ShortFile.room = 10 * COUNT * SIZE
    assert run(job, Heard()).problems == []
    assert_same_tree(source, served / "dest")


@pytest.mark.parametrize("folder", ["", "d"])
def test_what_was_published_on_trust_is_looked_at_again_where_a_disk_fills_up(
    source: Path, dest: Path, state: Path, own_sshd: Sshd, folder: str
) -> None:
    """Small files in a new directory go to the server as one, the others one by one."""
    build_tree(source, ({folder: many_files()} if folder else many_files()))
    job = Reconcile(source, own_sshd.url(dest), state, own_sshd.endpoint.flags())
    write_faults(own_sshd.faults, Fault("full", at=TRIALS + 10, kind="WRITE"))
    full = job("run")
    assert full.code == 3, full.out
    place = dest / folder
    short = [path.name for path in place.glob("f*") if path.stat().st_size != SIZE]
    assert len(short) == 1, "the fault did not show"
    told = {p["path"].rpartition("/")[2]: p["message"] for p in full.document["problems"]}
    assert "bytes and holds" in told[short[0]]
    assert full.counts["create"] == len(list(place.glob("f*"))) - 1
    again = job("run")
    assert again.code == 0, again.out
    assert again.counts["modify"] == 1
    assert_same_tree(source, dest)
    assert list((dest / ".reconcile").glob("*/*/trash/kept")) == []
    assert job("run", "--refresh").counts == {}
