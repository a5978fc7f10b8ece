from __future__ import annotations

import pytest

from reconcile.core.hidden import tell_history, tell_left_out, tell_newly_excluded
from reconcile.core.job import Options
from reconcile.core.model import Action, DirectorySnapshot, Entry, Kind, Op, PlainDirectory, Plan
from tests.support.world import World, assert_done, files, ops, synced

MIRROR = Options(mirror=True)
SWEEPING = Options(mirror=True, delete_excluded=True)


def with_history() -> World:
    return synced(*files(2, ".git"), *files(2, "site"))


def test_what_is_left_out_by_default_is_counted() -> None:
    assert tell_left_out({}) is None
    said = tell_left_out({"Thumbs.db": 1200, ".git": 1, ".hg": 0})
    assert said == "left out: 1 .git, 1,200 Thumbs.db (--no-default-excludes sends them)"


def test_what_is_left_out_only_now_is_named_once() -> None:
    world = with_history()
    world.hidden = (".git",)
    plan = world.plan(MIRROR)
    said = tell_newly_excluded(plan, world.snapshot, mirror=True)
    assert said is not None
    assert said.startswith("3 entries are left out now, which DEST holds still: '.git/'. ")
    assert said.endswith(" with --delete-excluded")
    assert "with --mirror --delete-excluded" in (
        tell_newly_excluded(plan, world.snapshot, mirror=False) or ""
    )
    assert ops(plan) == []
    world.reconcile(MIRROR)
    assert tell_newly_excluded(world.plan(MIRROR), world.snapshot, mirror=True) is None


def test_of_many_some_are_named() -> None:
    entry = Entry(Kind.FILE, 0o644)
    old = DirectorySnapshot({"": PlainDirectory({f"f{n}": entry for n in range(5)})})
    plan = Plan(restamped={f"f{n}": Entry(Kind.FILE, 0o644, excluded=True) for n in range(5)})
    said = tell_newly_excluded(plan, old, mirror=True)
    assert said is not None
    assert ": 'f0', 'f1', 'f2' and 2 more. " in said


@pytest.mark.parametrize("told_before", [False, True])
def test_it_is_deleted_there_where_that_is_asked_for(told_before: bool) -> None:
    world = with_history()
    world.hidden = (".git", "site/f1")
    if told_before:
        world.reconcile(MIRROR)
    plan, outcomes = world.reconcile(SWEEPING)
    assert_done(outcomes)
    assert sorted(ops(plan)) == ["delete .git", "delete site/f1"]
    assert sorted(world.remote) == ["site", "site/f0"]
    world.check_snapshot()
    assert ops(world.plan(SWEEPING)) == ops(world.plan(MIRROR)) == []
    world.hidden = ()  # it is here still, and comes again
    assert ops(world.plan(MIRROR)) == ["mkdir .git", "create .git/f0", "create .git/f1", "create site/f1"]


def test_a_folder_that_moves_leaves_nothing_excluded_behind() -> None:
    world = synced(*files(3, "a"))
    world.hidden = ("a/f1", "b/f1")
    world.reconcile(MIRROR)
    world.local.rename("a", "b")
    for _ in range(2):
        assert_done(world.reconcile(SWEEPING)[1])
    assert sorted(world.remote) == ["b", "b/f0", "b/f2"]
    world.check_snapshot()


def test_the_history_of_a_project_is_told_when_it_goes_along() -> None:
    new = Entry(Kind.DIR, 0o755)
    assert (
        tell_history(Plan(levels=[[Action(Op.MKDIR, "sub/.git", new), Action(Op.CREATE, ".git", new)]]))
        is None
    )
    said = tell_history(Plan(levels=[[Action(Op.MKDIR, ".hg", new)]]))
    assert said is not None
    assert said.startswith("'.hg/' is new to DEST")
    assert said.endswith("--exclude .hg/")
