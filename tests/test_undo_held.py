"""What ``undo`` has taken back is held: as long as SRC is as it was, and no longer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.errors import ReconcileError
from reconcile.phases.undo import undo
from reconcile.pipeline import make_plan
from reconcile.state.undone import recall_undone
from tests.remotes.conformance import Heard
from tests.support.trees import assert_same_tree, build_tree
from tests.test_undo import SITE, change, push, push_changes, take_back, there


@pytest.fixture
def flags(source: Path, dest: Path, state: Path) -> Flags:
    build_tree(source, SITE)
    return Flags(str(source), str(dest), state=str(state), mirror=True, allow_mass_delete=True, trash="30d")


@pytest.mark.parametrize("mirror", [True, False])
def test_what_is_back_does_not_go_or_move_with_the_folder_it_is_in(
    flags: Flags, source: Path, dest: Path, *, mirror: bool
) -> None:
    flags = replace(flags, mirror=mirror)
    build_tree(source, {"d": {"x": "held", "e": {"y": "held, too"}}, "f": {"x": "held", "z": "not"}})
    push(flags)
    (source / "d" / "x").unlink()
    shutil.rmtree(source / "f")
    (source / "d" / "e" / "y").unlink()
    push(flags, mirror=True)
    take_back(flags)
    (source / "d").rename(source / "r")
    push(flags)
    push(flags)
    assert (dest / "d" / "x").read_text() == "held"
    assert (dest / "d" / "e" / "y").read_text() == "held, too"
    assert (dest / "r" / "g").read_text() == "four"
    assert not (dest / "r" / "x").exists()
    shutil.rmtree(source / "r")
    push(flags)
    assert (dest / "d" / "x").read_text() == "held"
    assert (dest / "f" / "x").read_text() == "held"
    push(flags, release_held=True)
    assert (dest / "d" / "x").exists() is not mirror
    assert push(flags).plan.empty


def test_where_a_file_comes_nothing_is_held(flags: Flags, source: Path, dest: Path) -> None:
    push(flags)
    (source / "d" / "g").unlink()
    push(flags)
    take_back(flags)
    shutil.rmtree(source / "d")
    (source / "d").write_text("a file")
    push(flags)
    assert_same_tree(source, dest)
    assert push(flags).plan.empty


def test_once_src_has_it_again_it_is_held_no_more(flags: Flags, source: Path, dest: Path) -> None:
    (source / "empty").mkdir()
    (source / "m").chmod(0o755)
    push(flags)
    (source / "empty").rmdir()
    (source / "m").chmod(0o700)
    build_tree(source, {"new": {}})
    push(flags)
    take_back(flags)
    (source / "empty").mkdir()
    (source / "m").chmod(0o755)
    (source / "new").rmdir()
    assert push(flags).plan.empty
    (source / "empty").rmdir()
    (source / "m").chmod(0o700)
    build_tree(source, {"new": {}})
    push(flags)
    assert_same_tree(source, dest)


def test_again_of_one_path_leaves_the_others_held(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    take_back(flags)
    push(flags, release_held=True, only=(str(source / "a"),))
    assert (dest / "a").read_text() == "one, anew"
    assert push(flags).plan.empty
    assert (dest / "b").exists()


@pytest.mark.parametrize(
    "other",
    [
        {"times": "ignore"},
        {"perms": "ignore"},
        {"perms": "remote"},
        {"mirror": False},
    ],
)
def test_another_option_is_no_change_of_src(
    flags: Flags, source: Path, dest: Path, other: dict[str, object]
) -> None:
    push_changes(flags, source, dest)
    take_back(flags)
    for now in (other, {}):
        push(flags, **now)
        assert (dest / "a").read_text() == "one"
        assert (dest / "m" / "x").exists()
        assert not (dest / "n").exists()


def test_a_filter_that_comes_and_goes_is_none(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    take_back(flags)
    before = there(dest)
    for exclude in (("/a", "/n", "/b", "m*"), ()):
        push(flags, exclude=exclude)
        assert there(dest) == before


def test_what_was_never_begun_holds_nothing(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    dest.rename(dest.with_name("away"))
    dest.write_text("in its place")
    with pytest.raises(ReconcileError):
        undo(make_job(flags), Heard())
    assert not recall_undone(make_job(flags).state).paths
    dest.unlink()
    dest.with_name("away").rename(dest)
    take_back(flags)
    assert (dest / "b").exists()


@pytest.mark.parametrize("first", [None, "remote"])
def test_it_goes_along_where_the_state_goes(
    flags: Flags,
    source: Path,
    dest: Path,
    state: Path,
    first: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    one, other = (replace(flags, state=where, job="site") for where in (first, None if first else "remote"))
    push(one)
    before = there(dest)
    change(source)
    push(one)
    take_back(one)
    assert push(other).plan.empty
    assert there(dest) == before
    (source / "more").write_text("more")
    push(other)
    take_back(other)
    assert push(one).plan.empty, "what was held before is not all that is held by now"
    assert push(one).plan.empty
    push(one, release_held=True)
    assert_same_tree(source, dest)
    assert push(other).plan.empty
    assert_same_tree(source, dest)


def test_a_plan_of_before_is_refused_and_one_of_what_is_held_is_carried_out(
    flags: Flags, source: Path, dest: Path
) -> None:
    push_changes(flags, source, dest)
    take_back(flags)
    assert make_plan(make_job(flags), Heard()).plan.empty
    planned = make_plan(make_job(replace(flags, release_held=True)), Heard()).plan
    assert not planned.empty
    assert make_plan(make_job(flags), Heard()).plan.empty
