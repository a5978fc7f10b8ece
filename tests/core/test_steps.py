"""Twice as much takes about twice the steps: what would grow with the square is counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest

from reconcile.apply.adopt import check_blank
from reconcile.core.diff import diff, fill, infer, unread
from reconcile.core.errors import Refused
from reconcile.core.filters import Filter
from reconcile.core.fold import fold
from reconcile.core.job import Job, Options
from reconcile.core.model import (
    Action,
    Caps,
    Change,
    DirectorySnapshot,
    Entry,
    Kind,
    Op,
    Outcome,
    PlainDirectory,
    Plan,
    Scan,
    Seen,
)
from reconcile.core.moves import pair
from reconcile.core.paths import PathDict
from reconcile.core.plan import make_plan
from reconcile.remotes.ssh.target import SshTarget
from reconcile.remotes.tree.layout import Layout
from reconcile.remotes.tree.site import Site
from tests.support.memory import LocalTree, MemoryRemote, pack

MANY = 60
MOST = 2.6  # times the steps for twice as much: n log n stays below, n² is 4
MIRROR = Options(mirror=True)


def count_steps(work: Callable[[], object]) -> int:
    """Bytecodes run, calls of what is written in C among them; what such a call does inside is not seen."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def assert_straight(prepare: Callable[[int], Callable[[], object]], many: int = MANY) -> None:
    """What ``prepare`` returns for a number does work that grows as the number does."""
    prepare(MANY)()  # what is made but once, such as an enum's hash, is not to be counted
    once, twice = (count_steps(prepare(number)) for number in (many, 2 * many))
    assert twice < MOST * once, f"{once:,} steps for {many}, {twice:,} for {2 * many}"


def folders(number: int, *, inside: int = 1) -> LocalTree:
    tree = LocalTree()
    for each in range(number):
        for name in range(inside):
            tree.put(f"d{each:05}/f{name}", Kind.FILE, f"{each} {name}")
    return tree


def snapshot_of(tree: LocalTree) -> DirectorySnapshot:
    """All of it is on the remote."""
    made = make(DirectorySnapshot({"": PlainDirectory({})}), tree)
    outcomes = list(perform(made, {}, tree))
    return DirectorySnapshot(
        pack(fold(DirectorySnapshot({"": PlainDirectory({})}), outcomes, {}, 1 << 62).dirs)
    )


def perform(plan: Plan, there: dict[str, Any], tree: LocalTree) -> Iterator[Outcome]:
    remote = MemoryRemote(there, tree)
    for level in plan.levels:
        yield from remote.perform(level)


def make(old: DirectorySnapshot, tree: LocalTree, options: Options = MIRROR) -> Plan:
    scan = tree.scan()
    return make_plan(old, scan, fill_in(old, scan, tree, options), options)


def fill_in(old: DirectorySnapshot, scan: Scan, tree: LocalTree, options: Options = MIRROR) -> list[Change]:
    changes = infer(diff(old, scan, Filter(), options), options)
    return infer(fill(changes, tree.read(unread(changes)), set()), options)


def test_folding_many_deleted_directories() -> None:
    def prepare(number: int) -> Callable[[], object]:
        old = snapshot_of(folders(number))
        gone = [
            Outcome(Action(Op.DELETE, path, old=entry), {path: None})
            for path, entry in old.walk()
            if entry.kind is Kind.DIR
        ]
        return lambda: fold(old, gone, {}, 0)

    assert_straight(prepare)


def test_folding_many_moved_directories() -> None:
    def prepare(number: int) -> Callable[[], object]:
        old = snapshot_of(folders(number))
        moved = [
            Outcome(Action(Op.MOVE, f"{path}.old", new=entry, source=path, moved=entry))
            for path, entry in old.walk()
            if entry.kind is Kind.DIR
        ]
        return lambda: fold(old, moved, {}, 0)

    assert_straight(prepare)


@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_what_is_known_of_parents_follows(how: str) -> None:
    def prepare(number: int) -> Callable[[], object]:
        site = Site(Layout(b"/base", b"/base/.reconcile"), Options(), print)
        for each in range(number):
            site.memory.parents[f"d{each}"] = site.memory.parents[f"d{each}/in"] = None

        def follow() -> None:
            for each in range(number):
                if how == "moved":
                    site.memory.rename_parents(f"d{each}", f"e{each}")
                else:
                    site.memory.forget_parents(f"d{each}")

        return follow

    assert_straight(prepare)


def test_moves_of_many_files_of_one_content() -> None:
    def prepare(number: int) -> Callable[[], object]:
        tree = LocalTree()
        for each in range(number):
            tree.put(f"f{each:05}", Kind.FILE, "all the same")
        old = snapshot_of(tree)
        for each in range(number):
            tree.remove(f"f{each:05}")
            tree.put(f"g{each:05}", Kind.FILE, "all the same")
        scan = tree.scan()
        changes = fill_in(old, scan, tree)
        assert len(pair(old, scan, changes, mirror=True).moves.files) == number
        return lambda: pair(old, scan, changes, mirror=True)

    assert_straight(prepare, 4 * MANY)


def test_opening_many_directories_that_forbid_changes() -> None:
    def prepare(number: int) -> Callable[[], object]:
        tree = folders(number)
        for each in range(number):
            tree.chmod(f"d{each:05}", 0o555)
        old = snapshot_of(tree)
        for each in range(number):
            tree.put(f"d{each:05}/new", Kind.FILE, "new")
            tree.chmod(f"d{each:05}", 0o500)
        return lambda: make(old, tree)

    assert_straight(prepare, 4 * MANY)


class CountingName(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __lt__(self, other: str) -> bool:
        CountingName.compared += 1
        return str.__lt__(self, other)


def test_a_plain_directory_is_sorted_once() -> None:
    names: dict[str, Entry] = {
        CountingName(f"{each:05}"): Entry(Kind.DIR, 0o755) for each in range(MANY, 0, -1)
    }
    directory = PlainDirectory(names)
    CountingName.compared = 0
    for _ in range(MANY):
        assert len(directory.entries()) == MANY
    assert CountingName.compared < 2 * MANY
    assert list(directory.entries()) == sorted(names)


@dataclass
class CountedRemote(MemoryRemote):
    """Counts what is listed of it."""

    listed: int = 0
    caps: Caps = Caps()

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        for found in super().walk(top):
            self.listed += 1
            yield found


def test_a_full_dest_is_refused_at_the_first_thing_in_it() -> None:
    tree = folders(MANY)
    remote = CountedRemote(tree.nodes, tree)
    with pytest.raises(Refused, match="already holds something"):
        check_blank(Job("/source", SshTarget("host", "/"), "/state"), remote)
    assert remote.listed == 1


def test_paths_are_cut_out_with_all_below_them() -> None:
    paths = PathDict({"a": 1, "a/b": 2, "a/b/c/d": 3, "ab": 4, "x/y": 5})
    assert paths.cut("nothing") == {}
    assert paths.cut("a/b") == {"a/b": 2, "a/b/c/d": 3}
    paths["a/b/c"] = 6
    assert paths.setdefault("a", 7) == 1
    assert paths.setdefault("x", 8) == 8
    assert paths.cut("a") == {"a": 1, "a/b/c": 6}
    assert paths.cut("x") == {"x": 8, "x/y": 5}
    assert paths.cut("x") == {}
    assert paths == {"ab": 4}
    assert paths.cut("") == {"ab": 4}
