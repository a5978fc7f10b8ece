"""``undo``: what a run has done is taken back, and stays so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.cli import main
from reconcile.config import Flags, make_job
from reconcile.core.errors import Exit, Refused
from reconcile.core.job import Options, Result, Trash
from reconcile.phases.undo import undo
from reconcile.pipeline import run
from reconcile.remotes.local import open as opening
from reconcile.remotes.local.driver import CAN
from reconcile.remotes.tree.verbs import HardLink, Replace, Verb
from reconcile.state.done import read_done
from tests.faults.conftest import TORTURE
from tests.remotes.conformance import Heard
from tests.support.edits import Folder
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.trees import Link, Node, Tree, assert_alike, assert_same_tree, build_tree, read_tree
from tests.support.world import EDITS, Edit

SITE: Tree = {
    "a": "one",
    "b": "two",
    "d": {"e": {"f": "three"}, "g": "four"},
    "l": Link("a"),
    "m": {"x": "5"},
}


@pytest.fixture
def flags(source: Path, dest: Path, state: Path) -> Flags:
    build_tree(source, SITE)
    return Flags(str(source), str(dest), state=str(state), mirror=True, allow_mass_delete=True, trash="30d")


def change(source: Path) -> None:
    """Replace a file and a link, delete a file and a folder, move a folder, bring something new."""
    (source / "a").write_text("one, anew")
    (source / "b").unlink()
    shutil.rmtree(source / "d")
    (source / "l").unlink()
    (source / "l").symlink_to("b")
    (source / "m").rename(source / "moved")
    build_tree(source, {"n": {"y": "new"}})


def there(dest: Path) -> dict[str, Node]:
    """What DEST shows."""
    return {path: node for path, node in read_tree(dest).items() if not path.startswith(".reconcile")}


def push(flags: Flags, **more: object) -> Result:
    ran = run(make_job(replace(flags, **more)), Heard())
    assert not ran.problems
    return ran


def push_changes(flags: Flags, source: Path, dest: Path) -> dict[str, Node]:
    """Bring SITE, and then what ``change`` makes of it; what DEST showed between the two."""
    push(flags)
    before = there(dest)
    change(source)
    push(flags)
    return before


def take_back(flags: Flags, name: str = "", **more: object) -> Result:
    ran = undo(make_job(replace(flags, **more)), Heard(), name)
    assert not ran.problems
    assert ran.plan.bytes_to_send == 0
    return ran


LACKING: list[set[type[Verb]]] = [set(), {HardLink}, {HardLink, Replace}]


@pytest.mark.parametrize("lacking", LACKING, ids=["links", "renames", "removes"])
# It would take minutes to shrink what it finds: each try is some runs.
@settings(max_examples=150 if TORTURE else 8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(EDITS, max_size=12), st.lists(st.lists(EDITS, min_size=1, max_size=8), max_size=3))
def test_dest_is_as_it_was_before_whatever_a_run_did(
    lacking: set[type[Verb]], first: list[Edit], later: list[list[Edit]]
) -> None:
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "CAN", CAN - lacking)  # what other systems can't do, or servers
        top = Path(place)
        source, dest = top / "source", top / "dest"
        source.mkdir()
        folder = Folder(source)
        flags = Flags(
            str(source), str(dest), state=str(top / "state"), mirror=True, allow_mass_delete=True, trash="30d"
        )
        folder.edit(first)
        push(flags)
        before = [there(dest)]
        changed = []
        for edits in later:
            folder.edit(edits)
            changed.append(not push(flags).plan.empty)
            before.append(there(dest))
        last = before.pop()
        for was, is_changed in zip(reversed(before), reversed(changed), strict=True):
            if is_changed:
                take_back(flags)
                assert_alike(was, there(dest))
                assert push(flags).plan.empty
                assert_alike(was, there(dest))
        push(flags, release_held=True)
        assert_alike(last, there(dest))
        assert_same_tree(source, dest)


def test_it_is_held_until_it_changes_here(flags: Flags, source: Path, dest: Path) -> None:
    before = push_changes(flags, source, dest)
    after = there(dest)
    take_back(flags)
    heard = Heard()
    assert run(make_job(flags), heard).plan.empty
    assert [said for said in heard.said if "stay as 'reconcile undo' has left them" in said]
    assert there(dest) == before
    build_tree(source, {"n": {"z": "newer"}, "more": "more"})
    assert {action.path for action in push(flags).plan.actions} == {"n", "n/z", "more"}
    (source / "a").write_text("one, once more")
    assert {action.path for action in push(flags).plan.actions} == {"a"}
    assert (dest / "b").exists()
    push(flags, release_held=True)
    assert_same_tree(source, dest)
    assert there(dest).keys() == after.keys() | {"n/z", "more"}
    heard = Heard()
    assert run(make_job(flags), heard).plan.empty
    assert heard.said == []


def test_it_is_held_for_a_checkout_with_new_times(flags: Flags, source: Path, dest: Path) -> None:
    flags = replace(flags, times="ignore")
    before = push_changes(flags, source, dest)
    take_back(flags)
    copy = source.with_name("copy")
    shutil.copytree(source, copy, symlinks=True, copy_function=shutil.copyfile)
    shutil.rmtree(source)
    copy.rename(source)
    assert not {action.path for action in push(flags).plan.actions} & (before.keys() - {"a"})
    assert (dest / "a").read_text() == "one"


def test_several_go_back_one_by_one_and_one_by_its_name(flags: Flags, source: Path, dest: Path) -> None:
    seen = []
    for content in ("1", "22", "333", "4444"):
        (source / "a").write_text(content)
        (source / content).write_text(content)
        push(flags)
        seen.append(there(dest))
    take_back(flags)
    assert there(dest) == seen[2]
    take_back(flags)
    assert there(dest) == seen[1]
    push(flags, release_held=True)
    assert there(dest) == seen[3]


def test_what_a_later_run_has_changed_stays(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    (source / "a").write_text("later")
    (source / "moved" / "later").write_text("later")
    push(flags)
    second = read_done(make_job(flags).state)[1].run
    undone = undo(make_job(flags), Heard(), f"20260101-000000-{second[:4]}")
    assert {problem.path for problem in undone.problems} == {"a", "moved"}
    assert (dest / "a").read_text() == "later"
    assert (dest / "moved" / "later").exists()
    assert (dest / "m" / "x").exists()
    assert (dest / "b").exists()
    assert push(flags).plan.empty


def test_what_others_have_written_is_kept(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    (dest / "a").write_text("theirs")
    (dest / "n" / "theirs").write_text("theirs, too")
    take_back(flags)
    assert (dest / "a").read_text() == "one"
    assert (dest / "n" / "theirs").read_text() == "theirs, too"
    assert [path.read_text() for path in dest.glob(".reconcile/*/*/trash/kept/a")] == ["theirs"]


def test_what_lay_there_before_us_is_no_matter(flags: Flags, source: Path, dest: Path) -> None:
    build_tree(dest, {"theirs": "theirs", "b": "another"})
    push(flags, adopt_existing=True)
    before = there(dest)
    change(source)
    push(flags)
    take_back(flags)
    assert there(dest) == before


def test_without_a_mirror_nothing_is_lost(flags: Flags, source: Path, dest: Path) -> None:
    flags = replace(flags, mirror=False)
    before = push_changes(flags, source, dest)
    take_back(flags, trash="none")
    assert there(dest) == before
    kept = {path.name for path in dest.glob(".reconcile/*/*/trash/kept/**/*")}
    assert "y" in kept, "what SRC had brought may be gone there by now"


def test_the_first_run_leaves_nothing(flags: Flags, source: Path, dest: Path) -> None:
    push(flags)
    take_back(flags)
    assert there(dest) == {}
    assert push(flags).plan.empty
    assert push(flags, release_held=True).done
    assert_same_tree(source, dest)


def test_one_that_deletes_most_of_dest_is_refused(flags: Flags, source: Path, dest: Path) -> None:
    """And how to see what it would delete is told as it is."""
    push(flags)
    build_tree(source, {f"f{number}": "f" for number in range(40)})
    push(flags)
    with pytest.raises(Refused, match=r"default --max-delete 50%.*'reconcile undo -n'.*--allow-mass-delete"):
        undo(make_job(replace(flags, allow_mass_delete=False)), Heard())
    assert (dest / "f1").exists()


def test_it_needs_no_source(flags: Flags, source: Path, dest: Path) -> None:
    before = push_changes(flags, source, dest)
    shutil.rmtree(source)
    take_back(flags)
    assert there(dest) == before


def test_without_a_trash_it_says_what_to_do(flags: Flags, source: Path, dest: Path) -> None:
    flags = replace(flags, trash="none")
    dest.mkdir()
    with pytest.raises(Refused, match="No run of this job is known that has changed anything"):
        undo(make_job(flags), Heard())
    push_changes(flags, source, dest)
    after = there(dest)
    with pytest.raises(Refused, match=r"can't be undone.*add trash = \"30d\""):
        undo(make_job(flags), Heard())
    assert there(dest) == after


def test_a_run_without_one_is_not_passed_over(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    (source / "a").write_text("third")
    push(flags, trash="none")
    after = there(dest)
    with pytest.raises(Refused, match="The last run can't be undone"):
        undo(make_job(flags), Heard())
    assert there(dest) == after


def test_what_the_trash_has_no_more_is_told(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    (gone,) = dest.glob(".reconcile/*/*/trash/old/b")
    gone.unlink()
    after = there(dest)
    with pytest.raises(Refused, match=r"1 path can't come back \('b'\).*--partial"):
        undo(make_job(flags), Heard())
    assert there(dest) == after
    undone = undo(make_job(flags), Heard(), partial=True)
    assert [problem.path for problem in undone.problems] == ["b"]
    assert (dest / "a").read_text() == "one"
    assert not (dest / "b").exists()


@pytest.mark.parametrize("quirks", [[], [Quirk.ANNOUNCES_NOTHING]])
def test_over_sftp_whatever_the_server_can(
    job_to: JobTo, quirks: list[Quirk], served: Path, source: Path, tree: Callable[[Tree], Path]
) -> None:
    tree(SITE)
    job = job_to(*quirks, options=Options(mirror=True, allow_mass_delete=True, trash=Trash(30.0 * 86_400)))
    run(job, Heard())
    before = there(served / "dest")
    change(source)
    run(job, Heard())
    undone = undo(job, Heard())
    assert not undone.problems
    assert there(served / "dest") == before
    assert run(job, Heard()).plan.empty


def test_with_the_state_at_dest_from_another_machine(flags: Flags, source: Path, dest: Path) -> None:
    flags = replace(flags, state="remote", job="site")
    before = push_changes(flags, source, dest)
    with another_machine():
        take_back(flags)
        assert there(dest) == before
    assert push(flags).plan.empty
    with another_machine():
        assert push(flags).plan.empty
        push(flags, release_held=True)
    assert_same_tree(source, dest)
    assert push(flags).plan.empty


@contextmanager
def another_machine() -> Iterator[None]:
    """One that knows nothing."""
    with TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", home)
        yield


# The command


def test_it_shows_what_it_does_and_asks(
    flags: Flags, source: Path, dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        told = [flags.source, flags.target, *args, "--state", str(flags.state), "--mirror", "--trash", "30d"]
        code = main(["undo", *told, "--allow-mass-delete"])
        return code, *capsys.readouterr()

    push(flags)
    before = there(dest)
    change(source)
    main(["run", *(flags.source, flags.target, "--state", str(flags.state), "--mirror", "--trash", "30d")])
    after = there(dest)
    code, out, _ = call("--dry-run")
    assert code == Exit.OK
    assert "→ the trash → a" in out
    assert "- n/" in out
    assert "reconcile: to do it: reconcile undo" in out
    assert there(dest) == after
    code, _, err = call()
    assert (code, "there is nobody to ask. Add --yes" in err) == (Exit.REFUSED, True)
    assert there(dest) == after
    assert call("41", "--yes")[0] == Exit.USAGE
    code, out, err = call("1", "--yes")
    assert (code, "problem" in err) == (Exit.OK, False)
    assert there(dest) == before
    code, _, _ = call("--yes")
    assert (code, there(dest)) == (Exit.OK, {})
    capsys.readouterr()
    main(["history", flags.source, flags.target, "--state", str(flags.state)])
    assert len([line for line in capsys.readouterr().out.splitlines() if "undone: " in line]) == 2


def test_a_damaged_note_is_no_reason_to_do_it_again(flags: Flags, source: Path, dest: Path) -> None:
    push_changes(flags, source, dest)
    take_back(flags)
    before = there(dest)
    held = Path(make_job(flags).state) / "held"
    held.write_bytes(held.read_bytes()[:-1])
    with pytest.raises(Refused, match="holds back can't be read"):
        run(make_job(flags), Heard())
    assert there(dest) == before
    held.unlink()
    push(flags)
    assert_same_tree(source, dest)
