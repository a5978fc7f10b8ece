"""A server that is full already: what is the same is not sent again, whatever its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.core.job import Job, Options
from reconcile.run import make_plan, run
from tests.remotes.conformance import Heard
from tests.remotes.conftest import JobTo, job_to, served
from tests.support.quirky import Quirk
from tests.support.trees import File, Tree, build_tree, read_tree

__all__ = ["job_to", "served"]

OLD, OTHER = 1_500_000_000, 1_400_000_000
LARGE = bytes(range(256)) * 1500  # several READs of one, and more than are under way at a time
OURS: Tree = {
    "small": File("same", mtime=OLD),
    "large": File(LARGE, mtime=OLD),
    "empty": File("", mtime=OLD),
    "d": {"differs": File("mine", mtime=OLD)},
}
THEIRS: Tree = {
    "small": File("same", mtime=OTHER),
    "large": File(LARGE, mtime=OTHER),
    "empty": File("", mtime=OTHER),
    "d": {"differs": File("them", mtime=OTHER)},
}


def kept(dest: Path) -> list[bytes]:
    return [path.read_bytes() for path in (dest / ".reconcile").rglob("*") if path.is_file()]


def adopting(job_to: Callable[..., Job], *quirks: Quirk, times: bool = True) -> Job:
    options = Options(mirror=True, adopt_existing=True, keep_times=times)
    return job_to(*quirks, options=options)


@pytest.mark.parametrize("quirks", [(), (Quirk.READS_SHORT,)], ids=["as asked", "short reads"])
@pytest.mark.parametrize("times", [True, False], ids=["times kept", "times ignored"])
def test_what_is_the_same_is_not_sent(
    job_to: JobTo, source: Path, served: Path, quirks: tuple[Quirk, ...], times: bool
) -> None:
    build_tree(source, OURS)
    build_tree(served / "dest", THEIRS)
    job = adopting(job_to, *quirks, times=times)
    assert make_plan(job, Heard()).plan.bytes_to_send == len("mine")
    heard = Heard()
    ran = run(job, heard)
    assert not ran.problems
    assert heard.bytes == len("mine")
    assert any("are read back and compared" in said for said in heard.said)
    assert (served / "dest/large").stat().st_mtime == (OLD if times else OTHER)
    assert {
        path: node.content for path, node in read_tree(served / "dest").items() if ".rec" not in path
    } == {path: node.content for path, node in read_tree(source).items()}
    assert b"them" in kept(served / "dest")
    assert LARGE not in kept(served / "dest")
    assert run(job, Heard()).plan.empty


def test_what_can_not_be_read_back_is_kept_and_sent(job_to: JobTo, source: Path, served: Path) -> None:
    build_tree(source, OURS)
    build_tree(served / "dest", THEIRS)
    heard = Heard()
    assert not run(adopting(job_to, Quirk.READ_DENIED), heard).problems
    assert heard.bytes == len(LARGE) + len("same") + len("mine")
    assert {LARGE, b"same", b"them"} <= set(kept(served / "dest"))
