"""Renames that a server refuses: for the place, the name, or altogether."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.job import Job, OnDrift, Options, Result
from reconcile.core.model import Action, Op, Reason
from reconcile.pipeline import run
from reconcile.remotes.sftp import driver
from tests.remotes.conformance import Heard
from tests.remotes.tree.test_quirks import learned
from tests.support.quirky import HANDLES, MORE_HANDLES, Quirk, QuirkyFiles
from tests.support.trees import Tree, assert_same_tree, build_tree, read_tree

JobTo = Callable[..., Job]
OURS = ".reconcile"
SERVERS = [(), (Quirk.CLAIMS_OPENSSH,), (Quirk.RENAME_REPLACES,)]


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """DEST, seen on the server."""
    return tmp_path / "remote/dest"


def well(job: Job) -> Result:
    result = run(job, Heard())
    assert result.problems == []
    return result


def ops(actions: Sequence[Action]) -> dict[str, int]:
    found = [action.op for action in actions]
    return {op: found.count(op) for op in dict.fromkeys(found) if op is not Op.MKDIR}


def small(count: int, size: int = 300) -> Tree:
    return {f"f{n}": os.urandom(size + n) for n in range(count)}


@pytest.mark.parametrize("quirks", SERVERS)
def test_all_arrives_in_one_run_also_on_another_file_system(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.ANOTHER_DISK, *quirks)
    build_tree(source, {"disk": {"one": "1", "old": small(20)}, "main": small(5)})
    well(job)
    build_tree(
        source,
        {
            "disk": {"old": small(20), "new": small(30), "big": {"b": os.urandom(200_000)}, **small(20)},
            "main": {"sub": small(30), **small(9)},
        },
    )
    well(job)
    assert_same_tree(source, there)
    assert well(job).done == []


def test_what_was_found_out_about_a_place_is_not_found_out_again(
    job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.ANOTHER_DISK)
    build_tree(source, {"disk": {f"d{n}": small(2, 40_000) for n in range(40)}})
    once = sum(path.stat().st_size for path in source.rglob("f*"))
    sent = well(job).traffic.bytes_sent
    assert sent < 2.3 * once  # what was under way before the first was refused goes twice
    build_tree(source, {"disk": {f"d{n}": small(2, 40_000) for n in range(40)}})
    well(job)
    assert_same_tree(source, there)


@pytest.mark.parametrize("quirks", SERVERS)
def test_what_can_not_be_moved_across_is_sent_in_the_same_run(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.ANOTHER_DISK, *quirks)
    build_tree(source, {"disk": {"s": "swap 1"}, "album": small(5), "single": "single", "s": "swap two"})
    well(job)
    (source / "album").rename(source / "disk/album")
    (source / "single").rename(source / "disk/single")
    (source / "s").rename(source / "t")
    (source / "disk/s").rename(source / "s")
    (source / "t").rename(source / "disk/s")
    result = well(job)
    assert_same_tree(source, there)
    assert ops(result.done) == {Op.CREATE: 6, Op.MODIFY: 2, Op.DELETE: 2}
    assert well(job).done == []


def test_two_directories_on_two_file_systems_are_swapped_in_one_run(
    job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.ANOTHER_DISK)
    build_tree(source, {"disk": {"b": small(6)}, "a": small(5, 900)})
    well(job)
    (source / "a").rename(source / "c")
    (source / "disk/b").rename(source / "a")
    (source / "c").rename(source / "disk/b")
    well(job)
    assert_same_tree(source, there)


def test_without_a_mirror_what_could_not_be_moved_stays_where_it_was(
    job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.ANOTHER_DISK, options=Options())
    build_tree(source, {"disk": {"x": "x"}, "album": small(5)})
    well(job)
    (source / "album").rename(source / "disk/album")
    well(job)
    here = read_tree(source)
    assert {path: node for path, node in read_tree(there).items() if path in here} == here
    assert (there / "album/f0").exists()
    assert well(job).done == []


@pytest.mark.parametrize("quirks", SERVERS)
def test_a_forbidden_name_is_that_files_problem_and_stops_nobody_else(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.FORBIDS_COLON, *quirks)
    build_tree(source, {f"{n}:x" if n % 2 else f"{n}": os.urandom(100) for n in range(60)})
    result = run(job, Heard())
    assert {problem.reason for problem in result.problems} == {Reason.BAD_NAME}
    assert not any("quota" in problem.message for problem in result.problems)
    assert len(result.problems) == 30
    assert len([path for path in read_tree(there) if not path.startswith(OURS)]) == 30


@pytest.mark.parametrize("folder", [False, True])
def test_a_move_to_a_forbidden_name_never_costs_the_only_copy(
    folder: bool, job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.FORBIDS_COLON)
    build_tree(source, {"a": {"f": "the only copy"}, "other": "other"})
    well(job)
    if folder:
        (source / "a").rename(source / "a:1")
    else:
        (source / "a/f").rename(source / "a/f:1")
    for _ in range(3):
        result = run(job, Heard())
        assert {problem.reason for problem in result.problems} == {Reason.BAD_NAME}
        assert (there / "a/f").read_text() == "the only copy"
    (source / ("a:1/f" if folder else "a/f:1")).rename(source / "ok")
    run(job, Heard())
    assert (there / "ok").read_text() == "the only copy"


def test_where_nothing_may_be_renamed_nothing_is_sent_again_and_again(
    job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.RENAME_DENIED)
    build_tree(source, {f"big{n}": os.urandom(100_000) for n in range(60)})
    first = run(job, Heard())
    assert len(first.problems) == 60
    assert {problem.reason for problem in first.problems} == {Reason.DENIED}
    heard = Heard()
    second = run(job, heard)
    assert second.traffic.bytes_sent < 200_000
    assert [said for said in heard.said if "rename" in said] != []


@pytest.mark.parametrize("on_drift", list(OnDrift))
def test_what_was_moved_here_and_changed_there_is_dealt_with_as_a_delete(
    on_drift: OnDrift, job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(options=Options(mirror=True, on_drift=on_drift))
    build_tree(source, {"d": {"f": "ours", "g": "more"}, "x": "x", "y": "other y"})
    well(job)
    (there / "d/f").write_text("edited there")
    (there / "x").write_text("edited, too")
    (source / "d/f").rename(source / "moved")
    (source / "x").rename(source / "t")  # a swap: it has to be parked
    (source / "y").rename(source / "x")
    (source / "t").rename(source / "y")
    result = run(job, Heard())
    told = {problem.path: problem.reason for problem in result.problems}
    if on_drift is OnDrift.SKIP:
        assert told == {"d/f": Reason.DRIFT, "x": Reason.DRIFT, "y": Reason.PREREQUISITE}
        assert (there / "d/f").read_text() == "edited there"
        assert (there / "moved").read_text() == "ours"
        return
    assert told == {}
    assert_same_tree(source, there)
    kept = {path.read_text() for path in there.rglob("trash/kept/**/*") if path.is_file()}
    assert kept == ({"edited there", "edited, too"} if on_drift is OnDrift.BACKUP else set())


def test_without_a_mirror_what_was_changed_there_stays_with_a_note(
    job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(options=Options())
    build_tree(source, {"f": "ours"})
    well(job)
    (there / "f").write_text("edited there")
    (source / "f").rename(source / "moved")
    result = well(job)
    assert [note.path for note in result.notes] == ["f"]
    assert (there / "f").read_text() == "edited there"
    assert (there / "moved").read_text() == "ours"
    assert well(replace(job, options=Options(mirror=True))).done[0].op is Op.DELETE
    assert {path.read_text() for path in there.rglob("trash/kept/f")} == {"edited there"}


@pytest.mark.parametrize("quirks", SERVERS)
def test_what_somebody_else_put_on_another_file_system_is_kept_there(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.ANOTHER_DISK, *quirks)
    build_tree(source, {"disk": {"d": {"f": "ours", "g": "ours as well", "old": "o"}}})
    well(job)
    for name in ("f", "g", "new"):
        (there / "disk/d" / name).write_text(f"theirs: {name}")
    build_tree(source, {"disk": {"d": {"f": "changed", "new": "new"}}})
    (source / "disk/d/g").unlink()
    heard = Heard()
    assert run(job, heard).problems == []
    (folder,) = (there / "disk").glob(".reconcile-kept-*")
    kept = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert kept == {f"d/{name}": f"theirs: {name}" for name in ("f", "g", "new")}
    assert [said for said in heard.said if folder.name in said] != []
    assert_same_tree(source, there, ignore={f"disk/{folder.name}", OURS})
    (source / "disk/d/old").unlink()
    well(replace(job, options=replace(job.options, refresh=True, allow_mass_delete=True)))
    assert {path.read_text() for path in folder.rglob("*") if path.is_file()} == set(kept.values())


@pytest.mark.parametrize(
    ("quirk", "most"), [(Quirk.FEW_HANDLES, HANDLES), (Quirk.SIXTEEN_HANDLES, MORE_HANDLES)]
)
def test_a_server_with_few_handles_is_asked_for_fewer_and_remembered(
    quirk: Quirk, most: int, job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(quirk)
    build_tree(source, {f"d{n}": {**small(9), "big": os.urandom(70_000)} for n in range(9)})
    well(job)
    assert_same_tree(source, there)
    assert 1 <= (learned(job).handles or 0) <= 2 * most
    build_tree(source, {f"d{n}": small(9) for n in range(12)})
    for n in range(7):
        (source / f"d{n}/big").unlink()
    shutil.rmtree(source / "d8")
    well(replace(job, options=replace(job.options, refresh=True, allow_mass_delete=True)))
    assert_same_tree(source, there)


def test_a_server_that_wants_new_files_truncated(job_to: JobTo, source: Path, there: Path) -> None:
    job = job_to(Quirk.WANTS_TRUNC)
    build_tree(source, {"d": small(5), "big": os.urandom(70_000)})
    well(job)
    assert_same_tree(source, there)
    assert learned(job).truncates
    build_tree(source, {"d": small(5, 900), "e": small(3)})
    well(job)
    assert_same_tree(source, there)


def test_any_other_server_is_not_asked_to_truncate(job_to: JobTo, source: Path) -> None:
    job = job_to(Quirk.FEW_HANDLES)
    build_tree(source, small(20))
    well(job)
    assert not learned(job).truncates


def test_a_quota_that_shows_at_close_is_named_and_ends_the_uploads(
    job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.QUOTA_AT_CLOSE)
    build_tree(source, {f"f{n}": os.urandom(9_000) for n in range(200)})
    heard = Heard()
    result = run(job, heard)
    assert {problem.reason for problem in result.problems} == {Reason.NO_SPACE}
    assert all("quota" in problem.message for problem in result.problems)
    assert [said for said in heard.said if "quota" in said] != []
    assert result.traffic.bytes_sent < 150 * 9_000
    assert len(result.done) == 5


def test_once_renames_are_allowed_again_all_is_sent(
    job_to: JobTo, source: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tree(source, small(5))
    job = job_to(Quirk.RENAME_DENIED)
    assert len(run(job, Heard()).problems) == 5
    monkeypatch.setattr(QuirkyFiles, "_check_rename", lambda *_: None)
    well(job)
    assert_same_tree(source, there)


@pytest.mark.parametrize("filters", [("*.tmp",), ()])
def test_what_is_moved_across_with_filters_in_force_arrives_too(
    filters: tuple[str, ...], job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(Quirk.ANOTHER_DISK, options=Options(mirror=True, filters=filters))
    build_tree(source, {"disk": {"x": "x"}, "album": {"sub": small(3), **small(5)}})
    well(job)
    (there / "album/theirs.tmp").write_text("excluded")
    (source / "album").rename(source / "disk/album")
    run(job, Heard())
    assert_same_tree(source, there, ignore={"album"})
    assert (there / "album/theirs.tmp").read_text() == "excluded"
    assert well(job).done == []


@pytest.mark.parametrize(("quirks", "agree"), [((), True), ((Quirk.CHANNELS_APART,), False)])
def test_more_channels_are_used_where_they_show_the_same_folder(
    quirks: tuple[Quirk, ...],
    agree: bool,
    job_to: JobTo,
    source: Path,
    there: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "A_CHANNEL", 100_000)
    monkeypatch.setattr(driver, "FAR", 0.0)
    job = job_to(*quirks)
    build_tree(source, {f"f{n}": os.urandom(300_000) for n in range(6)})
    for _ in range(2):
        well(job)
        assert learned(job).channels_agree is agree
        assert_same_tree(source, there)
        build_tree(source, {f"f{n}": os.urandom(300_000) for n in range(6)})


@pytest.mark.parametrize("quirks", [(Quirk.NAMES_AS_TEXT,), (Quirk.NAMES_AS_TEXT, Quirk.CLAIMS_OPENSSH)])
def test_names_that_the_server_would_change_are_told_and_not_brought(
    quirks: tuple[Quirk, ...], job_to: JobTo, source: Path, there: Path
) -> None:
    job = job_to(*quirks)
    build_tree(
        source,
        {"caf\udce8": "grave", "ok": "ok", "ü": "u", "d\udcff": {"inside": "i"}} | {"caf\udce9": "acute"},
    )
    for _ in range(2):
        result = run(job, Heard())
        told = {problem.path: problem.reason for problem in result.problems}
        assert told.pop("d\udcff/inside") in (Reason.BAD_NAME, Reason.PREREQUISITE)
        assert told == dict.fromkeys(("caf\udce8", "caf\udce9", "d\udcff"), Reason.BAD_NAME)
        assert {path for path in read_tree(there) if not path.startswith(OURS)} == {"ok", "ü"}
    assert learned(job).keeps_bytes is False


def test_names_that_the_server_shows_as_others_are_told_and_not_brought_again(
    job_to: JobTo, source: Path, there: Path
) -> None:
    """It shows them as they were given until another session looks: nobody can know before."""
    job = job_to(Quirk.CONTROLS_AS_SIGNS)
    build_tree(source, {"a\nb": "control", "ok": "ok", "d": {"x\x01": "another", "y": "y"}})
    well(job)
    for _ in range(2):
        result = run(replace(job, options=Options(mirror=True, refresh=True)), Heard())
        told = {problem.path: problem.reason for problem in result.problems}
        assert told == dict.fromkeys(("a\nb", "d/x\x01"), Reason.BAD_NAME)
        assert not result.ended
    build_tree(source, {"d": {"new\r": "refused at once"}})
    assert {problem.path for problem in run(job, Heard()).problems} == {"a\nb", "d/x\x01", "d/new\r"}


def test_names_that_are_kept_as_they_are_arrive(job_to: JobTo, source: Path, there: Path) -> None:
    job = job_to()
    build_tree(source, {b"caf\xe8": "grave", b"d\xff": {"inside": "i"}})
    well(job)
    assert_same_tree(source, there)
    assert learned(job).keeps_bytes
