"""Random trees, perturbed and reconciled on a remote in memory: what must hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from reconcile.apply.connection import Retrying
from reconcile.apply.levels import apply
from reconcile.core import fold as folding
from reconcile.core.caps import as_kept
from reconcile.core.diff import diff, fill, fingerprint, infer, unread
from reconcile.core.filters import Filter, make_filter
from reconcile.core.fold import fold
from reconcile.core.job import Job, Options, Stop
from reconcile.core.model import (
    Caps,
    DirectorySnapshot,
    Kind,
    Op,
    Outcome,
    PlainDirectory,
    Plan,
    Scan,
)
from reconcile.core.paths import ancestors
from reconcile.core.plan import make_plan
from reconcile.remotes import FORGETFUL
from reconcile.remotes.ssh.target import SshTarget
from reconcile.report import Recorder
from tests.support.memory import LocalTree, MemoryRemote, Node, Tree, pack, visible

NAMES = st.sampled_from(["a", "b", "c", "A", "x.log"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.sampled_from(["", "one", "two", "six", "three"])


@dataclass(frozen=True)
class Edit:
    """One thing somebody does to a folder."""

    what: str
    path: str
    other: str
    content: str

    def __call__(self, tree: LocalTree) -> None:
        path, other, content = self.path, self.other, self.content
        match self.what:
            case "file":
                tree.put(path, Kind.FILE, content)
            case "link":
                tree.put(path, Kind.SYMLINK, content or "target")
            case "dir":
                tree.put(path, Kind.DIR, mode=0o755)
            case "remove":
                tree.remove(path)
            case "rename":
                tree.rename(path, other)
            case "swap":
                tree.rename(path, "tmp")
                tree.rename(other, path)
                tree.rename("tmp", other)
            case "chmod" if path in tree.nodes and tree.nodes[path].kind is not Kind.SYMLINK:
                tree.chmod(path, 0o755 if len(content) % 2 else 0o500)
            case "touch" if path in tree.nodes:
                tree.touch(path)


WHAT = ["file", "file", "link", "dir", "remove", "rename", "rename", "swap", "chmod", "touch"]
EDITS = st.builds(Edit, st.sampled_from(WHAT), PATHS, PATHS, CONTENTS)
Steps = list[Callable[[LocalTree], None]]


def trees(minimum: int = 0) -> st.SearchStrategy[Steps]:
    return st.lists(EDITS, min_size=minimum, max_size=12)


JOB = Job("/source", SshTarget("host", "/"), "/state")
SILENT = Recorder("run")


@dataclass
class World:
    """A folder, a remote and the snapshot between them."""

    local: LocalTree = field(default_factory=LocalTree)
    remote: Tree = field(default_factory=dict)
    snapshot: DirectorySnapshot = field(default_factory=lambda: DirectorySnapshot({"": PlainDirectory({})}))
    hidden: tuple[str, ...] = ()
    caps: ClassVar[Caps] = Caps()
    remote_type: ClassVar[type[MemoryRemote]] = MemoryRemote

    def edit(self, steps: Steps) -> None:
        for step in steps:
            step(self.local)

    @property
    def filter(self) -> Filter:
        return make_filter([f"/{path}" for path in self.hidden])

    def plan(self, options: Options, scan: Scan | None = None) -> Plan:
        options, scan = as_kept(options, self.caps), scan or self.local.scan(self.hidden)
        changes = infer(diff(self.snapshot, scan, self.filter, options), options)
        contents = self.local.read(unread(changes))
        changes = infer(fill(changes, contents, set()), options)
        return make_plan(self.snapshot, scan, changes, options, caps=self.caps)

    def reconcile(
        self, options: Options, failing: frozenset[str] = frozenset()
    ) -> tuple[Plan, list[Outcome]]:
        plan = self.plan(options)
        remote = self.remote_type(self.remote, self.local, failing, caps=self.caps)
        line = Retrying(JOB, SILENT, lambda _job, _reporter, _memory: remote, Stop(), FORGETFUL)
        outcomes = list(apply(plan, line, None, Stop()))  # type: ignore[arg-type]  # nothing is read from disk
        assert failing or not remote.parked, "something was left parked"
        remote.set_aside()
        dirs = fold(self.snapshot, outcomes, plan.restamped, self.local.clock * 10**9 + 10**9).dirs
        self.snapshot = DirectorySnapshot(
            pack(dirs), settled=fingerprint(as_kept(options, self.caps), self.filter)
        )
        return plan, outcomes

    def check_snapshot(self) -> None:
        """The snapshot says the truth about the remote."""
        known = dict(self.snapshot.walk())
        for path, entry in known.items():
            node = self.remote.get(path)
            assert node is not None, f"{path} is claimed and not there"
            assert node.kind is entry.kind
            if entry.kind is Kind.FILE:
                assert (node.mode, node.mtime, len(node.content)) == (entry.mode, entry.mtime, entry.size)


@pytest.fixture(scope="module", autouse=True)
def restless() -> Iterator[None]:
    """Directories are packed, and opened again, all the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "REST_EVERY", 2)
        yield


def assert_done(outcomes: list[Outcome]) -> None:
    assert [outcome.problem for outcome in outcomes if outcome.problem] == []


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


def files(count: int, folder: str) -> Steps:
    return [
        lambda tree, n=n: tree.put(f"{folder}/f{n}", Kind.FILE, f"{folder} content {n}")  # type: ignore[misc]
        for n in range(count)
    ]


def synced(*steps: Callable[[LocalTree], None]) -> World:
    world = World()
    world.edit(list(steps))
    world.reconcile(Options(mirror=True))
    return world


def ops(plan: Plan) -> list[str]:
    return [f"{a.op} {a.source} {a.path}" if a.op is Op.MOVE else f"{a.op} {a.path}" for a in plan.actions]


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
