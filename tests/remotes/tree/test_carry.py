"""A folder is renamed: what is excluded, or somebody else's, stays where it is on the server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

import pytest

from reconcile.core.model import Reason
from tests.support.command import Reconcile
from tests.support.faults import Fault
from tests.support.sshd import Sshd
from tests.support.trees import Tree, build_tree, read_tree

FILTERS = ("--exclude", "/public/uploads/", "--exclude", ".env", "--exclude", "/tmp/")


@pytest.fixture
def job(source: Path, dest: Path, state: Path, shim_sshd: Sshd) -> Reconcile:
    return Reconcile(source, shim_sshd.url(dest), state, shim_sshd.endpoint.flags())


def files(dest: Path) -> dict[str, bytes | None]:
    """What is in DEST, our own folder left out."""
    found = read_tree(dest)
    return {path: node.content for path, node in found.items() if path.split("/")[0] != ".reconcile"}


SITE = {"public": {"index": "i", "app": {"a": "a", "b": "b"}, "lib": {"c": {"d": "d"}}}, "rest": "r"}
THEIRS = {"public": {"uploads": {"pic.jpg": "the site's own"}, "app": {".env": "SECRET"}}}
LEFT = {
    **dict.fromkeys(("public", "public/uploads", "public/app"), None),
    "public/uploads/pic.jpg": b"the site's own",
    "public/app/.env": b"SECRET",
}
MOVED = {
    **dict.fromkeys(("web", "web/app", "web/lib", "web/lib/c"), None),
    "web/index": b"i",
    "web/app/a": b"a",
    "web/app/b": b"b",
    "web/lib/c/d": b"d",
}


@pytest.mark.parametrize("mirror", [(), ("--mirror",)])
def test_what_is_excluded_stays_and_ours_moves(
    job: Reconcile, source: Path, dest: Path, mirror: tuple[str, ...]
) -> None:
    build_tree(source, SITE)
    job.run(*FILTERS, *mirror)
    build_tree(dest, THEIRS)
    os.chmod(source / "public/app", 0o750)
    job.run(*FILTERS, *mirror)
    (source / "public").rename(source / "web")
    planned = job.plan(*FILTERS, *mirror)
    [note] = [note for note in planned.document["notes"] if note["reason"] == Reason.STAYS]
    assert "excluded in 'public'" in note["message"]
    ran = job.run(*FILTERS, *mirror)
    assert ran.counts == planned.counts == {"move": 1}
    assert files(dest) == {"rest": b"r", **LEFT, **MOVED}
    assert (dest / "web/app").stat().st_mode & 0o777 == 0o750
    said = [note["message"] for note in ran.document["notes"] if note["path"] == "public"]
    assert any("'app/.env', 'uploads'" in text for text in said)
    assert job.run(*FILTERS, *mirror, "--refresh").counts == {}
    assert files(dest) == {"rest": b"r", **LEFT, **MOVED}


def test_a_folder_moves_to_where_another_has_left_what_is_excluded(
    job: Reconcile, source: Path, dest: Path
) -> None:
    build_tree(
        source, {"public": {"f": "old", "app": {"a": "old"}}, "next": {"f": "new!", "app": {"b": "new"}}}
    )
    job.run(*FILTERS, "--mirror")
    build_tree(dest, {"public": {"uploads": {"pic.jpg": "theirs"}, "app": {".env": "SECRET"}}})
    (source / "public").rename(source / "before")
    (source / "next").rename(source / "public")
    job.run(*FILTERS, "--mirror")
    expected = {
        "before/f": b"old",
        "before/app/a": b"old",
        "public/f": b"new!",
        "public/app/b": b"new",
        "public/uploads/pic.jpg": b"theirs",
        "public/app/.env": b"SECRET",
    }
    assert {path: content for path, content in files(dest).items() if content is not None} == expected
    assert not list(dest.glob(".reconcile/*/*/trash/kept/*"))
    assert job.run(*FILTERS, "--mirror", "--refresh").counts == {}


def test_folders_change_places_around_what_is_excluded(job: Reconcile, source: Path, dest: Path) -> None:
    build_tree(source, {"public": {"f": "one", "g": "one"}, "tmp2": {"h": "two!", "i": {"j": "two"}}})
    job.run(*FILTERS)
    build_tree(dest, {"public": {"uploads": {"pic.jpg": "theirs"}}})
    (source / "public").rename(source / "aside")
    (source / "tmp2").rename(source / "public")
    (source / "aside").rename(source / "tmp2")
    job.run(*FILTERS)
    contents = {path: content for path, content in files(dest).items() if content is not None}
    assert contents == {
        "tmp2/f": b"one",
        "tmp2/g": b"one",
        "public/h": b"two!",
        "public/i/j": b"two",
        "public/uploads/pic.jpg": b"theirs",
    }
    assert job.run(*FILTERS, "--refresh").counts == {}


def test_without_filters_it_is_one_rename_and_what_is_there_comes_along(
    job: Reconcile, source: Path, dest: Path, shim_sshd: Sshd
) -> None:
    build_tree(source, SITE)
    job.run()
    build_tree(dest, THEIRS)
    (source / "public/index").unlink()
    build_tree(source, {"public": {"more": "m"}})
    job.run()  # it stays there
    (source / "public").rename(source / "web")
    notes = job.plan().document["notes"]
    assert ["1 entries" in note["message"] for note in notes if note["reason"] == Reason.STAYS] == [True]
    shim_sshd.requests()
    job.run()
    requests = shim_sshd.requests().requests
    assert requests["OPENDIR"] == 2, requests  # of our own folders
    assert (dest / "web/uploads/pic.jpg").exists()
    assert (dest / "web/index").exists()


def test_what_another_job_put_there_stays(
    job: Reconcile, source: Path, dest: Path, state: Path, tmp_path: Path, shim_sshd: Sshd
) -> None:
    other = tmp_path / "other"
    build_tree(other, {"public": {"theirs": "t"}})
    build_tree(source, {"public": {"f": "f", "g": "g"}, "rest": "r"})
    job.run()
    Reconcile(other, job.target, tmp_path / "elsewhere", job.flags).run("--adopt-existing")
    (source / "public").rename(source / "web")
    job.run()
    assert {path for path, content in files(dest).items() if content} == {
        "public/theirs",
        "web/f",
        "web/g",
        "rest",
    }


@pytest.mark.parametrize("at", [1, 2, 4, 6])
@pytest.mark.parametrize("do", ["cut", "kill"])
def test_a_cut_in_the_middle(
    job: Reconcile, source: Path, dest: Path, shim_sshd: Sshd, tmp_path: Path, do: str, at: int
) -> None:
    build_tree(source, SITE)
    job.run(*FILTERS, "--mirror")
    build_tree(dest, THEIRS)
    (source / "public").rename(source / "web")
    if do == "cut":
        shim_sshd.arm(Fault("cut", at, "RENAME", "public/"))
        job.run(*FILTERS, "--mirror")
    else:
        shim_sshd.arm(Fault("close", at, "RENAME", "public/"))
        job("run", *FILTERS, "--mirror", "--retries", "0")
    job.run(*FILTERS, "--mirror")
    assert job.run(*FILTERS, "--mirror", "--refresh").counts == {}
    assert files(dest) == {"rest": b"r", **LEFT, **MOVED}
    assert not list(dest.glob(".reconcile/*/*/trash/kept/*"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("retries", "at"), [("0", 7), ("0", 8), ("0", 9), ("5", 2), ("5", 5)])
def test_a_run_cut_off_while_folders_change_places_goes_on(
    job: Reconcile,
    source: Path,
    dest: Path,
    shim_sshd: Sshd,
    retries: str,
    at: int,
    when: Literal["before", "after"],
) -> None:
    """What has come to its new place by then looks like what was there before: never back with it."""
    names = ("a", "b", "c")
    build_tree(source, {name: {"f": f"from {name}", "g": f"and {name}"} for name in names})
    for path in (path for path in source.rglob("*") if path.is_file()):
        os.utime(path, (1_500_000_000, 1_500_000_000))
    job.run("--exclude", ".env")
    build_tree(dest, {name: {".env": f"theirs {name}"} for name in names})
    for old, new in (("a", "aside"), ("c", "a"), ("b", "c"), ("aside", "b")):
        (source / old).rename(source / new)
    shim_sshd.arm(Fault("close", at, "RENAME", "parked/", when))
    job("run", "--exclude", ".env", "--retries", retries, "--retry-max-wait", "0.1")
    assert not shim_sshd.armed
    job.run("--exclude", ".env")
    contents = {path: content for path, content in files(dest).items() if content is not None}
    mine = {path: node.content for path, node in read_tree(source).items() if node.content is not None}
    assert contents == {**mine, **{f"{name}/.env": f"theirs {name}".encode() for name in names}}
    assert job.run("--exclude", ".env", "--refresh").counts == {}


def sent_and_then_excluded(job: Reconcile, source: Path, tree: Tree, *more: str) -> None:
    """Our own files, of which a filter of later hides those that end in .log."""
    build_tree(source, tree)
    job.run("--mirror", *more)
    job.run("--mirror", "--exclude", "*.log", *more)


def test_what_stays_and_is_ours_goes_with_the_filter(job: Reconcile, source: Path, dest: Path) -> None:
    sent_and_then_excluded(job, source, {"public": {"f": "f", "x.log": "x", "sub": {"y.log": "y", "g": "g"}}})
    (source / "public").rename(source / "web")
    job.run("--mirror", "--exclude", "*.log")
    assert (dest / "public/x.log").exists()
    assert (dest / "public/sub/y.log").exists()
    assert job.run("--mirror", "--exclude", "*.log", "--refresh").counts == {}
    job.run("--mirror")
    mine = {path: node.content for path, node in read_tree(source).items()}
    assert files(dest) == mine
    assert job.run("--mirror", "--refresh").counts == {}


def test_what_stays_of_folders_that_change_places_goes_with_the_filter(
    job: Reconcile, source: Path, dest: Path
) -> None:
    sent_and_then_excluded(
        job, source, {name: {"f": f"{name} f", f"{name}.log": name, "x.log": name} for name in ("a", "b")}
    )
    for old, new in (("a", "aside"), ("b", "a"), ("aside", "b")):
        (source / old).rename(source / new)
    job.run("--mirror", "--exclude", "*.log")
    assert {path for path in files(dest) if path.endswith(".log")} == {
        "a/a.log",
        "a/x.log",
        "b/b.log",
        "b/x.log",
    }
    assert job.run("--mirror", "--exclude", "*.log", "--refresh").counts == {}
    job.run("--mirror")
    mine = {path: node.content for path, node in read_tree(source).items()}
    assert files(dest) == mine
    assert job.run("--mirror", "--refresh").counts == {}


def test_what_stays_where_a_folder_moves_to_goes_with_the_filter(
    job: Reconcile, source: Path, dest: Path
) -> None:
    sent_and_then_excluded(
        job, source, {"public": {"x.log": "x", "f": "f"}, "next": {"f": "new", "g": "g", "h": "h"}}
    )
    shutil.rmtree(source / "public")
    (source / "next").rename(source / "public")
    job.run("--mirror", "--exclude", "*.log")
    assert (dest / "public/x.log").exists()
    assert job.run("--mirror", "--exclude", "*.log", "--refresh").counts == {}
    job.run("--mirror")
    mine = {path: node.content for path, node in read_tree(source).items()}
    assert files(dest) == mine
    assert job.run("--mirror", "--refresh").counts == {}


def test_a_folder_that_moves_as_its_filter_goes_brings_all(job: Reconcile, source: Path, dest: Path) -> None:
    sent_and_then_excluded(job, source, {"public": {"x.log": "x", "f": "f", "g": "g"}})
    (source / "public").rename(source / "web")
    job.run("--mirror", "--exclude", ".env")
    mine = {path: node.content for path, node in read_tree(source).items()}
    assert files(dest) == mine
    assert job.run("--mirror", "--exclude", ".env", "--refresh").counts == {}


def test_what_stays_where_only_the_case_of_a_name_changes_goes_with_the_filter(
    job: Reconcile, source: Path, dest: Path
) -> None:
    """Such a folder is moved aside first."""
    sent_and_then_excluded(job, source, {"Public": {"f": "f", "sub": {"x.log": "x", "g": "g"}}})
    (source / "Public").rename(source / "public")
    job.run("--mirror", "--exclude", "*.log")
    assert (dest / "Public/sub/x.log").exists()
    assert job.run("--mirror", "--exclude", "*.log", "--refresh").counts == {}
    job.run("--mirror")
    mine = {path: node.content for path, node in read_tree(source).items()}
    assert files(dest) == mine
