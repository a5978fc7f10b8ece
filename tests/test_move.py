"""``move``: a job goes on where its SRC or DEST went, and sends nothing again."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.cli import main
from reconcile.config import Flags, make_job
from reconcile.core.errors import ConnectionLost, Exit, Refused
from reconcile.core.job import Job, Options, Stop
from reconcile.phases.move import move_target
from reconcile.pipeline import run
from reconcile.state.lock import hold_lock
from reconcile.state.store import job_folder
from tests.apply.test_adopt_by import BreaksOffAtWork
from tests.remotes.conformance import Heard
from tests.support.command import Reconcile, ReconcileHere
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.trees import Link, Tree, build_tree, read_tree

Cli = Callable[..., tuple[int, str, str]]
SITE: Tree = {"a": "one", "ü\n": "two", "d": {"e": {"f": "three"}, "g": "four"}, "l": Link("a")}


@pytest.fixture
def job(source: Path, dest: Path, state: Path) -> Reconcile:
    """A job whose first run is done."""
    build_tree(source, SITE)
    job = ReconcileHere(source, str(dest), state)
    assert job("run").code == Exit.OK
    return job


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def call(*args: str) -> tuple[int, str, str]:
        code = main(args)
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return int(code), out, err

    return call


def at(job: Reconcile, *, source: Path | None = None, target: Path | None = None) -> Reconcile:
    return ReconcileHere(source or job.source, str(target or job.target), job.state, job.flags)


def test_src_was_moved(job: Reconcile, source: Path, tmp_path: Path) -> None:
    new = tmp_path / "else ' where"
    source.rename(new)
    moved = job("move", "--source", str(new))
    assert (moved.code, moved.document["source"], moved.document["entries"]) == (Exit.OK, str(new), 7)
    assert at(job, source=new)("run").counts == {}
    (folder,) = job.state.iterdir()
    assert moved.document["state"] == str(folder)
    assert len(at(job, source=new)("history").document["jobs"][0]["runs"]) == 2
    assert job("move", "--source", str(new)).code == Exit.OK, "and no harm again"
    assert at(job, source=new)("run").counts == {}
    assert [*job.state.iterdir()] == [folder]


def test_src_is_another_folder(job: Reconcile, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    build_tree(other, SITE)
    build_tree(other, {"a": "eno", "ü\n": "owt"})
    (other / "l").unlink()
    refused = job("move", "--source", str(other))
    assert refused.code == Exit.REFUSED
    assert "of the 5 files and links that are known, half or more" in refused.document["message"]
    assert "'l'" in refused.document["message"]
    (other / "a").write_text("one")
    assert job("move", "--source", str(other)).code == Exit.OK, "most is there"
    assert at(job, source=other)("plan", "--times", "ignore").counts == {"modify": 1}
    assert job("move", "--source", str(tmp_path / "nowhere")).code in (Exit.REFUSED, Exit.FATAL)


def test_dest_was_moved(job: Reconcile, source: Path, dest: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    dest.rename(new)
    (new / "d" / "g").write_text("somebody's")
    (new / "a").unlink()
    before = read_tree(new)
    moved = job("move", "--target", str(new))
    assert (moved.code, sorted(moved.document["again"])) == (Exit.OK, ["a", "d/g"])
    assert read_tree(new) == before
    assert not dest.exists()
    there = at(job, target=new)
    assert there("run").counts == {"create": 2}
    assert {path.read_text() for path in new.glob(".reconcile/*/*/trash/kept/d/g")} == {"somebody's"}
    assert there("run").counts == {}
    assert there("verify").code == Exit.OK


@pytest.mark.parametrize("left", ["nothing", "no mark", "another's mark", "half"])
def test_dest_is_another(job: Reconcile, dest: Path, tmp_path: Path, left: str) -> None:
    new = tmp_path / "new"
    shutil.copytree(dest, new, symlinks=True, copy_function=shutil.copy if left == "half" else shutil.copy2)
    if left == "nothing":
        shutil.rmtree(new)
    elif left == "no mark":
        shutil.rmtree(new / ".reconcile")
    elif left == "another's mark":
        (mine,) = (path for path in (new / ".reconcile").iterdir() if path.name != "store")
        mine.rename(new / ".reconcile" / "0f0f0f0f-0000-4000-8000-000000000000")
    else:
        for path in new.rglob("*"):
            if ".reconcile" not in path.parts:
                os.utime(path, (1, 1), follow_symlinks=False)
    before = read_tree(new) if new.exists() else None
    refused = job("move", "--target", str(new))
    assert refused.code == Exit.REFUSED
    assert "mark" in refused.document["message"]
    assert "--adopt-existing" in refused.document["message"]
    assert (read_tree(new) if new.exists() else None) == before
    assert job("run").counts == {}
    assert len([*job.state.iterdir()]) == 1


def test_where_another_job_is(job: Reconcile, source: Path, dest: Path, tmp_path: Path) -> None:
    other, new = tmp_path / "other", tmp_path / "new"
    build_tree(other, SITE)
    assert at(job, source=other, target=new)("run").code == Exit.OK
    refused = at(job, source=other, target=new)("move", "--source", str(source))
    assert refused.code == Exit.OK  # from there to new nothing was known
    refused = job("move", "--target", str(new))
    assert (refused.code, "is not this one" in refused.document["message"]) == (Exit.REFUSED, True)
    assert job("run").counts == {}
    assert at(job, target=new)("run").counts.keys() <= {"setmeta"}, "of the same content"
    unknown = at(job, source=tmp_path / "never")("move", "--source", str(tmp_path / "x"))
    assert (unknown.code, "Nothing is known" in unknown.document["message"]) == (Exit.REFUSED, True)
    with hold_lock(str(next(job.state.glob("source-to-dest-*")))):
        assert job("move", "--target", str(new)).code == Exit.LOCKED
    for args in ([], ["--source", "x", "--target", "y"]):
        assert ReconcileHere(source, str(dest), job.state)("move", *args).code == Exit.USAGE


def test_after_a_run_that_broke_off(job: Reconcile, source: Path, dest: Path, tmp_path: Path) -> None:
    def connect(job: Job, *rest: object) -> object:
        from reconcile.remotes import open_remote

        return BreaksOffAtWork(open_remote(job, *rest), 2)  # type: ignore[arg-type]

    build_tree(source, {"m": "1", "n": "2", "o": "3"})
    flags = Flags(str(source), str(dest), state=str(job.state), retries=0)
    with pytest.raises(ConnectionLost):
        run(make_job(flags), Heard(), connect)  # type: ignore[arg-type]
    new, moved = tmp_path / "new", tmp_path / "moved"
    dest.rename(new)
    source.rename(moved)
    assert job("move", "--target", str(new)).code == Exit.OK
    assert at(job, target=new)("move", "--source", str(moved)).code == Exit.OK
    there = at(job, source=moved, target=new)
    assert there("run").code == Exit.OK
    assert {path.name for path in new.iterdir()} >= {"m", "n", "o"}
    assert there("run", "--refresh").counts == {}


class Died(BaseException):
    """As if the process had been killed: nothing that it would do then is done but what frees its locks."""


@pytest.mark.parametrize("what", ["source", "target"])
def test_killed_at_any_moment(
    job: Reconcile, source: Path, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Whatever was done by then, the old one works, or the new one; and once more it comes to its end."""
    new = tmp_path / "new"
    shutil.copytree({"source": source, "target": dest}[what], new, symlinks=True)
    there, kept = at(job, **{what: new}), tmp_path / "kept"
    shutil.copytree(job.state, kept)
    for number in range(0, 100, 1 if os.environ.get("TORTURE") else 9):
        shutil.rmtree(job.state)
        shutil.copytree(kept, job.state)
        with monkeypatch.context() as patch:
            left = iter(range(number, -1, -1))
            for name in ("replace", "unlink", "rename", "rmdir", "fsync"):
                patch.setattr(os, name, _dying(getattr(os, name), left))
            try:
                assert job("move", f"--{what}", str(new)).code == Exit.OK
                has_died = False
            except Died:
                has_died = True
        works = [each for each in (job, there) if each("plan").code == Exit.OK and not each("plan").counts]
        assert works, number
        assert job("move", f"--{what}", str(new)).code == Exit.OK
        assert there("plan").counts == {}
        assert len([*job.state.iterdir()]) == 1
        if not has_died:
            assert number > 8
            return
    raise AssertionError


