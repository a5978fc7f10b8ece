"""A server that is full already: what is the same in content is not sent again, whatever its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.core.job import Job, Options
from reconcile.core.model import Op
from reconcile.pipeline import make_plan, run
from tests.remotes.conformance import Heard
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.sshd import Sshd
from tests.support.trees import File, Tree, build_tree, read_tree

OLD, OTHER = 1_500_000_000, 1_400_000_000
LARGE = bytes(range(256)) * 1500  # several READs of one, and more than are under way at a time
OURS: Tree = {
    "small": File("same", mtime=OLD),
    "large": File(LARGE, mtime=OLD),
    "empty": File("", mtime=OLD),
    "many": {f"f{n}": File(f"text {n}", mtime=OLD) for n in range(40)},
    "ends": File(LARGE, mtime=OLD),
    "longer": File("is longer here", mtime=OLD),
    "d": {"differs": File("mine", mtime=OLD)},
}
THEIRS: Tree = {
    "small": File("same", mtime=OTHER),
    "large": File(LARGE, mtime=OTHER),
    "empty": File("", mtime=OTHER),
    "many": {f"f{n}": File(f"text {n}", mtime=OTHER) for n in range(40)},
    "ends": File(LARGE[:-1] + b"?", mtime=OTHER),
    "longer": File("not so", mtime=OTHER),
    "d": {"differs": File("them", mtime=OTHER)},
}
TO_SEND = len(LARGE) + len("is longer here") + len("mine")


def kept(dest: Path) -> list[bytes]:
    return [path.read_bytes() for path in (dest / ".reconcile").rglob("*") if path.is_file()]


def adopting(times: bool = True) -> Options:
    return Options(mirror=True, adopt_existing=True, keep_times=times)


@pytest.fixture(params=["sshd", "another server", "short reads"])
def adopt_on(
    request: pytest.FixtureRequest, job_to: JobTo, source: Path, served: Path, state: Path, sshd: Sshd
) -> Callable[[Options], Job]:
    """The job of each server, which brings to ``served/dest``."""
    at = sshd.endpoint

    def adopt_on(options: Options) -> Job:
        if request.param == "sshd":
            return Job(str(source), at.target(served / "dest"), str(state), options, at.login())
        return job_to(*[Quirk.READS_SHORT] * (request.param == "short reads"), options=options)

    return adopt_on


@pytest.mark.parametrize("times", [True, False], ids=["times kept", "times ignored"])
def test_what_is_the_same_is_not_sent(
    adopt_on: Callable[[Options], Job], source: Path, served: Path, times: bool
) -> None:
    build_tree(source, OURS)
    build_tree(served / "dest", THEIRS)
    job = adopt_on(adopting(times))
    heard = Heard()
    planned = make_plan(job, heard)
    assert planned.plan.bytes_to_send == len("is longer here"), "what a look alone shows"
    assert planned.traffic.bytes_received < len(LARGE), "nothing is read back for a plan"
    assert any("45 files there" in said and "up to 768 kB" in said for said in heard.said)
    heard = Heard()
    ran = run(job, heard)
    assert not ran.problems
    assert heard.bytes == TO_SEND
    sent = {action.path for action in ran.done if action.op is not Op.SETMETA}
    assert sent == {"d/differs", "ends", "longer"}
    assert any("are read back and compared" in said for said in heard.said)
    assert (served / "dest/large").stat().st_mtime == (OLD if times else OTHER)
    assert {
        path: node.content for path, node in read_tree(served / "dest").items() if ".rec" not in path
    } == {path: node.content for path, node in read_tree(source).items()}
    held = kept(served / "dest")
    assert {b"them", b"not so", LARGE[:-1] + b"?"} <= set(held)
    assert LARGE not in held
    assert run(job, Heard()).plan.empty


def test_what_can_not_be_read_back_is_kept_and_sent(job_to: JobTo, source: Path, served: Path) -> None:
    build_tree(source, OURS)
    build_tree(served / "dest", THEIRS)
    heard = Heard()
    assert not run(job_to(Quirk.READ_DENIED, options=adopting()), heard).problems
    assert heard.bytes == TO_SEND + len(LARGE) + len("same") + sum(len(f"text {n}") for n in range(40))
    assert {LARGE, b"same", b"them"} <= set(kept(served / "dest"))
