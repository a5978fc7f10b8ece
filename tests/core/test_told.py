"""What moves is told as a move, though it is a new file, and later a delete."""

from __future__ import annotations

from reconcile.core.job import Options, Result
from reconcile.core.model import Action, Kind, Op, Plan
from reconcile.core.told import as_told
from tests.support.world import World, files, ops, synced

MIRROR = Options(mirror=True, allow_mass_delete=True)


def told(plan: Plan) -> list[str]:
    return sorted(ops(Plan([list(as_told(plan))])))


def with_page() -> World:
    world = synced(*files(3, "img"), *files(2, "img/deep"))
    world.local.put("index.html", Kind.FILE, "names img")
    world.reconcile(Options())
    world.local.put("index.html", Kind.FILE, "names what it names now")
    return world


def test_a_folder_that_moves_whole_is_one_move() -> None:
    world = with_page()
    world.local.rename("img", "pictures")
    for options in (Options(), MIRROR):
        plan = world.plan(options)
        assert told(plan) == ["modify index.html", "move img pictures"]
        [move] = [action for action in as_told(plan) if action.op is Op.MOVE]
        assert (move.entries, move.kind, move.bytes) == (7, Kind.DIR, 0)
    _, outcomes = world.reconcile(MIRROR)
    ended = [outcome.action for outcome in outcomes]
    assert sorted(ops(Plan([Result("run", "", "", plan, ended).done]))) == told(plan)


def test_of_a_folder_that_moves_in_part_the_rest_is_deleted() -> None:
    world = with_page()
    world.local.rename("img", "pictures")
    world.local.remove("pictures/f1")
    plan = world.plan(MIRROR)
    assert told(plan) == [
        "delete img",
        "mkdir pictures",
        "mkdir pictures/deep",
        "modify index.html",
        *(f"move img/{name} pictures/{name}" for name in ("deep/f0", "deep/f1", "f0", "f2")),
    ]
    [delete] = [action for action in as_told(plan) if action.op is Op.DELETE]
    assert [name for name, _ in delete.members] == ["deep", "f1"]
    assert delete.entries == 3


def test_a_file_that_moves_is_one_move_and_what_is_new_stays_new() -> None:
    world = with_page()
    world.local.rename("img/f1", "img/renamed")
    world.local.put("img/new", Kind.FILE, "new")
    assert told(world.plan(Options())) == ["create img/new", "modify index.html", "move img/f1 img/renamed"]


def test_what_did_not_come_to_its_end_is_told_as_far_as_it_did() -> None:
    world = with_page()
    world.local.rename("img", "pictures")
    plan = world.plan(MIRROR)
    some = [action for action in plan.actions if action.op is not Op.DELETE][:4]
    shown = [action for action in as_told(plan, some) if action.op is Op.MOVE]
    assert shown
    assert all(action.kind is Kind.FILE for action in shown)


def test_a_plan_in_which_nothing_is_there_twice_is_told_as_it_is() -> None:
    world = synced(*files(3, "img"))
    world.local.rename("img", "pictures")
    plan = world.plan(Options())
    assert list(as_told(plan)) == list[Action](plan.actions)