def _dying(call: Callable[..., object], left: Iterator[int]) -> Callable[..., object]:
    def do(*args: object, **named: object) -> object:
        if not next(left, 0):
            raise Died
        return call(*args, **named)

    return do


def test_of_a_file_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """It is named as it was; or as it is, where the file says so already."""
    build_tree(tmp_path / "src", SITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))

    def write(source: str, target: str) -> None:
        text = f'[jobs.one]\nsource = "{source}"\ntarget = "{target}"\n'
        (tmp_path / "reconcile.toml").write_text(text)

    write("src", "./dest")
    assert cli("run", "one")[0] == Exit.OK
    (tmp_path / "dest").rename("new")
    code, out, err = cli("move", "one", "--target", "./new")
    assert (code, out) == (Exit.OK, "moved: one: 7 entries are known there\n")
    assert "reconcile.toml says otherwise still: write target = './new' for one before the next run" in err
    write("src", "./new")
    assert "nothing to do" in cli("run", "one")[1]
    (tmp_path / "new").rename("newer")
    (tmp_path / "src").rename("from")
    write("from", "./newer")
    assert cli("move", "one", "--target", "./newer")[::2] == (Exit.OK, "")
    assert cli("move", "one", "--source", "from")[::2] == (Exit.OK, "")
    assert "nothing to do" in cli("run", "one")[1]
    assert len([*(tmp_path / "snapshots" / "one").iterdir()]) == 1
    write("from", "./newest")
    assert cli("run", "one")[0] == Exit.OK
    write("from", "./last")
    code, _, err = cli("move", "one", "--target", "./last")
    assert (code, "what it was can't be told" in err) == (Exit.REFUSED, True)


