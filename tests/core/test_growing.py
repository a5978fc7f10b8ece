"""Logs are sent as they were while they grow; what may be half of something else is not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconcile.core.growing import Growing
from reconcile.core.model import Problem, Reason, Stage
from reconcile.state.growing import known_growing, note_growing
from tests.support.command import Reconcile
from tests.support.sshd import Sshd
from tests.support.trees import Tree

MakeTree = Callable[[Tree], Path]
LARGE = 2 << 20  # bytes: takes long enough that something is added meanwhile


@pytest.fixture
def job(sshd: Sshd, source: Path, dest: Path, state: Path) -> Reconcile:
    return Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())


@contextmanager
def growing(*paths: Path) -> Iterator[None]:
    """Something is added to each all the time, once it is clear that something was."""
    stop, began = threading.Event(), threading.Event()

    def write() -> None:
        files = [path.open("ab", buffering=0) for path in paths]
        while not stop.wait(0.001):
            for file in files:
                file.write(b"a line more\n")
            began.set()
        for file in files:
            file.close()

    thread = threading.Thread(target=write)
    thread.start()
    began.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_which_may_grow() -> None:
    may_grow = Growing(["access_*", "!access_x"], {"known"})
    paths = ["a.log", "d/b.log", "access_1", "d/access_2", "access_x", "known", "d/known", "film.mp4", "log"]
    assert [path for path in paths if may_grow(path)] == [
        "a.log",
        "d/b.log",
        "access_1",
        "d/access_2",
        "known",
    ]


def test_two_runs_that_fail_are_remembered(tmp_path: Path) -> None:
    grew = [Problem(path, Stage.APPLY, Reason.GROWING, "") for path in ("a", "b")]
    note_growing(str(tmp_path), grew, [])
    assert known_growing(str(tmp_path)) == frozenset()
    note_growing(str(tmp_path), grew[:1], [])
    assert known_growing(str(tmp_path)) == {"a"}
    note_growing(str(tmp_path), [], ["a", "c.log"])  # it went on to grow, and was sent
    assert known_growing(str(tmp_path)) == {"a"}
    note_growing(str(tmp_path), [Problem("a", Stage.APPLY, Reason.CHANGED, "")], [])
    assert known_growing(str(tmp_path)) == frozenset()
    assert list(tmp_path.iterdir()) == []
    note_growing(str(tmp_path / "none"), grew, [])


def test_a_log_is_sent_while_it_grows_and_a_film_is_not(
    job: Reconcile, tree: MakeTree, source: Path, dest: Path
) -> None:
    tree({"app.log": os.urandom(LARGE), "film.mp4": os.urandom(LARGE), "data": os.urandom(LARGE)})
    paths = [source / name for name in ("app.log", "film.mp4", "data")]
    with growing(*paths):
        for sent in (["app.log", "data"], ["app.log", "data"], ["app.log", "data", "film.mp4"]):
            ran = job("run", "--growing", "/data")
            assert ran.code == (0 if "film.mp4" in sent else 3)
            assert ran.problems == ({} if "film.mp4" in sent else {"film.mp4": "growing"})
            assert (
                sorted(note["path"] for note in ran.document["notes"] if note["reason"] == "growing") == sent
            )
            for name in sent:
                there = (dest / name).read_bytes()
                assert LARGE <= len(there) <= (source / name).stat().st_size
                assert (source / name).read_bytes().startswith(there)
    job.run()
    assert [(dest / path.name).read_bytes() for path in paths] == [path.read_bytes() for path in paths]
    assert not job.run().document["connected"]
