"""Of what was deleted no more is purged than was seen to be ours; the rest is kept, told and counted."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconcile.core.job import Options
from reconcile.core.marks import is_mark
from reconcile.core.model import Footing
from reconcile.remotes.tree import delete
from reconcile.remotes.tree.steps import Recipe
from tests.remotes.conformance import LINEAGE, RUN, Bench, Heard
from tests.remotes.sftp.test_sftp import opener
from tests.support.command import Reconcile
from tests.support.sshd import Sshd
from tests.support.trees import Dir, build_tree, read_tree

DAY = 86_400


@pytest.fixture
def bench(sshd: Sshd, source: Path, dest: Path) -> Iterator[Bench]:
    bench = Bench(opener(sshd), source, dest, Options())
    yield bench
    bench.remote.close()
    bench.source.close()


@pytest.fixture
def job(source: Path, dest: Path, state: Path, shim_sshd: Sshd) -> Reconcile:
    return Reconcile(source, shim_sshd.url(dest), state, shim_sshd.endpoint.flags())


def kept_in(dest: Path) -> dict[str, bytes | None]:
    """Paths of what is kept, as they were in DEST, and contents."""
    return {
        str(path.relative_to(top)): None if path.is_dir() else path.read_bytes()
        for top in dest.glob(".reconcile/*/*/trash/kept")
        for path in top.rglob("*")
    }


def test_what_comes_into_a_folder_through_an_open_directory_after_its_rename(
    bench: Bench, dest: Path
) -> None:
    closed_to_writing = Dir({"g": "ours"}, mode=0o555)
    bench.upload({"app": {"logs": {"old": "ours"}, "f": "ours", "closed": closed_to_writing}, "rest": "r"})
    logs, closed = os.open(dest / "app/logs", os.O_RDONLY), os.open(dest / "app/closed", os.O_RDONLY)
    bench.do(bench.delete("app"))
    for number in range(5):
        with open(
            f"upload{number}", "w", opener=lambda name, flags: os.open(name, flags, dir_fd=logs)
        ) as file:
            file.write("precious")
    os.mkdir("folder", dir_fd=logs)
    os.chmod(closed, 0o755)
    os.symlink("somewhere", "link", dir_fd=closed)
    os.chmod(closed, 0o555)
    assert list(bench.remote.end()) == []
    kept = dest / ".reconcile" / LINEAGE / RUN / "trash/kept"
    assert set(read_tree(kept)) == {
        *("app", "app/logs", *(f"app/logs/upload{n}" for n in range(5)), "app/logs/folder"),
        *("app/closed", "app/closed/link"),
    }
    assert os.listdir(kept.parent) == ["kept"]
    assert any("'app/logs/upload" in said and "and 4 more" in said for said in bench.heard.said)
    assert any(said.startswith("7 things") for said in bench.heard.said)


def test_what_a_program_writes_between_the_listing_and_the_rename(
    bench: Bench, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.upload({"app": {"d": {"f": "ours"}}})
    listed = delete._not_ours

    def and_then_somebody_writes(*args: Any) -> Recipe[set[str]]:
        staying = yield from listed(*args)
        (dest / "app/d/upload").write_text("precious")
        return staying

    monkeypatch.setattr(delete, "_not_ours", and_then_somebody_writes)
    bench.do(bench.delete("app"))
    assert not (dest / "app").exists()
    assert list(bench.remote.end()) == []
    assert kept_in(dest)["app/d/upload"] == b"precious"


def test_who_never_stops_writing_does_not_hold_the_run(bench: Bench, dest: Path) -> None:
    bench.upload({"app": {"f": "ours"}})
    app = os.open(dest / "app", os.O_RDONLY)
    bench.do(bench.delete("app"))
    over = threading.Event()
    made: list[str] = []

    def write() -> None:
        while not over.is_set():
            name = f"upload{len(made)}"
            try:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=app))
            except FileNotFoundError:
                return
            made.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        list(bench.remote.end())
    finally:
        over.set()
        writer.join()
    left = {path.name for path in dest.rglob("upload*")}
    assert left >= set(made)


def test_the_trash_of_a_dead_run_is_purged_as_far_as_the_plan_knows_it(
    bench: Bench, sshd: Sshd, dest: Path
) -> None:
    bench.upload({"d": {"f": "ours", "e": {"g": "ours"}}, "single": "ours", "rest": "r"})
    actions = [bench.delete("d"), bench.delete("single")]
    logs = os.open(dest / "d/e", os.O_RDONLY)
    bench.do(*actions)
    os.close(os.open("upload", os.O_WRONLY | os.O_CREAT, dir_fd=logs))
    heard = Heard()
    remote = opener(sshd)(dest, Options(), heard)
    remote.begin(Footing(LINEAGE, known=True), "second", before=actions)
    assert list(remote.end()) == []
    remote.close()
    assert set(kept_in(dest)) == {"d", "d/e", "d/e/upload"}
    assert set(os.listdir(dest / ".reconcile" / LINEAGE)) == {"id", "second", "second.kept-1"}
    assert any(said.startswith("1 thing ") for said in heard.said)


def write_on_both_sides(source: Path, dest: Path, number: int) -> None:
    build_tree(source, {"counter": f"here {number}"})
    build_tree(dest, {"counter": f"there, and longer {number}"})


def test_what_is_kept_costs_no_later_run_anything_and_is_told_also_in_quiet(
    job: Reconcile, source: Path, dest: Path, shim_sshd: Sshd
) -> None:
    build_tree(source, {"counter": "0", "other": "0"})
    job.run()
    told, requests = [], []
    for night in range(1, 7):
        write_on_both_sides(source, dest, night)
        ran = job("run", "-q", json_out=False)
        assert ran.code == 0
        told.append(ran.out + ran.err)
        build_tree(source, {"other": "x" * night})
        shim_sshd.requests()
        assert job.run().counts == {"modify": 1}
        requests.append(shim_sshd.requests().total)
    assert "1 thing " in told[0]
    assert "makes 6" in told[-1]
    assert len(set(requests)) == 1, requests
    assert len(list(dest.glob(".reconcile/*/*/trash/kept/counter"))) == 6


def test_kept_by_a_version_that_left_no_mark(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"counter": "0"})
    job.run()
    write_on_both_sides(source, dest, 1)
    job.run()
    [mark] = dest.glob(".reconcile/*/*.kept-1")
    mark.rmdir()
    build_tree(source, {"counter": "again"})
    assert "1 thing " in job("run", "-q", json_out=False).err
    assert mark.exists()
    shutil.rmtree(mark.with_name(mark.name.removesuffix(".kept-1")))  # looked at, and thrown away by hand
    build_tree(source, {"counter": "once more"})
    assert job("run", "-q", json_out=False).err == ""
    assert not mark.exists()


def test_what_is_kept_goes_at_the_age_that_the_user_has_set(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"counter": "0"})
    job.run()
    for number in (1, 2):
        write_on_both_sides(source, dest, number)
        job.run()
    old, new = sorted(dest.glob(".reconcile/*/*.kept-1"), key=lambda mark: mark.stat().st_ctime_ns)
    then = time.time() - 31 * DAY
    os.utime(old, (then, then))
    for flags, marks in ([], {old, new}), (["--keep", "32d"], {old, new}), (["--keep", "30d"], {new}):
        build_tree(source, {"counter": f"with {flags}"})
        job.run(*flags)
        assert set(dest.glob(".reconcile/*/*.kept-1")) == marks
    assert kept_in(dest) == {"counter": b"there, and longer 2"}


def test_a_run_that_keeps_nothing_says_nothing(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"d": {"f": "x"}, "f": "x"})
    job.run()
    shutil.rmtree(source / "d")
    ran = job("run", "-q", "--mirror", "--allow-mass-delete", json_out=False)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert all(is_mark(path.name) for path in dest.glob(".reconcile/*/*"))
