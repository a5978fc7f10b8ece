"""A link on the remote where there is a directory here: it stays, and what it leads to is not touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.job import Job, OnDrift, Options, Result
from reconcile.pipeline import make_plan, run
from tests.remotes.conformance import Heard
from tests.support.jobs import JobTo
from tests.support.trees import build_tree, read_tree

KEEP = Options(mirror=True, keep_remote_links=True, allow_mass_delete=True)
HERE = {"index.html": "hi", "uploads": {".gitkeep": "", "sub": {"x": "x"}}}


@pytest.fixture
def dest(served: Path) -> Path:
    """As on a web server: what users sent lies outside of what is deployed."""
    build_tree(served, {"shared": {"uploads": {"pic.jpg": "theirs"}}, "dest": {}})
    return served / "dest"


def link(dest: Path) -> None:
    (dest / "uploads").symlink_to("../shared/uploads")


def kept_as_it_is(dest: Path) -> None:
    assert (dest / "uploads").readlink() == Path("../shared/uploads")
    assert read_tree(dest.parent / "shared").keys() == {"uploads", "uploads/pic.jpg"}
    assert (dest / "index.html").read_text() == "hi"


def goes_well(job: Job, *noted: str) -> Result:
    result = run(job, Heard())
    assert result.problems == []
    assert [note.path for note in result.notes] == list(noted)
    return result


def test_it_is_kept_when_adopting(job_to: JobTo, source: Path, dest: Path) -> None:
    build_tree(source, HERE)
    link(dest)
    job = job_to(options=Options(mirror=True, adopt_existing=True))
    (note,) = make_plan(job, Heard()).notes
    assert note.path == "uploads"
    assert "--refresh" in note.message
    goes_well(job, "uploads")
    kept_as_it_is(dest)
    build_tree(source, {"uploads": {"new": "new"}, "more": "more"})
    goes_well(job, "uploads")
    kept_as_it_is(dest)
    goes_well(replace(job, options=Options(mirror=True, refresh=True)), "uploads")
    kept_as_it_is(dest)
    (source / "index.html").write_text("hi")
    shutil.rmtree(source / "uploads")
    goes_well(job)
    kept_as_it_is(dest)


def test_the_directory_comes_once_the_link_is_gone(job_to: JobTo, source: Path, dest: Path) -> None:
    build_tree(source, HERE)
    link(dest)
    job = job_to(options=Options(mirror=True, adopt_existing=True))
    goes_well(job, "uploads")
    (dest / "uploads").unlink()
    goes_well(replace(job, options=Options(mirror=True, refresh=True)))
    assert (dest / "uploads/sub/x").read_text() == "x"


@pytest.mark.parametrize("refresh", [False, True])
def test_one_that_was_put_there_since_is_kept_when_asked_for(
    refresh: bool, job_to: JobTo, source: Path, dest: Path
) -> None:
    build_tree(source, HERE)
    job = job_to(options=KEEP)
    goes_well(job)
    shutil.rmtree(dest / "uploads")
    link(dest)
    build_tree(source, {"uploads": {"new": "new", "sub": {"x": "changed"}}})
    (source / "uploads/.gitkeep").unlink()
    goes_well(replace(job, options=replace(KEEP, refresh=refresh)), "uploads")
    kept_as_it_is(dest)
    goes_well(job, "uploads")
    kept_as_it_is(dest)


def test_a_new_directory_here_does_not_drive_it_out(job_to: JobTo, source: Path, dest: Path) -> None:
    build_tree(source, {"index.html": "hi"})
    job = job_to(options=KEEP)
    goes_well(job)
    link(dest)
    build_tree(source, HERE)
    goes_well(job, "uploads")
    kept_as_it_is(dest)
    goes_well(job, "uploads")


def test_it_outlives_the_directory_here(job_to: JobTo, source: Path, dest: Path) -> None:
    build_tree(source, HERE)
    job = job_to(options=KEEP)
    goes_well(job)
    shutil.rmtree(dest / "uploads")
    link(dest)
    shutil.rmtree(source / "uploads")
    goes_well(job, "uploads")
    kept_as_it_is(dest)
    assert not run(job, Heard()).connected


@pytest.mark.parametrize("on_drift", OnDrift)
def test_without_being_asked_for_it_is_a_problem_and_stays(
    on_drift: OnDrift, job_to: JobTo, source: Path, dest: Path
) -> None:
    build_tree(source, {"index.html": "hi"})
    job = job_to(options=Options(mirror=True, on_drift=on_drift))
    goes_well(job)
    link(dest)
    build_tree(source, HERE)
    for _ in range(2):
        problems = {problem.path: problem.message for problem in run(job, Heard()).problems}
        assert "--keep-remote-links" in problems["uploads"]
        kept_as_it_is(dest)
