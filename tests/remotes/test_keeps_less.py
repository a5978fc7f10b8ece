"""Servers that lose, round or refuse times and modes: what they keep is what counts."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from reconcile.claim import HOUR, claim
from reconcile.model import (
    NS,
    Action,
    Entry,
    Job,
    Kind,
    Login,
    Op,
    Options,
    RemoteStat,
    Result,
    Tag,
    Target,
)
from reconcile.remotes.sftp.confined import Attributes, File, Files
from reconcile.remotes.sftp.server import Server
from reconcile.run import run
from tests.remotes.conformance import Heard
from tests.support.trees import File as Content
from tests.support.trees import Tree, build_tree, read_tree

ODD = 1_000_000_001  # seconds; nothing that rounds to two keeps it
VARIABLE = "TEST_PASSWORD"


def without_times(attr: Attributes) -> Attributes:
    attr.st_atime = attr.st_mtime = None
    return attr


def without_modes(attr: Attributes) -> Attributes:
    attr.st_mode = None
    return attr


def rounded(attr: Attributes) -> Attributes:
    if attr.st_mtime is not None:
        attr.st_mtime = attr.st_mtime // 2 * 2
    return attr


def refuse(attr: Attributes) -> Attributes:
    raise OSError(errno.ENOSYS, "neither times nor modes here")


def refuse_times(attr: Attributes) -> Attributes:
    if attr.st_mtime is not None:
        raise OSError(errno.ENOSYS, "no times here")
    return attr


def keeping(change: Callable[[Attributes], Attributes]) -> type[Files]:
    """A server that does this to attributes before it sets them."""

    class LessFile(File):
        def chattr(self, attr: Attributes) -> int:
            return super().chattr(change(attr))

    class LessFiles(Files):
        def open(self, path: str, flags: int, attr: Attributes) -> File:
            file = super().open(path, flags, attr)
            assert isinstance(file, File)
            less = LessFile(file.fd)
            file.fd = -1
            return less

        def chattr(self, path: str, attr: Attributes) -> int:
            return super().chattr(path, change(attr))

    return LessFiles


def deny(attr: Attributes) -> Attributes:
    raise OSError(errno.EPERM, "not here")


SERVERS = {
    "rounds times": rounded,
    "loses times": without_times,
    "loses modes": without_modes,
    "refuses times": refuse_times,
    "refuses all": refuse,
}


@pytest.fixture
def job_to(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[type[Files]], Job]]:
    """A job whose server does with files as it is told."""
    monkeypatch.setenv(VARIABLE, "pw")
    (tmp_path / "remote").mkdir()
    with ExitStack() as stack:

        def job_to(interface: type[Files]) -> Job:
            server = stack.enter_context(
                Server(tmp_path / "remote", user="user", password="pw", interface=interface)
            )
            known = tmp_path / "known_hosts"
            known.write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
            login = Login(known_hosts=str(known), password_env=VARIABLE)
            target = Target("127.0.0.1", "/dest", "user", server.port)
            return Job(str(source), target, str(tmp_path / "state"), Options(mirror=True), login)

        yield job_to


def test_a_server_that_denies_times_and_modes_is_told_apart_by_the_user(
    job_to: Callable[[type[Files]], Job], source: Path
) -> None:
    """It may be able to, and not for this file: the message says how to do without."""
    job = job_to(keeping(deny))
    build_tree(source, {"f": Content("f", mode=0o644, mtime=ODD), "d": {"g": "g"}})
    assert run(job, Heard()).problems == []
    (source / "f").chmod(0o600)
    os.utime(source / "f", (ODD + 10, ODD + 10))
    (problem,) = run(job, Heard()).problems
    assert problem.message.endswith("--perms ignore and --times ignore leave them out")
    ignoring = replace(job, options=Options(mirror=True, keep_perms=False, keep_times=False))
    assert run(ignoring, Heard()).problems == []
    assert not run(ignoring, Heard()).connected


@pytest.fixture(params=SERVERS)
def push(
    request: pytest.FixtureRequest, tmp_path: Path, source: Path, job_to: Callable[[type[Files]], Job]
) -> Callable[[Tree], Result]:
    """Build a tree and bring it."""
    job = job_to(keeping(SERVERS[request.param]))

    def push(tree: Tree) -> Result:
        build_tree(source, tree)
        heard = Heard()
        result = run(job, heard)
        assert result.problems == []
        assert result.notes == []
        assert len(heard.said) == len(set(heard.said)) <= 3  # once each
        there = read_tree(tmp_path / "remote/dest")
        for path, node in read_tree(source).items():
            assert there[path].content == node.content
        return result

    return push


def test_what_is_brought_is_known_again(push: Callable[[Tree], Result]) -> None:
    files = {f"f{n}": Content(f"content {n}", mode=0o640, mtime=ODD + n) for n in range(50)}
    first = push({**files, "d": {"e": {"g": "g"}}, "new": {f"h{n}": "h" for n in range(10)}})
    assert first.connected
    assert not push({}).connected
    changed = push({"f1": Content("changed", mode=0o640, mtime=ODD), "d": {"e": {"g": "changed"}}})
    assert [action.op for action in changed.done] == [Op.MODIFY] * 2
    assert not push({}).connected


def test_new_times_and_modes_are_asked_for_once(push: Callable[[Tree], Result], source: Path) -> None:
    push({"f": Content("f", mtime=ODD), "m": Content("m"), "d": {"in": Content("in", mtime=ODD)}})
    os.utime(source / "f", (ODD + 10, ODD + 10))
    (source / "m").chmod(0o600)
    (source / "d").chmod(0o700)
    again = push({})
    assert {action.op for action in again.done} <= {Op.SETMETA}
    assert not push({}).connected
    (source / "f").rename(source / "moved")
    (source / "d/in").unlink()
    assert {action.op for action in push({}).done} == {Op.MOVE, Op.DELETE}
    assert not push({}).connected


def test_equal_size_and_second_prove_nothing_where_we_set_no_time(
    tmp_path: Path, job_to: Callable[[type[Files]], Job], source: Path
) -> None:
    """Two builders deploy to one place: what the other one wrote in the second of our build is not ours."""
    job = replace(job_to(Files), options=Options(mirror=True, keep_times=False))
    build_tree(source, {"version": Content("aaaa", mtime=ODD), "new": Content("n", mtime=ODD)})
    run(job, Heard())
    there = tmp_path / "remote/dest"
    build_tree(there, {"version": Content("bbbb", mtime=ODD + 10), "later": Content("b", mtime=ODD + 10)})
    build_tree(source, {"version": Content("cccc", mtime=ODD + 10), "later": Content("c", mtime=ODD + 10)})
    assert run(job, Heard()).problems == []
    assert (there / "version").read_text() == "cccc"
    assert (there / "later").read_text() == "c"
    kept = {path.read_text() for path in there.glob(".reconcile/*/*/trash/kept/*")}
    assert kept == {"bbbb", "b"}


def test_after_a_cut_equal_size_and_second_prove_nothing_where_we_set_no_time() -> None:
    wish = Entry(Kind.FILE, 0o644, 4, ODD * NS)
    shown = RemoteStat(Kind.FILE, 0o644, 4, ODD)
    for old, op in ((None, Op.CREATE), (Entry(Kind.FILE, 0o644, 9, 5 * NS), Op.MODIFY)):
        action = Action(op, "f", new=wish, old=old)
        known = claim(action, {"f": shown}, lambda wish: Tag(wish.size, wish.mtime))
        assert known is not None
        assert known.done
        unknown = claim(action, {"f": shown}, lambda _: None)
        assert unknown is not None
        assert not unknown.done
        assert unknown.effects == {"f": None}


@pytest.mark.parametrize("hours", [1, -1])
def test_times_that_are_off_by_the_very_hour_are_those_we_set(
    tmp_path: Path, job_to: Callable[[type[Files]], Job], source: Path, hours: int
) -> None:
    """As on file systems that hold local time, when summer time begins or ends."""
    job = job_to(Files)
    names = ("changed", "deleted", "moved", "kept")
    build_tree(source, {name: Content(name, mtime=ODD) for name in names})
    run(job, Heard())
    there = tmp_path / "remote/dest"
    for name in names:
        os.utime(there / name, (ODD + hours * HOUR, ODD + hours * HOUR))
    (source / "changed").write_text("as new")
    (source / "deleted").unlink()
    (source / "moved").rename(source / "elsewhere")
    result = run(replace(job, options=replace(job.options, refresh=True)), Heard())
    assert {action.op for action in result.done} == {Op.MODIFY, Op.DELETE, Op.MOVE}
    assert sorted(os.listdir(there)) == [".reconcile", "changed", "elsewhere", "kept"]
    assert list(there.glob(".reconcile/*/*/trash/kept/*")) == []
