"""The cheapest plan for what people do to folders: what it costs, and in which order.

As it takes ``diff``, ``moves`` and ``order`` to make one, these are tried here, too.
"""

from __future__ import annotations

import pytest

from reconcile.core.job import Options
from reconcile.core.model import (
    Kind,
    Op,
)
from tests.support.memory import visible
from tests.support.world import (
    assert_done,
    files,
    ops,
    synced,
)


def test_a_renamed_directory_is_one_move() -> None:
    world = synced(*files(50, "photos"))
    world.local.rename("photos", "pictures")
    plan, _ = world.reconcile(Options())
    assert ops(plan) == ["move photos pictures"]
    assert visible(world.remote) == visible(world.local.nodes)


def test_a_renamed_directory_with_edits_inside() -> None:
    world = synced(*files(10, "photos"))
    world.local.rename("photos", "pictures")
    world.local.put("pictures/f1", Kind.FILE, "edited")
    world.local.rename("pictures/f2", "pictures/g2")
    world.local.remove("pictures/f3")
    world.local.put("pictures/new", Kind.FILE, "brand new")
    plan, _ = world.reconcile(Options(mirror=True))
    assert sorted(ops(plan)) == [
        "create pictures/new",
        "delete pictures/f3",
        "modify pictures/f1",
        "move photos pictures",
        "move pictures/f2 pictures/g2",
    ]
    assert visible(world.remote) == visible(world.local.nodes)


def test_rotated_directories_move_last_first() -> None:
    world = synced(*files(3, "daily.0"), *files(4, "daily.1"))
    world.local.rename("daily.1", "daily.2")
    world.local.rename("daily.0", "daily.1")
    plan, _ = world.reconcile(Options())
    assert ops(plan) == ["move daily.1 daily.2", "move daily.0 daily.1"]
    assert visible(world.remote) == visible(world.local.nodes)


def test_a_directory_moves_onto_a_deleted_one() -> None:
    world = synced(*files(3, "build"), *files(4, "live"))
    world.local.rename("build", "live")
    plan, _ = world.reconcile(Options(mirror=True))
    assert ops(plan) == ["delete live", "move build live"]
    assert visible(world.remote) == visible(world.local.nodes)


def test_move_away_and_make_anew() -> None:
    world = synced(*files(3, "build"))
    world.local.rename("build", "old")
    world.local.put("build", Kind.DIR, mode=0o755)
    plan, _ = world.reconcile(Options())
    assert ops(plan) == ["move build old", "mkdir build"]


@pytest.mark.parametrize("folder", [True, False])
def test_swapped_names_go_aside_and_home(folder: bool) -> None:
    world = synced(*files(3, "a"), *files(4, "b"))
    one, two = ("a", "b") if folder else ("a/f1", "b/f2")
    world.local.rename(one, "tmp")
    world.local.rename(two, one)
    world.local.rename("tmp", two)
    plan, _ = world.reconcile(Options())
    assert [[a.parks for a in level] for level in plan.levels] == [[True] * 2, [False] * 2]
    assert visible(world.remote) == visible(world.local.nodes)


def test_a_new_tree_is_one_level() -> None:
    world = synced(*files(1, "kept"))
    world.edit([*files(1, "a"), *files(1, "a/b/c"), *files(1, "a/b/d")])
    plan, _ = world.reconcile(Options())
    assert [[action.path for action in level] for level in plan.levels] == [
        ["a", "a/b", "a/b/c", "a/b/d"],
        ["a/b/c/f0", "a/b/d/f0", "a/f0"],
    ]


def test_a_case_only_rename_is_parked() -> None:
    world = synced(*files(3, "Photos"))
    world.local.rename("Photos", "photos")
    plan, _ = world.reconcile(Options())
    assert [(a.op, a.parks) for a in plan.actions] == [(Op.MOVE, True), (Op.MOVE, False)]


def test_a_directory_moves_into_its_own_former_name() -> None:
    world = synced(*files(3, "a"))
    world.local.rename("a", "tmp")
    world.local.put("a", Kind.DIR, mode=0o755)
    world.local.rename("tmp", "a/b")
    plan, _ = world.reconcile(Options())
    assert [a.op for a in plan.actions] == [Op.MOVE, Op.MKDIR, Op.MOVE]
    assert visible(world.remote) == visible(world.local.nodes)


def test_a_rotated_log_costs_moves_and_one_create() -> None:
    world = synced(*(lambda t, n=n: t.put(f"log.{n}", Kind.FILE, f"day {n}") for n in range(4)))
    for n in range(3, -1, -1):
        world.local.rename(f"log.{n}", f"log.{n + 1}")
    world.local.put("log.0", Kind.FILE, "a new day")
    plan, _ = world.reconcile(Options(mirror=True))
    assert ops(plan) == [*(f"move log.{n} log.{n + 1}" for n in range(3, -1, -1)), "create log.0"]
    assert visible(world.remote) == visible(world.local.nodes)


def test_a_directory_without_write_permission_is_opened_and_closed() -> None:
    world = synced(*files(2, "d"), lambda tree: tree.chmod("d", 0o555))
    assert world.remote["d"].mode == 0o555
    world.local.put("d/new", Kind.FILE, "new")
    plan, _ = world.reconcile(Options())
    assert ops(plan) == ["setmeta d", "create d/new", "setmeta d"]
    assert world.remote["d"].mode == 0o555


def test_a_directory_that_is_opened_to_be_emptied_is_not_closed_again() -> None:
    world = synced(*files(2, "d"), lambda tree: tree.chmod("d", 0o500))
    world.local.rename("d/f1", "f1")
    world.local.remove("d")
    plan, outcomes = world.reconcile(Options(mirror=True))
    assert_done(outcomes)
    assert ops(plan) == ["setmeta d", "move d/f1 f1", "delete d"]


@pytest.mark.parametrize("since", ["before", "at once"])
def test_what_a_filter_leaves_out_stays_with_its_folder_until_it_does_no_more(since: str) -> None:
    world = synced(*files(3, "d"), *files(2, "d/in"), *files(1, "kept"))
    if since == "before":
        world.hidden = ("d/in/f1",)
        world.reconcile(Options(mirror=True))
    world.hidden = ("d/in/f1",)
    world.local.remove("d")
    plan, outcomes = world.reconcile(Options(mirror=True))
    assert_done(outcomes)
    assert sorted(ops(plan)) == ["delete d/f0", "delete d/f1", "delete d/f2", "delete d/in/f0"]
    assert sum(action.entries for action in plan.actions) == 4
    assert [note.path for note in plan.notes] == ["d", "d/in"]
    assert world.remote.keys() == {"d", "d/in", "d/in/f1", "kept", "kept/f0"}
    again = world.plan(Options(mirror=True))
    assert again.empty
    assert not again.notes
    world.hidden = ()
    plan, outcomes = world.reconcile(Options(mirror=True))
    assert_done(outcomes)
    assert ops(plan) == ["delete d"]
    assert [action.entries for action in plan.actions] == [3]
    assert world.remote.keys() == {"kept", "kept/f0"}


def test_a_filter_that_goes_takes_its_flag_along() -> None:
    world = synced(*files(2, "d"), *files(1, "kept"))
    world.hidden = ("d/f1",)
    world.reconcile(Options(mirror=True))
    world.hidden = ()
    world.local.remove("d")
    plan, outcomes = world.reconcile(Options(mirror=True))
    assert_done(outcomes)
    assert [(action.path, action.entries) for action in plan.actions] == [("d", 3)]
    assert world.remote.keys() == {"kept", "kept/f0"}
