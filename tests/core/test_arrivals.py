"""What the remote does not rename: sent anew in the same run, and no copy goes before another has come."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.apply.connection import Retrying
from reconcile.apply.levels import apply
from reconcile.core.arrivals import lost
from reconcile.core.diff import diff, fill, infer, unread
from reconcile.core.errors import Refused
from reconcile.core.guard import guard
from reconcile.core.job import Options, Stop
from reconcile.core.model import Action, Kind, Op, Outcome, Plan, Problem, Reason, Stage
from reconcile.core.plan import make_plan
from reconcile.remotes import FORGETFUL
from tests.support.memory import MemoryRemote, Tree, visible
from tests.support.world import JOB, SILENT, Steps, World, files, synced, trees

MIRROR = Options(mirror=True)


def without_moves(world: World, problems: Sequence[Problem] = ()) -> Plan:
    """The plan of a second pass, after a rename was refused."""
    scan = world.local.scan()
    changes = infer(diff(world.snapshot, scan, world.filter, MIRROR), MIRROR)
    failed = {problem.path for problem in problems}
    contents = world.local.read((path, e) for path, e in unread(changes) if path not in failed)
    changes = infer(fill(changes, contents, failed), MIRROR)
    return make_plan(world.snapshot, scan, changes, MIRROR, problems, moves=False)


def carried_out(world: World, plan: Plan, failing: frozenset[str] = frozenset()) -> list[Outcome]:
    remote = MemoryRemote(world.remote, world.local, failing)
    line = Retrying(JOB, SILENT, lambda _job, _reporter, _memory: remote, Stop(), FORGETFUL)
    return list(apply(plan, line, None, Stop()))  # type: ignore[arg-type]  # nothing is read from disk


def deletes(plan: Plan) -> dict[str, Action]:
    return {action.path: action for action in plan.actions if action.op is Op.DELETE}


def test_a_delete_waits_for_the_upload_of_what_it_takes_away() -> None:
    world = synced(*files(3, "album"))
    world.local.rename("album", "other")
    plan = without_moves(world)
    assert set(deletes(plan)["album"].awaits) == {f"other/f{n}" for n in range(3)}
    assert lost(deletes(plan)["album"]) == 0
    outcomes = carried_out(world, plan, frozenset({"other/f1"}))
    told = {o.action.path: o.problem.reason for o in outcomes if o.problem is not None}
    assert told == {"other/f1": Reason.FAILED, "album": Reason.PREREQUISITE}
    assert world.remote["album/f1"].content == "album content 1"
    assert all(outcome.done for outcome in carried_out(world, deletes_only(plan)))


def deletes_only(plan: Plan) -> Plan:
    return Plan([[replace(action, awaits=()) for action in deletes(plan).values()]])


def test_what_makes_room_and_can_not_wait_is_kept() -> None:
    world = synced(*files(3, "album"))
    world.local.rename("album", "other")
    world.local.put("album", Kind.FILE, "a file in its place")
    assert deletes(without_moves(world))["album"].keep


def test_content_that_can_not_be_read_now_counts_as_an_upload_that_fails() -> None:
    world = synced(lambda tree: tree.put("a", Kind.FILE, "the only copy"))
    world.local.rename("a", "b")
    unread = [Problem("b", Stage.HASH, Reason.UNREADABLE, "no")]
    (outcome,) = carried_out(world, without_moves(world, unread))
    assert outcome.problem is not None
    assert outcome.problem.reason is Reason.PREREQUISITE
    assert world.remote["a"].content == "the only copy"


def test_what_comes_to_another_place_is_no_delete_to_be_guarded_against() -> None:
    world = synced(*files(30, "album"))
    world.local.rename("album", "other")
    guard(without_moves(world), world.snapshot, world.local.scan(), MIRROR)


def test_a_second_pass_counts_what_the_first_has_deleted() -> None:
    world = synced(*files(30, "kept"), *files(20, "gone"))
    world.local.remove("gone")
    plan, scan = world.plan(MIRROR), world.local.scan()
    guard(plan, world.snapshot, scan, MIRROR, spent=0)
    with pytest.raises(Refused) as caught:
        guard(plan, world.snapshot, scan, MIRROR, spent=20)
    assert "was not tried once more" in str(caught.value)
    assert "Nothing was done" not in str(caught.value)


def test_deletes_that_were_let_through_need_no_leave_again() -> None:
    world = synced(*files(5, "kept"), *files(20, "gone"))
    world.local.remove("gone")
    plan, scan = world.plan(MIRROR), world.local.scan()
    with pytest.raises(Refused):
        guard(plan, world.snapshot, scan, MIRROR)
    guard(plan, world.snapshot, scan, MIRROR, overdue={"gone": 21})
    with pytest.raises(Refused):  # more has gone there since
        guard(plan, world.snapshot, scan, MIRROR, overdue={"gone": 4})


@given(trees(3), trees(1), st.data())
def test_no_delete_takes_the_only_copy_of_what_is_here(
    first: Steps, second: Steps, data: st.DataObject
) -> None:
    world = World()
    world.edit(first)
    world.reconcile(MIRROR)
    before = dict(world.remote)
    world.edit(second)
    plan = without_moves(world)
    uploads = sorted({a.path for a in plan.actions if a.bytes})
    failing = frozenset(data.draw(st.sets(st.sampled_from(uploads)))) if uploads else frozenset()
    outcomes = carried_out(world, plan, failing)
    gone = {
        node.content
        for o in outcomes
        if o.done and o.action.op is Op.DELETE and not o.action.keep
        for path, node in before.items()
        if (path == o.action.path or path.startswith(f"{o.action.path}/")) and node.kind is Kind.FILE
    }
    left = contents(world.remote)
    replaced = {before[a.path].content for a in plan.actions if a.op is Op.MODIFY and a.path in before}
    assert (gone & contents(world.local.nodes)) - {""} <= left | replaced
    if not failing:
        assert visible(world.remote) == visible(world.local.nodes)


def contents(tree: Tree) -> set[str]:
    return {node.content for node in tree.values() if node.kind is Kind.FILE}
