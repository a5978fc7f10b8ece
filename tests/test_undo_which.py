"""``undo``: which run is taken back, whatever came before and since."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.cli import main
from reconcile.config import Flags, make_job
from reconcile.core.errors import Exit, Refused, UsageError
from reconcile.phases.undo import plan_to_undo, undo
from reconcile.pipeline import run
from tests.remotes.conformance import Heard
from tests.support.trees import Node, assert_same_tree, build_tree
from tests.test_undo import SITE, change, push, push_changes, take_back, there


@pytest.fixture
def flags(source: Path, dest: Path, state: Path) -> Flags:
    build_tree(source, SITE)
    return Flags(str(source), str(dest), state=str(state), mirror=True, allow_mass_delete=True, trash="30d")


def call(flags: Flags, command: str, *args: str) -> int:
    options = ["--state", str(flags.state), "--mirror", "--allow-mass-delete", "--trash", flags.trash]
    return main([command, flags.source, flags.target, *args, *options])


def test_by_number_where_runs_follow_each_other_at_once(flags: Flags, source: Path, dest: Path) -> None:
    call(flags, "run")
    for content in ("1", "22", "333"):
        (source / content).write_text(content)
        call(flags, "run")
    assert call(flags, "undo", "2", "--yes") == Exit.OK
    assert {path.name for path in dest.iterdir()} & {"1", "22", "333"} == {"22", "333"}


def test_what_looks_alike_comes_from_the_run_that_replaced_it(flags: Flags, source: Path, dest: Path) -> None:
    for content in ("one", "two", "six", "ten"):
        (source / "a").write_text(content)
        os.utime(source / "a", (1_600_000_000, 1_600_000_000))
        push(flags)
    take_back(flags)
    assert (dest / "a").read_text() == "six"
    take_back(flags)
    assert (dest / "a").read_text() == "two"
    take_back(flags)
    assert (dest / "a").read_text() == "one"


def test_what_looks_alike_comes_from_an_older_run_by_its_number(
    flags: Flags, source: Path, dest: Path
) -> None:
    for content in ("one", "two", "six"):
        (source / "a").write_text(content)
        os.utime(source / "a", (1_600_000_000, 1_600_000_000))
        (source / content).write_text(content)
        call(flags, "run")
    (source / "a").unlink()
    call(flags, "run")
    assert call(flags, "undo", "4", "--yes") == Exit.OK
    assert (dest / "a").read_text() == "six"


def test_start_over_ends_what_was(flags: Flags, source: Path, dest: Path) -> None:
    for content in ("1", "22", "333", "4444"):
        (source / "a").write_text(content)
        push(flags)
    push(flags, start_over=True)
    with pytest.raises(Refused):
        undo(make_job(flags), Heard())
    before = there(dest)
    (source / "b").unlink()
    push(flags)
    take_back(flags)
    assert there(dest) == before


def test_what_could_not_be_noted_is_not_passed_over(
    flags: Flags, source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_changes(flags, source, dest)
    (source / "a").write_text("third")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("reconcile.phases.done.note_done", full)
        push(flags)
    after = there(dest)
    with pytest.raises(Refused, match="The last run can't be undone"):
        undo(make_job(flags), Heard())
    assert there(dest) == after


def test_no_name_means_any_run(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    after = there(dest)
    for name in ("--", "20260101-000000-", "x-y-", "0", "-1", "01"):
        with pytest.raises(UsageError):
            undo(make_job(flags), Heard(), name)
    assert there(dest) == after


def test_asked_twice_for_the_same_run_it_says_so(
    flags: Flags, source: Path, dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(flags, "run")
    call(flags, "run")
    change(source)
    call(flags, "run")
    assert call(flags, "undo", "3", "--yes") == Exit.OK
    before = there(dest)
    for number, why in (
        ("3", "or it was undone already"),
        ("2", "Run 2 has changed nothing"),
        ("4", "Run 4 has itself taken back what another had done"),
    ):
        capsys.readouterr()
        assert call(flags, "undo", number, "--yes") == Exit.REFUSED
        assert why in capsys.readouterr().err
    assert there(dest) == before


def test_only_would_be_half_of_it(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    after = there(dest)
    with pytest.raises(UsageError, match="leave --only out"):
        undo(make_job(replace(flags, only=(str(source / "a"),))), Heard())
    assert there(dest) == after


@pytest.mark.parametrize("mirror", [True, False])
def test_a_file_that_has_become_a_folder(flags: Flags, source: Path, dest: Path, *, mirror: bool) -> None:
    flags = replace(flags, mirror=mirror)
    push(flags)
    before = there(dest)
    (source / "a").unlink()
    shutil.rmtree(source / "d")
    build_tree(source, {"a": {"in": "it"}, "d": "a file"})
    push(flags)
    take_back(flags)
    assert there(dest) == before
    assert not list(dest.glob(".reconcile/*/*.kept-*"))[mirror:]
    push(flags, release_held=True)
    assert_same_tree(source, dest)


def test_what_others_had_there_before_the_first_run(flags: Flags, source: Path, dest: Path) -> None:
    build_tree(dest, {"a": "theirs", "theirs": "theirs"})
    before = there(dest)
    push(flags, adopt_existing=True)
    assert (dest / "a").read_text() == "one"
    take_back(flags)
    assert there(dest) == before
    push(flags, release_held=True)
    assert [path.read_text() for path in dest.glob(".reconcile/*/*/trash/kept/a")] == ["theirs"]


def test_a_run_that_died_is_one_of_its_own(flags: Flags, source: Path, dest: Path) -> None:
    """And the one before it is not undone along with it, though nobody ended that one either."""
    seen: list[dict[str, Node]] = [{}]
    for content in ("1", "22", "333"):
        (source / "a").write_text(content)
        (source / content).write_text(content)
        (source / "b").write_text(content * 2)
        die_in_the_middle(flags)
        with pytest.raises(Refused, match="without --dry-run does that"):
            plan_to_undo(make_job(flags), Heard())
        with pytest.raises(Refused, match="not now"):
            undo(make_job(flags), Heard(), may=not_now)
        seen.append(there(dest))
        assert seen[-1] != seen[-2]
    for before in reversed(seen[:-1]):
        take_back(flags)
        assert there(dest) == before


def not_now(_: object) -> None:
    raise Refused("not now")


def die_in_the_middle(flags: Flags) -> None:
    """A process that makes a run is killed before its third step is known to be done."""
    job, count = make_job(flags), 0

    def outcome(*_: object) -> None:
        nonlocal count
        count += 1
        if count == 3:
            os._exit(9)

    if (child := os.fork()) == 0:
        heard = Heard()
        heard.outcome = outcome  # type: ignore[method-assign, assignment]
        run(job, heard)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_what_another_machine_has_done_or_undone_is_not_mistaken(
    flags: Flags, source: Path, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = replace(flags, state="remote", job="site")

    def on(machine: str) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))

    def write(machine: str, content: str) -> None:
        on(machine)
        (source / "a").write_text(content)
        (source / content).write_text(content)
        push(flags)

    for machine, content in zip("ABAABB", ("1", "22", "333", "4444", "55555", "666666"), strict=True):
        write(machine, content)
    on("A")
    take_back(flags)
    assert (dest / "a").read_text() == "55555"
    with pytest.raises(Refused, match="The last run can't be undone"):
        undo(make_job(flags), Heard())  # of that one A has not heard what it did
    on("B")
    take_back(flags)
    assert (dest / "a").read_text() == "4444", "what A has undone is not undone once more"
    on("A")
    take_back(flags)
    assert (dest / "a").read_text() == "333"
    assert (dest / "22").exists()


def test_once_all_is_undone_it_says_so(flags: Flags, capsys: pytest.CaptureFixture[str]) -> None:
    call(flags, "run")
    assert call(flags, "undo", "--yes") == Exit.OK
    capsys.readouterr()
    assert call(flags, "undo", "--yes") == Exit.REFUSED
    assert "What could be undone has been undone" in capsys.readouterr().err


@pytest.mark.parametrize("now", [(), ("a", "/n", "x")])
def test_what_a_filter_hides_by_now_is_undone(
    flags: Flags, source: Path, dest: Path, now: tuple[str, ...]
) -> None:
    before = push_changes(flags, source, dest)
    push(flags, exclude=("a", "/n", "x"))
    take_back(flags, exclude=now)
    assert there(dest) == before
    assert push(flags).plan.empty
    take_back(flags, exclude=now)
    assert there(dest) == {}


def test_what_is_gone_here_by_now_moves_back(flags: Flags, source: Path, dest: Path) -> None:
    flags = replace(flags, mirror=False)
    push(flags)
    before = there(dest)
    (source / "m").rename(source / "moved")
    (source / "a").rename(source / "z")
    push(flags)
    shutil.rmtree(source / "moved")
    (source / "z").unlink()
    push(flags)
    take_back(flags)
    assert there(dest) == before
