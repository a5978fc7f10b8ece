"""Random trees, perturbed and reconciled on a remote in memory: what must hold for all of them.

Of the core: ``diff``, ``moves``, ``plan``, ``order``, ``fold`` and ``paths`` together.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from reconcile.core import fold as folding
from reconcile.core.job import Options
from reconcile.core.model import (
    Kind,
    Op,
)
from reconcile.core.paths import ancestors
from tests.support.memory import Node, visible
from tests.support.world import (
    NAMES,
    Edit,
    Steps,
    World,
    assert_done,
    trees,
)


@pytest.fixture(scope="module", autouse=True)
def restless() -> Iterator[None]:
    """Directories are packed, and opened again, all the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "REST_EVERY", 2)
        yield


@given(trees(), trees(), trees())
def test_a_mirror_becomes_the_folder(first: Steps, second: Steps, third: Steps) -> None:
    world, options = World(), Options(mirror=True)
    for steps in (first, second, third):
        world.edit(steps)
        _plan, outcomes = world.reconcile(options)
        assert_done(outcomes)
        assert visible(world.remote) == visible(world.local.nodes)
        world.check_snapshot()
        again = world.plan(options)
        assert again.empty
        assert not again.restamped


@given(trees(), trees(), trees())
def test_without_mirror_nothing_is_lost_and_the_folder_wins(
    first: Steps, second: Steps, third: Steps
) -> None:
    world, options = World(), Options()
    for steps in (first, second, third):
        world.edit(steps)
        _, outcomes = world.reconcile(options)
        assert_done(outcomes)
        here, there = visible(world.local.nodes), visible(world.remote)
        assert {path: there.get(path) for path in here} == here
        world.check_snapshot()
        retained = {path for path, entry in world.snapshot.walk() if entry.retained}
        assert retained == there.keys() - here.keys()
        assert world.plan(options).empty
    world.reconcile(Options(mirror=True))
    assert visible(world.remote) == visible(world.local.nodes)


@given(trees(1), st.data())
def test_what_failed_is_asked_for_again(steps: Steps, data: st.DataObject) -> None:
    world, options = World(), Options(mirror=True)
    for _ in range(3):
        world.edit(steps)
        paths = sorted({a.path for a in world.plan(options).actions})
        failing = frozenset(data.draw(st.sets(st.sampled_from(paths)))) if paths else frozenset()
        world.reconcile(options, failing)
        world.check_snapshot()
        steps = data.draw(trees())
    _, outcomes = world.reconcile(options)
    assert_done(outcomes)
    assert visible(world.remote) == visible(world.local.nodes)


@given(trees(3), trees(), st.sets(NAMES, max_size=2), st.booleans())
def test_excluded_and_foreign_content_stays(
    first: Steps, second: Steps, hidden: set[str], mirror: bool
) -> None:
    world, options = World(), Options(mirror=mirror)
    world.edit(first)
    world.reconcile(options)
    foreign = {"z-foreign": Node(Kind.FILE, "theirs"), "a/z-foreign": Node(Kind.FILE, "theirs")}
    if world.remote.get("a", Node(Kind.FILE)).kind is not Kind.DIR:
        del foreign["a/z-foreign"]
    world.remote |= foreign
    excluded = {p: n for p, n in world.remote.items() if any(top in hidden for top in ancestors(p))}
    world.hidden = tuple(hidden)
    world.edit(second)
    plan, _ = world.reconcile(options)
    assert not any(top in hidden for a in plan.actions for top in ancestors(a.path) if a.op is not Op.MOVE)
    assert world.remote["z-foreign"].content == "theirs"
    theirs = [node for node in world.remote.values() if node.content == "theirs"]
    cleared = any(a.whole or (a.op is Op.MOVE and a.kind is Kind.DIR) for a in plan.actions)
    assert cleared or len(theirs) == len(foreign)
    assert cleared or {p: n for p, n in excluded.items() if world.remote.get(p) != n} == {}


@given(trees(3), trees(), st.sets(NAMES, max_size=2), st.booleans())
def test_a_filter_that_comes_and_goes_leaves_nothing_behind(
    first: Steps, second: Steps, hidden: set[str], mirror: bool
) -> None:
    world, options = World(), Options(mirror=mirror)
    world.edit(first)
    world.reconcile(options)
    world.hidden = tuple(hidden)
    world.edit(second)
    _, outcomes = world.reconcile(options)
    assert_done(outcomes)
    again = world.plan(options)
    assert again.empty
    world.check_snapshot()
    world.hidden = ()
    world.reconcile(Options(mirror=True))
    assert visible(world.remote) == visible(world.local.nodes)
    world.check_snapshot()


@given(trees(3), trees(), st.integers(0, 99), st.booleans())
@example(  # it is new, in a directory that moves
    [Edit("file", "a", "", ""), Edit("file", "b/a", "", "")],
    [Edit("file", "b", "a", ""), Edit("file", "a/a", "a", ""), Edit("file", "a/b/a", "a", "")],
    1,
    False,
)
def test_nothing_under_an_unreadable_directory_is_planned(
    first: Steps, second: Steps, which: int, mirror: bool
) -> None:
    world, options = World(), Options(mirror=mirror)
    world.edit(first)
    world.reconcile(options)
    world.edit(second)
    folders = sorted(path for path, node in world.local.nodes.items() if path and node.kind is Kind.DIR)
    assume(folders)
    unknown = [folders[which % len(folders)]]
    plan = world.plan(options, world.local.scan(unknown=unknown))
    for action in plan.actions:
        for top in unknown:
            assert not action.path.startswith(f"{top}/")
            assert action.source is None or not action.source.startswith(f"{top}/")
            gone = {f"{action.path}/{inside}" for inside, _ in action.members} | {action.path}
            assert top not in gone
            assert not any(p.startswith(f"{top}/") for p in gone)


@given(trees(1))
def test_every_path_costs_one_action_at_most(steps: Steps) -> None:
    world, options = World(), Options(mirror=True)
    world.edit(steps[: len(steps) // 2])
    world.reconcile(options)
    world.edit(steps[len(steps) // 2 :])
    brought = [
        a.path for a in world.plan(options).actions if a.op in (Op.CREATE, Op.MODIFY, Op.MOVE, Op.MKDIR)
    ]
    assert len(brought) == len(set(brought))
