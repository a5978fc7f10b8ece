"""A run of some paths, or of what is no longer written: all else is neither touched nor forgotten."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.chosen import at_or_below
from reconcile.core.diff import diff, fill, infer, unread
from reconcile.core.errors import UsageError
from reconcile.core.job import Options, Result
from reconcile.core.model import Action, Change, Entry, Kind, Op, Plan, Problem, Reason, Stage, Tally
from reconcile.core.plan import make_plan as plan_from
from reconcile.pipeline import make_plan, run
from reconcile.report import Recorder
from reconcile.state.overdue import note_overdue, read_overdue
from reconcile.state.trouble import recall_failing, update
from tests.support.trees import Tree, assert_same_tree, read_tree
from tests.support.world import PATHS, Steps, World, trees

Go = Callable[..., Result]
FILE, FOLDER = Entry(Kind.FILE, 0o644), Entry(Kind.DIR, 0o755)


@pytest.fixture
def go(source: Path, dest: Path, state: Path) -> Go:
    """``go(command, flag=value)``: a run to a folder here, in this process."""

    def go(command: Callable[..., Result] = run, **flags: Any) -> Result:
        job = make_job(Flags(str(source), str(dest), state=str(state), **flags))
        return command(job, Recorder(command.__name__))

    return go


def done(result: Result) -> list[str]:
    return sorted(f"{action.op} {action.path}" for action in result.done)


# --only


def test_only_some_paths_are_brought_and_the_rest_comes_with_the_next_run(
    go: Go, source: Path, dest: Path, tree: Callable[[Tree], Path]
) -> None:
    tree({"a": "a", "d": {"x": "x", "e": {"y": "y", "z": "z"}}, "gone": {"g": "g"}})
    go(mirror=True)
    tree({"a": "A!", "d": {"x": "X!", "e": {"y": "Y!", "new": "new"}}, "f": {"deep": {"er": "er", "no": ""}}})
    (source / "d/e/z").unlink()
    (source / "gone/g").unlink()
    (source / "gone").rmdir()

    planned = go(make_plan, mirror=True, only=("d/e", "f/deep/er"))
    result = go(mirror=True, only=("d/e", str(source / "f/deep/er/")))
    assert done(result) == done(planned)
    assert done(result) == [
        *("create d/e/new", "create f/deep/er", "delete d/e/z"),
        *("mkdir f", "mkdir f/deep", "modify d/e/y"),
    ]
    assert (dest / "a").read_text() == "a"
    assert (dest / "gone/g").exists()
    assert go(mirror=True, only=("d/e",)).plan.empty
    assert done(go(mirror=True)) == ["create f/deep/no", "delete gone", "modify a", "modify d/x"]
    assert_same_tree(source, dest, ignore=[".reconcile"])
    assert not go(mirror=True).connected


def test_only_what_is_gone_is_deleted_and_no_more_of_the_folder_it_was_in(
    go: Go, source: Path, dest: Path, tree: Callable[[Tree], Path]
) -> None:
    tree({"d": {"x": "x", "y": "y"}, "e": "e"})
    go(mirror=True)
    for name in ("x", "y"):
        (source / "d" / name).unlink()
    (source / "d").rmdir()
    assert done(go(mirror=True, only=("d/x",))) == ["delete d/x"]
    assert read_tree(dest, modes=False).keys() >= {"d", "d/y", "e"}
    assert done(go(mirror=True)) == ["delete d"]


def test_a_folder_does_not_move_with_what_was_not_chosen(
    go: Go, source: Path, dest: Path, tree: Callable[[Tree], Path]
) -> None:
    tree({"a": {"x": "x", "y": "y", "z": "z"}})
    go(mirror=True)
    (source / "a").rename(source / "b")
    (source / "b/y").unlink()
    assert done(go(mirror=True, only=("a/x", "b/x"))) == ["mkdir b", "move b/x"]
    assert read_tree(dest, modes=False).keys() >= {"a", "a/y", "a/z", "b", "b/x"}
    go(mirror=True)
    assert_same_tree(source, dest, ignore=[".reconcile"])


@pytest.mark.parametrize("path", ["d/nothing", "a/b", "left-out"])
def test_a_path_that_is_nowhere_is_a_slip(path: str, go: Go, tree: Callable[[Tree], Path]) -> None:
    tree({"a": "", "d": {}, "left-out": ""})
    go(exclude=("left-out",))
    with pytest.raises(UsageError, match=r"--only: .* is not in SRC"):
        go(only=("d", path), exclude=("left-out",))


@pytest.mark.parametrize("path", ["", "..", "../a", "/", "/etc", "a/../../b"])
def test_a_path_beside_the_folder_is_wrong_usage(path: str, go: Go) -> None:
    with pytest.raises(UsageError, match="--only takes"):
        go(only=(path,))


def test_all_of_it_is_a_run_as_any(go: Go, tree: Callable[[Tree], Path]) -> None:
    tree({"a": "", "d": {"x": ""}})
    assert len(done(go(only=(".", "d")))) == 3
    assert not go().connected


def test_a_filter_that_changed_meanwhile_is_still_seen_by_the_next_run(
    go: Go, source: Path, dest: Path, tree: Callable[[Tree], Path]
) -> None:
    tree({"d": {"x": "x", "keep": ""}, "e": {"y": ""}})
    go(mirror=True)
    go(mirror=True, exclude=("x",))
    (source / "d/x").unlink()
    go(mirror=True, only=("e",))  # the filter is no more, and d was not looked at
    assert (dest / "d/x").exists()
    assert done(go(mirror=True)) == ["delete d/x"]


def test_what_was_not_looked_at_goes_on_failing(state: Path) -> None:
    state.mkdir()
    problems = [Problem(path, Stage.APPLY, Reason.DENIED, "no") for path in ("d/x", "b")]
    update(str(state), problems, print)
    update(str(state), [], print, scope=("d",))
    assert {path for path, _ in recall_failing(str(state))} == {"b"}
    note_overdue(str(state), [Action(Op.DELETE, path, old=FILE) for path in ("d/x", "b")])
    note_overdue(str(state), [], ("d",))
    assert read_overdue(str(state)) == {"b": 1}


@given(st.lists(PATHS, max_size=8), st.sets(PATHS, min_size=1, max_size=3))
def test_of_what_is_above_only_directories_that_have_to_come(paths: list[str], tops: set[str]) -> None:
    changes = [
        Change(path, old, new)
        for path in paths
        for old in (None, FILE, FOLDER)
        for new in (None, FILE, FOLDER)
    ]
    for change in at_or_below(changes, tops):
        inside = any(f"{change.path}/".startswith(f"{top}/") for top in tops)
        above = any(top.startswith(f"{change.path}/") for top in tops)
        assert inside or (above and change.new is FOLDER and change.old is not FOLDER)


@given(trees(), trees(), st.sets(PATHS, min_size=1, max_size=3))
def test_a_partial_run_and_a_whole_one_come_to_the_same(first: Steps, second: Steps, tops: set[str]) -> None:
    """And nothing outside changes with the partial one, but where a directory has to come."""
    world, options = World(), Options(mirror=True)
    world.edit(first)
    world.reconcile(options)
    before = dict(world.remote)
    world.edit(second)

    def partial(options: Options, scan: Any = None) -> Any:
        found = scan or world.local.scan(())
        changes = infer(at_or_below(diff(world.snapshot, found, world.filter, options), tops), options)
        changes = infer(fill(changes, world.local.read(unread(changes)), set()), options)
        return plan_from(world.snapshot, found, changes, replace(options, only=tuple(tops)))

    whole, world.plan = world.plan, partial  # type: ignore[method-assign]
    world.reconcile(options)
    world.check_snapshot()
    for path, node in before.items():
        inside = any(f"{path}/".startswith(f"{top}/") for top in tops)
        makes_way = node.kind is not Kind.DIR and any(top.startswith(f"{path}/") for top in tops)
        assert inside or makes_way or world.remote.get(path) == node
    world.plan = whole  # type: ignore[method-assign]
    world.snapshot = world.snapshot.__class__(world.snapshot.dirs)  # not settled
    world.reconcile(options)
    assert world.plan(options).empty


# --min-age


def test_what_is_still_written_waits(go: Go, source: Path, dest: Path, tree: Callable[[Tree], Path]) -> None:
    tree({"old": "old", "young": "young", "d": {"young": ""}, "ahead": ""})
    hour_ago = time.time() - 3600
    os.utime(source / "old", (hour_ago, hour_ago))
    os.utime(source / "ahead", (hour_ago + 10**6, hour_ago + 10**6))  # and its inode is new
    result = go(min_age="5m", mirror=True)
    assert done(result) == ["create old", "mkdir d"]
    assert [note.path for note in result.notes] == ["ahead", "d/young", "young"]
    assert not result.problems
    os.utime(source / "young", (hour_ago, hour_ago))
    assert done(go(min_age="5m", mirror=True)) == ["create young"]
    (source / "young").write_text("written anew")
    go(min_age="5m", mirror=True)
    assert (dest / "young").read_text() == "young"
    go(mirror=True)
    assert_same_tree(source, dest, ignore=[".reconcile"])


@pytest.mark.parametrize(
    ("before", "how"),
    [
        (("d/f",), "mv d e && echo new > e/f"),
        (("d/f", "d/g", "d/h/i"), "mv d e && echo new > e/f"),  # which moves as a whole
        (("d/f", "d/g", "d/h/i"), "mv d e && echo new > tmp && mv tmp e/f"),  # as editors save
        (("d/f", "d/g"), "mv d e && echo new > e/f && echo new > e/g"),
        (("d/f", "d/g"), "mv d/f d/n && echo new > d/n"),
        (("d/f", "d/g"), "mv d/f d/g && echo new > d/g"),
        (("d/f", "d/g"), "mv d x && mkdir d && mv x d/x && echo new > d/x/f"),
        (("d/f",), "mv d/f x && rmdir d && mv x d && echo new > d"),
    ],
)
def test_what_got_another_name_and_is_still_written_stays_there_until_it_comes(
    before: Sequence[str], how: str, go: Go, source: Path, dest: Path
) -> None:
    hour_ago = time.time() - 3600
    for path in before:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
        os.utime(source / path, (hour_ago, hour_ago))
    go(mirror=True)
    subprocess.run(["sh", "-ec", how], cwd=source, check=True)
    planned = done(go(make_plan, mirror=True, min_age="5m"))
    assert done(go(mirror=True, min_age="5m")) == planned
    files = [path for path in dest.rglob("*") if path.is_file() and ".reconcile" not in path.parts]
    there = [path.read_text() for path in files]
    assert sorted(there) == sorted(before), "as it was, and nothing of what is still written"
    go(mirror=True)
    assert_same_tree(source, dest, ignore=[".reconcile"])


class EditsWhatIsPlanned(Recorder):
    """Whose user begins to write to a file again as soon as the plan stands."""

    def __init__(self, file: Path) -> None:
        super().__init__("run")
        self._file = file

    def planned(self, plan: Plan, tally: Tally, /) -> None:
        super().planned(plan, tally)
        self._file.write_text("ha")


def test_what_begins_to_be_written_after_the_look_waits_as_well(
    source: Path, dest: Path, state: Path, tree: Callable[[Tree], Path]
) -> None:
    tree({"file": "old"})
    hour_ago = time.time() - 3600
    os.utime(source / "file", (hour_ago, hour_ago))
    job = make_job(Flags(str(source), str(dest), state=str(state), min_age="5m"))
    result = run(job, EditsWhatIsPlanned(source / "file"))
    assert [(problem.path, problem.reason) for problem in result.problems] == [("file", Reason.CHANGED)]
    assert not (dest / "file").exists()


@pytest.mark.parametrize("age", ["", "5", "m", "-5m", "5 m", "5w", "1.5h"])
def test_what_is_no_age_is_wrong_usage(age: str, go: Go) -> None:
    with pytest.raises(UsageError, match="--min-age takes"):
        go(min_age=age)
