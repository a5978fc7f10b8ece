"""What a plan is for a remote that can do less: no directories, no renames, no modes, times or links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from msgspec.structs import replace

from reconcile.core.caps import as_kept, note_lacks
from reconcile.core.job import Links, Options
from reconcile.core.model import Action, Caps, Entry, Kind, Op, Plan
from reconcile.core.paths import ancestors, join, parent
from tests.support.memory import MemoryRemote, Node, Refusal, Tree, visible
from tests.support.world import Steps, World, assert_done, files, trees

FLAT = Caps(dirs=False, rename=False, modes=False)
COPIES = replace(FLAT, copy=True)


@dataclass
class Flat(MemoryRemote):
    """A store of names and contents: it knows no directory, and renames nothing unless it copies."""

    caps: Caps = FLAT

    def _do(self, action: Action) -> dict[str, Entry | None]:
        assert action.kind is not Kind.DIR or action.op is Op.DELETE, action
        assert action.op is not Op.MOVE or self.caps.copy, action
        return super()._do(action)

    def _delete(self, action: Action) -> dict[str, Entry | None]:
        if action.kind is not Kind.DIR:
            return super()._delete(action)
        known = {join(action.path, inside): entry for inside, entry in action.members}
        for path, entry in known.items():
            if entry.kind is not Kind.DIR and not entry.excluded:
                self._expect(path, entry)
                del self.tree[path]
        if any(entry.excluded for entry in known.values()):
            raise Refusal("something stays in it")
        return {action.path: None}

    def _need_parent(self, path: str) -> None:
        """There are none."""


class FlatWorld(World):
    """The same with such a remote."""

    caps = FLAT
    remote_type = Flat

    def check_snapshot(self) -> None:
        there = {path for path, entry in self.snapshot.walk() if entry.kind is not Kind.DIR}
        assert there == self.remote.keys()
        for path in self.snapshot.dirs:
            assert not path or path in dict(self.snapshot.walk()), f"{path} is in no directory"


class CopyWorld(FlatWorld):
    """The same, and it copies."""

    caps = COPIES


@dataclass
class Marked(Flat):
    """One that copies, and shows a directory in which nothing is, if it is told to."""

    def _do(self, action: Action) -> dict[str, Entry | None]:
        if action.op is Op.MKDIR:
            assert action.new is not None
            assert action.path not in self.tree or self.tree[action.path].kind is Kind.DIR
            self.tree[action.path] = Node(Kind.DIR)
            return {action.path: action.new}
        return super()._do(action)

    def _delete(self, action: Action) -> dict[str, Entry | None]:
        effects = super()._delete(action)
        for path in [action.path, *(join(action.path, name) for name, _ in action.members)]:
            if action.kind is Kind.DIR and path in self.tree and self.tree[path].kind is Kind.DIR:
                del self.tree[path]
        return effects

    def _need_free(self, path: str) -> None:
        """A directory has a name of its own, which ends in a slash."""
        if path in self.tree and self.tree[path].kind is not Kind.DIR:
            super()._need_free(path)


class MarkedWorld(FlatWorld):
    """The same with such a remote."""

    caps = replace(COPIES, empty_dirs=True)
    remote_type = Marked


def folders(tree: Tree) -> set[str]:
    """Those that show, by themselves or by what is in them."""
    shown = {path for path, node in tree.items() if node.kind is Kind.DIR}
    return shown | {top for path in tree for top in ancestors(parent(path))}


@given(first=trees(), second=trees(), third=trees())
def test_empty_directories_show_where_that_can_be(first: Steps, second: Steps, third: Steps) -> None:
    world, options = MarkedWorld(), Options(mirror=True, links=Links.SKIP)
    for steps in (first, second, third):
        world.edit(steps)
        for path in [path for path, node in world.local.nodes.items() if node.kind is Kind.SYMLINK]:
            world.local.remove(path)
        _, outcomes = world.reconcile(options)
        assert_done(outcomes)
        assert contents(world, local=False) == contents(world, local=True)
        assert folders(world.remote) == folders(world.local.nodes)
        assert world.plan(options).empty


def contents(world: World, *, local: bool) -> dict[str, str]:
    """All but directories."""
    tree = world.local.nodes if local else world.remote
    return {path: node.content for path, node in tree.items() if node.kind is not Kind.DIR}


@pytest.mark.parametrize("kind", [FlatWorld, CopyWorld])
@given(first=trees(), second=trees(), third=trees())
def test_a_mirror_without_directories(kind: type[World], first: Steps, second: Steps, third: Steps) -> None:
    world, options = kind(), Options(mirror=True)
    for steps in (first, second, third):
        world.edit(steps)
        _, outcomes = world.reconcile(options)
        assert_done(outcomes)
        assert contents(world, local=False) == contents(world, local=True)
        world.check_snapshot()
        again = world.plan(options)
        assert again.empty
        assert not again.restamped


@given(trees(), trees())
def test_nothing_is_lost_without_directories_and_mirror(first: Steps, second: Steps) -> None:
    world, options = FlatWorld(), Options()
    for steps in (first, second):
        world.edit(steps)
        _, outcomes = world.reconcile(options)
        assert_done(outcomes)
        assert contents(world, local=True).items() <= contents(world, local=False).items()
        assert world.plan(options).empty


def notes(plan: Plan) -> Iterator[str]:
    return (note.message for note in plan.notes if not note.path)


def test_a_move_is_priced_as_it_is_made() -> None:
    worlds = {kind: kind() for kind in (World, FlatWorld, CopyWorld)}
    plans = {}
    for kind, world in worlds.items():
        world.edit(files(3, "photos"))
        world.reconcile(Options(mirror=True))
        world.local.rename("photos", "pictures")
        plans[kind] = world.plan(Options(mirror=True))
    assert [action.op for action in plans[World].actions] == [Op.MOVE]
    assert [action.op for action in plans[CopyWorld].actions] == [Op.MOVE] * 3 + [Op.DELETE]
    assert plans[World].bytes_to_send == plans[CopyWorld].bytes_to_send == 0
    assert [action.op for action in plans[FlatWorld].actions] == [Op.CREATE] * 3 + [Op.DELETE]
    assert plans[FlatWorld].bytes_to_send > 0
    assert any("renames nothing: what 1 moves" in note for note in notes(plans[FlatWorld]))
    assert any("3 files that move are copied there" in note for note in notes(plans[CopyWorld]))
    assert not any("renames nothing" in note for note in notes(plans[World]))


def test_empty_directories_are_told() -> None:
    world = FlatWorld()
    world.local.put("full/file", Kind.FILE, "content")
    world.local.put("empty", Kind.DIR)
    plan, _ = world.reconcile(Options())
    assert [action.op for action in plan.actions] == [Op.CREATE]
    assert list(notes(plan)) == ["DEST has no directories of their own: 1 that are empty do not show there"]


def test_a_directory_in_the_place_of_a_file_that_moved_away() -> None:
    world, options = CopyWorld(), Options(mirror=True)
    world.local.put("a", Kind.FILE, "content")
    world.reconcile(options)
    world.local.rename("a", "b")
    world.local.put("a/deep/file", Kind.FILE, "other")
    world.reconcile(options)
    world.check_snapshot()
    assert contents(world, local=False) == {"b": "content", "a/deep/file": "other"}


def test_what_is_not_kept_is_asked_of_nobody_and_told() -> None:
    poor = Caps(modes=False, times=False, links=False, replace=False)
    asked = Options()
    kept = as_kept(asked, poor)
    assert (kept.keeps_mode(Kind.FILE), kept.keep_times, kept.links) == (False, False, Links.SKIP)
    assert as_kept(replace(asked, links=Links.FOLLOW), poor).links is Links.FOLLOW
    assert as_kept(asked, Caps()) == asked
    wish = Entry(Kind.FILE, 0o644)
    plan = Plan([[Action(Op.MODIFY, "f", wish, wish)]])
    told = " ".join(note.message for note in note_lacks(plan, asked, poor))
    for word in ("permissions", "times", "links", "in one step"):
        assert word in told
    assert not list(note_lacks(plan, kept, poor))[:-1]
    assert not list(note_lacks(Plan(), asked, poor))


def test_modes_that_are_not_kept_are_no_change() -> None:
    world = FlatWorld()
    world.local.put("f", Kind.FILE, "content")
    world.reconcile(Options())
    world.local.chmod("f", 0o600)
    assert world.plan(Options()).empty
    assert visible(world.remote).keys() == {"f"}
