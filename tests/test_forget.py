"""``forget --remote``: what a job has at DEST beside its files goes, and nothing that anybody may want."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.cli import main
from reconcile.core.errors import Exit, Refused
from reconcile.core.job import Options, Stop
from reconcile.phases.forget import forget_there
from reconcile.pipeline import run
from tests.remotes.conformance import Heard
from tests.support.command import Reconcile, ReconcileHere
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.trees import Tree, build_tree, read_tree

SITE: Tree = {"a": "one", "ü\n": "two", "d": {"e": {"f": "three"}}}


@pytest.fixture
def job(source: Path, dest: Path, state: Path) -> Reconcile:
    build_tree(source, SITE)
    job = ReconcileHere(source, str(dest), state, ("--mirror", "--allow-mass-delete"))
    assert job("run").code == Exit.OK
    return job


def trash(job: Reconcile, command: str, *flags: str) -> int:
    return main(["trash", command, str(job.source), job.target, "--state", str(job.state), *flags])


def test_it_goes_here_and_there(job: Reconcile, dest: Path, source: Path) -> None:
    assert job("forget", "--remote").code == Exit.REFUSED, "nobody is there to be asked"
    assert job("forget", "--remote", "--yes").document["remote"] is True
    assert read_tree(dest) == read_tree(source)
    assert not job.state.exists()
    assert job("forget", "--remote", "--yes").code == Exit.USAGE
    assert job("run", "--adopt-existing").counts == {}


def test_not_what_lies_in_the_trash_or_is_kept(job: Reconcile, dest: Path, source: Path) -> None:
    (dest / "a").write_text("somebody's")
    (source / "a").write_text("anew")
    shutil.rmtree(source / "d")
    assert job("run", "--trash", "30d").code == Exit.OK
    before = read_tree(dest)
    refused = job("forget", "--remote", "--yes")
    assert refused.code == Exit.REFUSED
    message = refused.document["message"]
    assert f"1 thing deleted or replaced: 'reconcile trash ls {source} {dest}' shows them" in message
    assert "1 thing kept as others wrote them, or as the only copy, in '" in message
    assert read_tree(dest) == before
    assert job("run").counts == {}
    assert trash(job, "empty", "--yes") == Exit.OK
    assert "trash empty" not in job("forget", "--remote", "--yes").document["message"]
    (kept,) = dest.glob(".reconcile/*/*/trash/kept")
    shutil.rmtree(kept)
    assert job("forget", "--remote", "--yes").code == Exit.OK
    assert not (dest / ".reconcile").exists()
    assert (dest / "a").read_text() == "anew"


def test_another_job_of_the_same_dest_stays(job: Reconcile, dest: Path, tmp_path: Path) -> None:
    build_tree(tmp_path / "other", {"x": "1"})
    other = ReconcileHere(tmp_path / "other", str(dest), job.state, ("--job", "other", "--lock", "remote"))
    assert other("run", "--adopt-existing").code == Exit.OK
    named = replace_flags(other, "--job", "other.2", "--state", "remote")
    assert named("run", "--adopt-existing").code == Exit.OK
    assert job("forget", "--remote", "--yes").code == Exit.OK
    for each in (other, named):
        (tmp_path / "other" / "x").write_text("changed")
        assert each("run", "--check-mark").code == Exit.OK
    assert named("forget", "--remote", "--yes").code == Exit.OK
    assert other("run", "--check-mark").code == Exit.OK
    assert other("forget", "--remote", "--yes").code == Exit.OK
    assert not (dest / ".reconcile").exists()


def replace_flags(job: Reconcile, *flags: str) -> Reconcile:
    state = Path("remote") if "remote" in flags else job.state
    return ReconcileHere(job.source, job.target, state, flags[: flags.index("--state")])


def test_a_state_that_lies_there(source: Path, dest: Path) -> None:
    """Also from a machine that has no copy of it; and not while a run is left open."""
    build_tree(source, SITE)
    job = ReconcileHere(source, str(dest), Path("remote"), ("--job", "site"))
    assert job("run").code == Exit.OK
    for copy in Path(os.environ["HOME"]).rglob("remote"):
        shutil.rmtree(copy)
    assert job("forget", "--yes").code == Exit.USAGE
    assert job("forget", "--remote", "--yes").code == Exit.OK
    assert not (dest / ".reconcile").exists()
    assert read_tree(dest) == read_tree(source)
    assert job("run").code == Exit.REFUSED


def test_what_can_not_be_removed_leaves_all_known(job: Reconcile, dest: Path, source: Path) -> None:
    (lineage,) = (path for path in (dest / ".reconcile").iterdir())
    (lineage / "notes.txt").write_text("somebody's")
    stuck = job("forget", "--remote", "--yes")
    assert (stuck.code, "notes.txt" in stuck.document["message"]) == (Exit.UNREACHABLE, True)
    (source / "a").write_text("anew")
    assert job("run").counts == {"modify": 1}
    (lineage / "notes.txt").unlink()
    assert job("forget", "--remote", "--yes").code == Exit.OK


def test_nothing_goes_that_is_behind_a_link(job: Reconcile, dest: Path, tmp_path: Path) -> None:
    build_tree(tmp_path / "elsewhere", {"precious": "1"})
    (lineage,) = (path for path in (dest / ".reconcile").iterdir())
    (lineage / "run").mkdir()
    (lineage / "run" / "staging").symlink_to(tmp_path / "elsewhere")
    (lineage / "link").symlink_to(tmp_path / "elsewhere")
    stuck = job("forget", "--remote", "--yes")
    assert (stuck.code, "/run'" in stuck.document["message"]) == (Exit.UNREACHABLE, True)
    assert (tmp_path / "elsewhere" / "precious").exists()
    assert job("run", "--check-mark").code == Exit.OK


@pytest.mark.parametrize("quirks", [[], [Quirk.ANNOUNCES_NOTHING]])
def test_on_a_server(
    job_to: JobTo, quirks: list[Quirk], source: Path, served: Path, tree: Callable[[Tree], Path]
) -> None:
    tree(SITE)
    job = job_to(*quirks, options=Options(mirror=True))
    run(job, Heard())
    (served / "dest" / "a").write_text("somebody's")
    (source / "a").write_text("anew")
    run(job, Heard())
    with pytest.raises(Refused, match="kept as others wrote them"):
        forget_there(job, "x", Heard(), Stop())
    for kept in (served / "dest").glob(".reconcile/*/*/trash/kept"):
        shutil.rmtree(kept)
    forget_there(job, "x", Heard(), Stop())
    forget_there(job, "x", Heard(), Stop())  # and no harm again
    assert read_tree(served / "dest") == read_tree(source)
    assert not (served / "dest" / ".reconcile").exists()
    with pytest.raises(Refused, match="mark is missing"):
        run(replace(job, options=replace(job.options, check_mark=True)), Heard())
