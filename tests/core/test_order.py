"""Renumbered files and folders: long chains and circles go aside at once, and home at once. None is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconcile.apply.connection import Retrying
from reconcile.apply.levels import apply, way_home
from reconcile.apply.recover import foresee, recover
from reconcile.core.fold import fold
from reconcile.core.job import Options, Stop
from reconcile.core.model import Action, DirectorySnapshot, Entry, Footing, Kind, Op, Outcome, Plan
from reconcile.core.order import MOST_IN_TURN, order
from reconcile.remotes import FORGETFUL
from reconcile.state.journal import Leftover
from tests.core.test_steps import assert_straight
from tests.support.memory import LocalTree, MemoryRemote, Tree, pack, visible
from tests.support.world import JOB, SILENT, World, assert_done

MIRROR = Options(mirror=True)
COUNT = 9

# Each name of the first ones takes the place of another: chains, circles, and what stays.
SHUFFLES = st.permutations(range(COUNT + 2)).map(lambda order: order[:COUNT])
FOLDERS = st.sets(st.integers(0, COUNT - 1))


def fill(tree: LocalTree, folders: set[int], top: str = "") -> None:
    for number in range(COUNT):
        if number in folders:
            for name in ("x", "in/y"):
                tree.put(f"{top}n{number}/{name}", Kind.FILE, f"{number} {name}")
        else:
            tree.put(f"{top}n{number}", Kind.FILE, f"content of {number}")


def shuffle(tree: LocalTree, places: Sequence[int], top: str = "") -> None:
    for number in range(COUNT):
        tree.rename(f"{top}n{number}", f"{top}aside{number}")
    for number, place in enumerate(places):
        tree.rename(f"{top}aside{number}", f"{top}n{place}")


def shuffled(places: Sequence[int], folders: set[int]) -> World:
    world = World()
    fill(world.local, folders)
    world.reconcile(MIRROR)
    shuffle(world.local, places)
    return world


def contents(*trees: Tree) -> Counter[str]:
    return Counter(node.content for tree in trees for node in tree.values() if node.kind is Kind.FILE)


ROTATED = [number + 1 for number in range(COUNT)]
TURNED = [*range(1, COUNT), 0]


@given(SHUFFLES, FOLDERS)
@example(ROTATED, set())
@example(TURNED, set())
@example(ROTATED, set(range(COUNT)))
@example(TURNED, {0, 3, 4})
def test_names_that_change_places(places: Sequence[int], folders: set[int]) -> None:
    world = shuffled(places, folders)
    plan, outcomes = world.reconcile(MIRROR)
    assert_done(outcomes)
    assert visible(world.remote) == visible(world.local.nodes)
    world.check_snapshot()
    assert world.plan(MIRROR).empty
    moves = [action for action in plan.actions if action.op is Op.MOVE and not action.parks]
    assert len(moves) == sum(number != place for number, place in enumerate(places))
    assert not plan.bytes_to_send
    assert len(plan.levels) <= MOST_IN_TURN


@given(SHUFFLES, FOLDERS, st.data())
def test_what_fails_on_the_way_is_not_lost(
    places: Sequence[int], folders: set[int], data: st.DataObject
) -> None:
    world = shuffled(places, folders)
    before = contents(world.remote)
    paths = sorted({action.path for action in world.plan(MIRROR).actions})
    failing = frozenset(data.draw(st.sets(st.sampled_from(paths), max_size=3))) if paths else frozenset()
    remote = attempt(world, failing)
    assert contents(world.remote) == before
    remote.set_aside()
    world.check_snapshot()
    _, outcomes = world.reconcile(MIRROR)
    assert_done(outcomes)
    assert visible(world.remote) == visible(world.local.nodes)


def test_a_place_that_can_not_be_left_brings_all_behind_it_home() -> None:
    """Nothing is left aside, and nobody is driven out by who comes home."""
    world = shuffled(ROTATED, set())
    remote = attempt(world, frozenset([f"n{COUNT}"]))  # where the foremost was to go
    assert not remote.parked
    assert {path: node.content for path, node in world.remote.items()} == {
        f"n{number}": f"content of {number}" for number in range(COUNT)
    }
    remote = attempt(world, frozenset(["n4"]))  # neither aside nor to there
    assert not remote.parked
    assert world.remote["n3"].content == "content of 3"
    assert world.remote["n4"].content == "content of 4"
    assert world.remote["n6"].content == "content of 5"


def attempt(world: World, failing: frozenset[str]) -> MemoryRemote:
    plan = world.plan(MIRROR)
    remote = MemoryRemote(world.remote, world.local, failing)
    outcomes = carry_out(plan, remote)
    world.snapshot = folded(world, plan, outcomes)
    return remote


def carry_out(plan: Plan, remote: MemoryRemote) -> list[Outcome]:
    line = Retrying(JOB, SILENT, lambda _job, _reporter, _memory: remote, Stop(), FORGETFUL)
    return list(apply(plan, line, None, Stop()))  # type: ignore[arg-type]  # nothing is read from disk


class OneQuestionAtATime(MemoryRemote):
    """As a session is: until a level has come to its end it can be asked nothing else."""

    busy = False

    def perform(self, *args: Any, **more: Any) -> Iterator[Outcome]:
        self.busy = True
        yield from super().perform(*args, **more)
        self.busy = False


def test_between_levels_the_remote_can_be_asked_something_else() -> None:
    world = shuffled(ROTATED, set())
    plan = world.plan(MIRROR)
    remote = OneQuestionAtATime(world.remote, world.local)
    line = Retrying(JOB, SILENT, lambda _job, _reporter, _memory: remote, Stop(), FORGETFUL)
    asked: list[bool] = []
    outcomes = apply(plan, line, None, Stop(), lambda: asked.append(remote.busy))  # type: ignore[arg-type]
    assert_done(list(outcomes))
    assert asked == [False] * (len(plan.levels) - 1)
    assert asked


def folded(world: World, plan: Plan, outcomes: list[Outcome]) -> DirectorySnapshot:
    trusted = world.local.clock * 10**9 + 10**9
    dirs = fold(world.snapshot, outcomes, plan.restamped, trusted).dirs
    return DirectorySnapshot(pack(dirs))


@given(SHUFFLES, FOLDERS, st.data())
@example(ROTATED, set(), None)
@example(TURNED, {1, 2}, None)
def test_a_run_that_dies_anywhere_is_recovered_from(
    places: Sequence[int], folders: set[int], data: st.DataObject | None
) -> None:
    world = shuffled(places, folders)
    before = contents(world.remote)
    plan = world.plan(MIRROR)
    cuts = [(depth, count) for depth, level in enumerate(plan.levels) for count in range(len(level) + 1)]
    for depth, count in cuts if data is None else [data.draw(st.sampled_from(cuts))] if cuts else []:
        there = dict(world.remote)
        remote = MemoryRemote(there, world.local)
        known = [outcome for level in plan.levels[:depth] for outcome in remote.perform(level)]
        list(remote.perform(plan.levels[depth][:count]))  # done, and never heard of
        leftover = Leftover("", 0, 1 << 62, plan.levels, known)
        foreseen = foresee(world.snapshot, leftover, Footing(""), remote, None)  # type: ignore[arg-type]
        new = recover(world.snapshot, leftover, remote, None)  # type: ignore[arg-type]
        assert not remote.parked, "something was left parked"
        assert contents(there) == before
        assert_true(new, there)
        assert {path for path, _ in foreseen.walk()} == {path for path, _ in new.walk()}
        after = World(world.local, there, DirectorySnapshot(pack(new.dirs)))
        _, outcomes = after.reconcile(MIRROR)
        assert_done(outcomes)
        assert visible(there) == visible(world.local.nodes)


def assert_true(snapshot: DirectorySnapshot, there: Tree) -> None:
    for path, entry in snapshot.walk():
        node = there[path]
        assert (node.kind, len(node.content) if entry.kind is Kind.FILE else 0) == (entry.kind, entry.size)


def test_a_recovery_that_dies_is_recovered_from() -> None:
    world = shuffled(ROTATED, {2})
    plan = world.plan(MIRROR)
    for homes in range(COUNT):
        there = dict(world.remote)
        remote = MemoryRemote(there, world.local)
        known = list(remote.perform(plan.levels[0]))
        leftover = Leftover("", 0, 1 << 62, plan.levels, known)
        stranded = [action for action in plan.levels[1] if action.home is not None]
        for action in stranded[:homes]:
            back = way_home(action)
            assert all(outcome.done for outcome in remote.perform([back]))
        new = recover(world.snapshot, leftover, remote, None)  # type: ignore[arg-type]
        assert not remote.parked
        assert_true(new, there)
        assert contents(there) == contents(world.remote)


def moves(pairs: Sequence[tuple[str, str]], kind: Kind = Kind.FILE) -> list[Action]:
    entry = Entry(kind, 0o755)
    return [Action(Op.MOVE, path, new=entry, moved=entry, source=source) for source, path in pairs]


def depths(steps: list[Action]) -> list[int]:
    return [len(level) for level in order(steps)]


def test_short_ones_are_never_out_of_sight_and_long_ones_take_two_levels() -> None:
    def chain(count: int) -> list[Action]:
        return moves([(f"n{number}", f"n{number + 1}") for number in range(count)])

    assert depths(chain(MOST_IN_TURN)) == [1] * MOST_IN_TURN
    assert depths(chain(300)) == [299, 299]
    circle = [*chain(1), *moves([("n1", "n0")])]
    assert depths(circle) == [2, 2]
    circle = [*chain(299), *moves([("n299", "n0")])]
    assert depths(circle) == [300, 300]


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("kind", [Kind.FILE, Kind.DIR])
def test_ordering_a_chain_takes_steps_as_it_is_long(kind: Kind, forward: bool) -> None:
    def pairs(number: int) -> list[tuple[str, str]]:
        step = 1 if forward else -1
        return [(f"d/n{each:06}", f"d/n{each + step:06}") for each in range(1, number + 1)]

    assert_straight(lambda number: lambda: order(moves(pairs(number), kind)))


def test_ordering_many_swaps_takes_steps_as_they_are_many() -> None:
    def pairs(number: int) -> list[tuple[str, str]]:
        return [(f"{a}{each}", f"{b}{each}") for each in range(number) for a, b in ("xy", "yx")]

    assert_straight(lambda number: lambda: order(moves(pairs(number))))


def test_emptying_many_folders_takes_steps_as_they_are_many() -> None:
    """Each goes, in the way of a file, once what is in it has moved out."""
    folder = Entry(Kind.DIR, 0o755)

    def steps(number: int) -> list[Action]:
        names = [f"d{each}" for each in range(number)]
        deletes = [Action(Op.DELETE, name, old=folder, source=name, whole=True) for name in names]
        return deletes + moves([(f"{name}/{each}", f"{each}-{name}") for name in names for each in "ab"])

    assert_straight(lambda number: lambda: order(steps(number)))


def test_a_failing_chain_takes_steps_as_it_is_long() -> None:
    def prepare(number: int) -> Callable[[], object]:
        tree: Tree = {}
        local = LocalTree()
        for each in range(number):
            local.put(f"n{each:06}", Kind.FILE, f"{each}")
        plan = Plan(order(moves([(f"n{each:06}", f"n{each + 1:06}") for each in range(number)])))
        remote = MemoryRemote(tree, local)  # in which nothing is
        return lambda: carry_out(plan, remote)

    assert_straight(prepare)