def test_with_its_state_at_dest(job: Reconcile, source: Path, dest: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    flags = ("--remote-workdir", str(work), "--job", "site", "--times", "ignore")
    here = ReconcileHere(source, str(tmp_path / "one"), Path("remote"), flags)
    assert here("run").code == Exit.OK
    (tmp_path / "one").rename(tmp_path / "two")
    there = at(here, target=tmp_path / "two")
    assert there("run").code == Exit.REFUSED
    assert here("move", "--target", str(tmp_path / "two")).code == Exit.OK
    assert there("run").counts == {}
    source.rename(tmp_path / "checkout")
    moved = at(there, source=tmp_path / "checkout")
    assert there("move", "--source", str(tmp_path / "checkout")).code == Exit.OK
    assert moved("run").counts == {}
    shutil.rmtree(next(Path(os.environ["HOME"]).rglob("remote")))  # another machine
    assert moved("run").counts == {}
    build_tree(tmp_path / "other", {"x": "1"})
    refused = moved("move", "--source", str(tmp_path / "other"))
    assert (refused.code, "does not hold what was sent" in refused.document["message"]) == (4, True)
    assert moved("run").counts == {}


@pytest.mark.parametrize("quirks", [[], [Quirk.ANNOUNCES_NOTHING]])
def test_a_folder_on_a_server(job_to: JobTo, quirks: list[Quirk], source: Path, served: Path) -> None:
    """And a server that has another name, by which its folder is the same."""
    build_tree(source, SITE)
    job = job_to(*quirks, options=Options(mirror=True))
    old = replace(job, state=job_folder(job.state, job.source, job.target))
    run(old, Heard())
    (served / "dest").rename(served / "moved")
    target = replace(old.target, path=f"{old.target.path.rpartition('/')[0]}/moved")  # type: ignore[type-var]
    new = replace(old, target=target, state=job_folder(job.state, job.source, target))
    moved = move_target(old, new, Heard(), Stop())
    assert (moved.entries, moved.again) == (7, ())
    ran = run(new, Heard())
    assert not ran.connected
    (source / "a").write_text("anew")
    assert run(new, Heard()).traffic.bytes_sent < 20_000
    assert (served / "moved" / "a").read_text() == "anew"
    with pytest.raises(Refused):
        move_target(new, old, Heard(), Stop())
