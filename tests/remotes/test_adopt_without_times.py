"""A remote that is full already, and times that prove nothing: what is equal in content counts as sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconcile.core.job import Job, Options, Result
from reconcile.core.model import Op
from reconcile.run import run
from reconcile.serve.files import Attributes, File, Files
from reconcile.serve.server import Server
from tests.remotes.conformance import Heard
from tests.support.quirky import reach
from tests.support.sshd import Sshd
from tests.support.trees import Tree, build_tree

Adopt = Callable[[], Result]


class MeanFile(File):
    """Answers each READ with less than was asked for."""

    def read(self, offset: int, length: int) -> bytes:
        return super().read(offset, min(length, 10_007))


class MeanFiles(Files):
    def open(self, path: str, flags: int, attr: Attributes) -> File:
        file = super().open(path, flags, attr)
        assert isinstance(file, File)
        mean = MeanFile(file.fd)
        file.fd = -1
        return mean


@pytest.fixture(params=["sshd", "short answers"])
def dest_and_adopt(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    source: Path,
    dest: Path,
    sshd: Sshd,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Path, Adopt]]:
    """DEST, and a first run that adopts what it holds, as one after the next does."""
    target, login = sshd.endpoint.target(dest), sshd.endpoint.login()
    with ExitStack() as stack:
        if request.param != "sshd":
            (tmp_path / "remote").mkdir()
            dest = tmp_path / "remote/dest"
            mean = Server(tmp_path / "remote", user="user", password="pw", interface=MeanFiles)
            server = stack.enter_context(mean)
            target, login = reach(server, tmp_path / "known_hosts", "/dest", monkeypatch)
        options = Options(mirror=True, keep_times=False, adopt_existing=True)
        job = Job(str(source), target, str(tmp_path / "state"), options, login)
        yield dest, lambda: run(job, Heard())


def test_what_is_equal_in_content_is_not_sent_again(dest_and_adopt: tuple[Path, Adopt], source: Path) -> None:
    dest, adopt = dest_and_adopt
    large = os.urandom(700_001)  # more than is asked for at once
    same: Tree = {"empty": "", "one": "1", "large": large, "d": {f"f{n}": f"text {n}" for n in range(40)}}
    ours: Tree = {"other": "ours", "longer": "is longer here", "ends": large}
    theirs: Tree = {"other": "2345", "longer": "not so", "ends": large[:-1] + b"?"}
    for folder, differing in ((source, ours), (dest, theirs)):
        build_tree(folder, same)
        build_tree(folder, differing)
    result = adopt()
    assert result.problems == []
    sent = {action.path for action in result.done if action.op is Op.MODIFY}
    assert sent == {"other", "longer", "ends"}
    assert {action.op for action in result.done} <= {Op.MODIFY, Op.SETMETA}
    kept = {path.read_bytes() for path in dest.glob(".reconcile/*/*/trash/kept/*")}
    assert kept == {b"2345", b"not so", large[:-1] + b"?"}
    assert (dest / "ends").read_bytes() == large
    assert not adopt().connected


def test_what_can_not_be_read_is_kept(bound_sshd: Sshd, source: Path, dest: Path, state: Path) -> None:
    build_tree(source, {"f": "same", "g": "same"})
    build_tree(dest, {"f": "same", "g": "same"})
    (dest / "f").chmod(0)
    at = bound_sshd.endpoint
    options = Options(keep_times=False, adopt_existing=True)
    result = run(Job(str(source), at.target(dest), str(state), options, at.login()), Heard())
    assert result.problems == []
    assert [action.path for action in result.done if action.op is Op.MODIFY] == ["f"]
    assert len(list(dest.glob(".reconcile/*/*/trash/kept/f"))) == 1
