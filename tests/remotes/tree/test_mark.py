"""A state that is older than the server, or a server older than the state: the mark's name tells.

What it tells is in the core's ``marks``.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.marks import BEFORE, explain_marks, is_mark, name_mark
from reconcile.state.snapshot import dump
from reconcile.state.store import read_snapshot
from tests.faults.scenario import noticed
from tests.support.command import Ran, Reconcile
from tests.support.sshd import Sshd
from tests.support.trees import File, Tree, build_tree

OLD = 1_600_000_000  # an mtime that no clock takes for now
REFUSED = 4


@pytest.fixture
def job(source: Path, dest: Path, state: Path, sshd: Sshd, tree: Callable[[Tree], Path]) -> Reconcile:
    """A job whose first run is done."""
    tree({"a": File("first", mtime=OLD), "b": File("first", mtime=OLD), "d": {"c": File("c", mtime=OLD)}})
    job = Reconcile(source, sshd.url(dest), state, sshd.endpoint.flags())
    job.run()
    return job


def copy(here: Path, there: Path) -> None:
    shutil.rmtree(there, ignore_errors=True)
    subprocess.run(["cp", "-a", here, there], check=True)


def marks(dest: Path) -> list[str]:
    return [path.name for path in (dest / ".reconcile").glob("*/*") if is_mark(path.name)]


def messages(ran: Ran) -> str:
    return "\n".join(note["message"] for note in ran.document["notes"])


def edit(source: Path, **files: str) -> None:
    build_tree(source, {name: File(text, mtime=OLD + len(text)) for name, text in files.items()})


def test_each_run_that_writes_renames_the_mark(job: Reconcile, source: Path, dest: Path) -> None:
    seen = [marks(dest)]
    for number in range(3):
        edit(source, a=f"number {number}" * (number + 1))
        assert not noticed(job.run())
        seen.append(marks(dest))
    assert all(len(names) == 1 for names in seen)
    assert len({names[0] for names in seen}) == len(seen)
    before = marks(dest)
    job.run()
    assert marks(dest) == before, "a run with nothing to do has nothing to tell"


def test_a_state_older_than_the_server(
    job: Reconcile, source: Path, dest: Path, state: Path, tmp_path: Path
) -> None:
    copy(state, tmp_path / "saved")
    edit(source, a="sent by a run whose state got lost")
    job.run()
    edit(source, a="first", b="changed")
    copy(tmp_path / "saved", state)
    ran = job.run()
    assert "state here is older than DEST" in messages(ran)
    assert (dest / "a").read_text() == "first"
    assert (dest / "b").read_text() == "changed"
    again = job.run("--check-mark")
    assert again.counts == {}
    assert not noticed(again)
    assert again.document["connected"]


def test_a_server_older_than_the_state(job: Reconcile, source: Path, dest: Path, tmp_path: Path) -> None:
    copy(dest, tmp_path / "backup")
    edit(source, a="second", new="new")
    job.run()
    copy(tmp_path / "backup", dest)
    assert job.run().document["connected"] is False
    planned, ran = job.plan("--check-mark"), job.run("--check-mark")
    assert planned.counts == ran.counts == {"create": 2}
    assert "DEST is older than the state here" in messages(planned)
    assert "DEST is older than the state here" in messages(ran)
    assert (dest / "a").read_text() == "second"
    assert len(list(dest.rglob("trash/kept/**/a"))) == 1, "what was restored may be somebody's"
    assert not noticed(job.run("--check-mark"))


def test_a_backup_that_is_unpacked_over_what_is_there(
    job: Reconcile, source: Path, dest: Path, tmp_path: Path
) -> None:
    copy(dest, tmp_path / "backup")
    edit(source, a="second", new="new")
    job.run()
    subprocess.run(["cp", "-a", f"{tmp_path}/backup/.", dest], check=True)
    assert len(marks(dest)) == 2
    edit(source, b="second")
    assert noticed(job.run())
    assert (dest / "a").read_text() == "second"
    assert len(marks(dest)) == 1
    assert not noticed(job.run("--check-mark"))


def test_two_machines_with_copies_of_one_state(
    job: Reconcile, source: Path, dest: Path, state: Path, tmp_path: Path
) -> None:
    copy(state, tmp_path / "clone")
    clone = Reconcile(source, job.target, tmp_path / "clone", job.flags)
    edit(source, a="by one")
    job.run()
    edit(source, a="by the other!")
    assert "somewhere else has sent to DEST since" in messages(clone.run())
    edit(source, b="by one again")
    assert noticed(job.run())
    assert (dest / "a").read_text() == "by the other!"


@pytest.mark.parametrize("command", ["plan", "run"])
def test_refused_where_that_is_wanted(
    job: Reconcile, source: Path, dest: Path, state: Path, tmp_path: Path, command: str
) -> None:
    copy(state, tmp_path / "saved")
    edit(source, a="second")
    job.run()
    copy(tmp_path / "saved", state)
    edit(source, b="third")
    there = sorted(dest.rglob("*"))
    refused = job(command, "--on-stale", "refuse", *(["--check-mark"] if command == "plan" else []))
    assert refused.code == REFUSED
    assert "Nothing was done" in refused.document["message"]
    assert sorted(dest.rglob("*")) == there
    assert (dest / "b").read_text() == "first"
    assert not list(state.glob("*/journal")), "nothing was interrupted"
    ran = job.run()
    assert "interrupted" not in messages(ran)
    assert (dest / "b").read_text() == "third"


@pytest.mark.parametrize("flags", [("--check-mark",), ("--refresh",), ()])
def test_a_mark_of_an_older_version_is_current_and_gets_a_serial(
    job: Reconcile, source: Path, dest: Path, state: Path, flags: tuple[str, ...]
) -> None:
    (name,) = marks(dest)
    (mark,) = (dest / ".reconcile").glob(f"*/{name}")
    (mark / BEFORE).rename(mark.with_name(BEFORE))
    mark.rmdir()
    (folder,) = state.iterdir()
    snapshot = read_snapshot(str(folder), str(source), job.target)  # type: ignore[arg-type]
    assert snapshot is not None
    old = replace(snapshot, marks=())
    (folder / "snapshot").write_bytes(b"".join(dump(old)))
    edit(source, a="second")
    ran = job.run(*flags)
    assert not noticed(ran)
    assert ran.counts == {"modify": 1}
    assert marks(dest) not in ([], [BEFORE])
    assert not noticed(job.run("--check-mark"))


def test_start_over_where_dest_was_wiped(job: Reconcile, source: Path, dest: Path, state: Path) -> None:
    shutil.rmtree(dest)
    dest.mkdir()
    build_tree(dest, {"a": File("first", mtime=OLD), "theirs": "x"})
    edit(source, b="second")
    refused = job("run")
    assert refused.code == REFUSED
    assert "--start-over" in refused.document["message"]
    assert str(next(state.iterdir())) in refused.document["message"]
    assert job("plan", "--check-mark").code == REFUSED
    assert job.plan("--start-over").counts == {"create": 2, "mkdir": 1}
    assert job.run("--start-over").counts == {"create": 2, "mkdir": 1}
    assert job.run("--check-mark").counts == {}, "it lasts"
    assert (dest / "theirs").exists()


def test_start_over_leaves_a_damaged_state_behind(job: Reconcile, source: Path, state: Path) -> None:
    (folder,) = state.iterdir()
    (folder / "snapshot").write_bytes(b"RECONSNP and no more")
    edit(source, a="second")
    assert job("run").code == REFUSED
    assert job.run("--start-over").counts == {"modify": 1}
    assert job.run().counts == {}


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (3, 5, "state here is older"),
        (5, 3, "DEST is older"),
        (4, 4, "another copy"),
    ],
)
def test_which_one_is_older(here: int, there: int, words: str) -> None:
    assert words in explain_marks(name_mark(here, "aa"), [name_mark(there, "bb")])
    assert not is_mark("mark-1-")
    assert not is_mark("mark-x-aa")
    assert not is_mark("mark-1-aa/b")
