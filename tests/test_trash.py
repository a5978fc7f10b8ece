"""``--trash`` and ``trash``: what a job has deleted or replaced can be had back, for a while."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.cli import main
from reconcile.config import Flags, make_job
from reconcile.core.errors import Exit, UsageError
from reconcile.core.job import OnDrift, Options, Result, Trash
from reconcile.core.marks import is_mark
from reconcile.pipeline import make_plan, run
from tests.remotes.conformance import Heard
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk
from tests.support.trees import Link, Tree, build_tree, read_tree

DAY = 86_400
SITE: Tree = {"a": "one", "b": "two", "d": {"e": {"f": "three"}, "g": "four"}, "l": Link("a")}


@pytest.fixture
def flags(source: Path, dest: Path, state: Path) -> Flags:
    build_tree(source, SITE)
    return Flags(str(source), str(dest), state=str(state), mirror=True, allow_mass_delete=True, trash="30d")


def push(flags: Flags, heard: Heard | None = None, **more: object) -> Result:
    ran = run(make_job(replace(flags, **more)), heard or Heard())
    assert not ran.problems
    return ran


def retired(dest: Path) -> dict[str, bytes]:
    """What is in the trash, by the paths at which it was."""
    found = {}
    for old in dest.glob(".reconcile/*/*/trash/old"):
        for path in old.rglob("*"):
            if path.is_symlink() or path.is_file():
                held = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
                found[str(path.relative_to(old))] = held
    return found


def age(dest: Path, seconds: float) -> None:
    """All that is told of the trash, as if it had been there for so long."""
    for mark in dest.glob(".reconcile/*/*.old-*"):
        then = time.time() - seconds
        os.utime(mark, (then, then))


def change(source: Path) -> None:
    """Replace a file and a link, delete a file and a folder."""
    (source / "a").write_text("one, anew")
    (source / "b").unlink()
    shutil.rmtree(source / "d")
    (source / "l").unlink()
    (source / "l").symlink_to("b")


WENT = {"a": b"one", "b": b"two", "d/e/f": b"three", "d/g": b"four", "l": b"a"}


def test_what_is_deleted_or_replaced_stays_for_so_long(flags: Flags, source: Path, dest: Path) -> None:
    push(flags)
    change(source)
    heard = Heard()
    push(flags, heard)
    assert retired(dest) == WENT
    assert (
        "4 things that were deleted or replaced went to the trash there (15 B; 'reconcile trash')"
        in heard.said
    )
    assert "Require all denied" in (dest / ".reconcile" / ".htaccess").read_text()
    assert make_plan(make_job(replace(flags, refresh=True)), Heard()).plan.empty
    age(dest, 29 * DAY)
    (source / "new").write_text("1")
    push(flags)
    assert retired(dest) == WENT
    age(dest, 31 * DAY)
    (source / "new").write_text("22")
    push(flags)
    assert retired(dest) == {"new": b"1"}
    age(dest, 31 * DAY)
    (source / "new").write_text("333")
    push(flags, trash="none")  # nothing goes by itself
    assert retired(dest) == {"new": b"1"}


def test_what_went_there_before_a_run_began_anew_counts_once(flags: Flags, source: Path, dest: Path) -> None:
    push(flags)
    shutil.rmtree(dest / "d")  # which shows as something new is to come there
    build_tree(source, {"a": "one, anew", "d": {"e": {"new": {"h": "five"}}}})
    heard = Heard()
    push(flags, heard)
    assert retired(dest) == {"a": b"one"}
    [mark] = dest.glob(".reconcile/*/*.old-*")
    assert mark.name.endswith(".old-1-3")
    assert len([said for said in heard.said if "went to the trash" in said]) == 1


def test_of_a_folder_counts_what_is_there(flags: Flags, source: Path, dest: Path) -> None:
    push(flags)
    (dest / "d/e/f").unlink()  # by somebody else
    shutil.rmtree(source / "d")
    push(flags)
    [mark] = dest.glob(".reconcile/*/*.old-*")
    assert mark.name.endswith(f".old-1-{len('four')}")


def test_out_of_order_too_a_run_that_retires_nothing_leaves_nothing(
    job_to: JobTo, source: Path, served: Path
) -> None:
    build_tree(source, {"d": {"f": "x", "g": {"h": "y", "i": "z"}}, "k": "z"})
    options = Options(mirror=True, allow_mass_delete=True, trash=Trash(DAY))
    job, dest = job_to(Quirk.UNORDERED, options=options), served / "dest"
    run(job, Heard())
    for path in ("d/f", "d/g/h", "k"):
        (source / path).unlink()
        (dest / path).unlink()  # by somebody else
        assert not run(job, Heard()).problems
        assert all(is_mark(each.name) for each in dest.glob(".reconcile/*/*"))


@pytest.mark.parametrize("limit", ["1k", "1.0kB", "30d,1k"])
def test_the_oldest_goes_once_that_is_too_much(flags: Flags, source: Path, dest: Path, limit: str) -> None:
    names = ["first", "second", "third", "huge"]
    for number, name in enumerate(names):
        (source / name).write_text("x" * (2000 if name == "huge" else 450))
        (source / "d" / name).write_text(f"{number}")
    push(flags, trash=limit)
    left = []
    for name in names:
        (source / name).unlink()
        push(flags, trash=limit)
        left.append({path for path in retired(dest) if path in names})
        for mark in dest.glob(".reconcile/*/*.old-*"):
            then = mark.stat().st_mtime - 60
            os.utime(mark, (then, then))
    assert left == [{"first"}, {"first", "second"}, {"second", "third"}, {"huge"}]


@pytest.mark.parametrize("quirks", [[], [Quirk.ANNOUNCES_NOTHING]])
def test_over_sftp_whatever_the_server_can(
    job_to: JobTo, quirks: list[Quirk], served: Path, source: Path, tree: Callable[[Tree], Path]
) -> None:
    tree(SITE)
    job = job_to(*quirks, options=Options(mirror=True, allow_mass_delete=True, trash=Trash(30.0 * DAY)))
    run(job, Heard())
    change(source)
    assert not run(job, Heard()).problems
    dest = served / "dest"
    assert retired(dest) == WENT
    assert (dest / "a").read_text() == "one, anew"
    assert not (dest / "d").exists()


def test_what_is_replaced_may_go_at_once(flags: Flags, source: Path, dest: Path) -> None:
    push(flags)
    change(source)
    (source / "b").mkdir()  # which it makes room for
    push(flags, trash_replaced=False)
    assert retired(dest) == {path: WENT[path] for path in ("b", "d/e/f", "d/g")}
    assert not list(dest.glob(".reconcile/*/*/trash/kept"))
    (source / "a").write_text("once more")
    push(flags, trash_replaced=False)
    assert len(list(dest.glob(".reconcile/*/*.old-*"))) == 1
    (source / "a").rename(source / "l")  # over what is there
    push(flags, trash_replaced=False)
    assert set(retired(dest)) == {"b", "d/e/f", "d/g"}


def test_many_ask_once_for_what_they_share(job_to: JobTo, source: Path, served: Path) -> None:
    """One request more for each that is replaced, and a few in all."""
    names = [f"f{number}" for number in range(60)]
    job = job_to()
    asked = []
    for number, trash in enumerate((None, None, Trash(30.0 * DAY))):
        build_tree(source, {"d": {"e": dict.fromkeys(names, "one" + number * "more")}})
        ran = run(replace(job, options=Options(mirror=True, trash=trash)), Heard())
        assert not ran.problems
        asked.append(ran.traffic.requests)
    assert asked[2] - asked[1] < 2.5 * len(names)
    assert len(retired(served / "dest")) == len(names)


def test_where_nothing_is_replaced_after_all_nothing_is_left(
    job_to: JobTo, source: Path, served: Path, tree: Callable[[Tree], Path]
) -> None:
    tree({"d": {"a": "one"}, "b": "two"})
    job = job_to(options=Options(mirror=True, on_drift=OnDrift.SKIP, trash=Trash(30.0 * DAY)))
    run(job, Heard())
    for path in ("d/a", "b"):
        (served / "dest" / path).write_text("somebody's")
        (source / path).write_text("anew")
    assert len(run(job, Heard()).problems) == 2
    assert not [p for p in (served / "dest" / ".reconcile").glob("*/*") if "mark-" not in p.name]


def test_what_others_wrote_is_no_part_of_it(flags: Flags, source: Path, dest: Path, tmp_path: Path) -> None:
    push(flags)
    other = replace(flags, state=str(tmp_path / "other"), target=f"{dest}/d/nested", source=str(source / "d"))
    push(other)
    (source / "d" / "g").unlink()
    push(other)
    (dest / "a").write_text("somebody's")
    (dest / "d" / "e" / "theirs").write_text("theirs")
    change(source)
    push(flags)
    kept = {path.name for path in dest.glob(".reconcile/*/*/trash/kept/**/*")}
    assert kept == {"a"}
    assert {path: WENT[path] for path in retired(dest)} == {
        path: WENT[path] for path in ("b", "d/e/f", "d/g", "l")
    }
    nested = dest / "d" / "nested"
    assert retired(nested) == {"g": b"four"}
    before = read_tree(nested)
    age(dest, 31 * DAY)
    (source / "new").write_text("1")
    push(flags)
    assert retired(dest) == {}
    assert {path.name for path in dest.glob(".reconcile/*/*/trash/kept/**/*")} == {"a"}
    assert (dest / "d" / "e" / "theirs").read_text() == "theirs"
    assert read_tree(nested) == before


def test_after_sixty_nights_a_run_asks_for_no_more(
    job_to: JobTo, served: Path, source: Path, tree: Callable[[Tree], Path]
) -> None:
    tree({"a": "0", "keeps": "k"})
    job = job_to(options=Options(mirror=True, allow_mass_delete=True, trash=Trash(30.0 * DAY)))
    run(job, Heard())
    asked = []
    for night in range(60):
        (source / "a").write_text(f"{night}")
        (source / f"n{night}").write_text("new")
        (source / f"n{night - 1}").unlink(missing_ok=True)
        if night % 2:
            (served / "dest" / "a").write_text(f"drift {night}")
        asked.append(run(job, Heard()).traffic.requests)
        for mark in (served / "dest").glob(".reconcile/*/*.old-*"):
            then = mark.stat().st_mtime - DAY
            os.utime(mark, (then, then))
    first, later = asked[2:12], asked[40:]  # from the 31st on something goes each night
    assert max(later) <= max(first) + 12
    assert len(list((served / "dest").glob(".reconcile/*/*.old-*"))) <= 32


def test_where_it_can_not_be_had(flags: Flags) -> None:
    for text in ("soon", "", "30d,12h", "5GB,5GB", "-1d", "5", "30d,"):
        with pytest.raises(UsageError, match="--trash takes an age"):
            make_job(replace(flags, trash=text))
    with pytest.raises(UsageError, match="goes with no --publish release"):
        make_job(replace(flags, publish="release"))


# The commands


@pytest.fixture
def trash(
    flags: Flags, source: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    push(flags)
    change(source)
    push(flags)

    def call(command: str, *args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["trash", command, flags.source, flags.target, *args, "--state", str(flags.state)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


Called = Callable[..., tuple[int, str, str]]


def run_of(trash: Called) -> str:
    (job,) = json.loads(trash("ls", "--json")[1])["jobs"]
    return str(job["runs"][-1]["run"])


def test_it_comes_back_and_stays(trash: Called, flags: Flags, source: Path, dest: Path) -> None:
    name = run_of(trash)
    code, out, _ = trash("show", name)
    assert code == Exit.OK
    assert [line.split()[-1] for line in out.splitlines()].count("d/e/f") == 1
    assert trash("restore", name, "d/e", "b")[:2] == (Exit.OK, "back: b\nback: d/e\n")
    assert ((dest / "b").read_text(), (dest / "d/e/f").read_text()) == ("two", "three")
    assert retired(dest) == {path: WENT[path] for path in ("a", "d/g", "l")}
    code, out, _ = trash("restore", name)
    assert code == Exit.OK
    assert sorted(out.splitlines()) == [
        f"back: a → a.from-{name}",
        "back: d/g",
        f"back: l → l.from-{name}",
    ]
    assert (dest / "a").read_text() == "one, anew"
    assert (dest / f"a.from-{name}").read_text() == "one"
    (source / "new").write_text("1")
    push(flags)
    assert (dest / "d/e/f").read_text() == "three"
    assert (dest / f"a.from-{name}").exists()
    assert trash("restore", name, "b")[0] == Exit.USAGE  # nothing is in there any more


def left(trash: Called) -> list[tuple[int, int]]:
    """Of each run: how many things, and bytes."""
    (job,) = json.loads(trash("ls", "--json")[1])["jobs"]
    return [(run["count"], run["bytes"]) for run in job["runs"]]


def test_what_came_back_is_counted_no_more(trash: Called, dest: Path) -> None:
    name = run_of(trash)
    assert left(trash) == [(4, 15)]
    since = next(dest.glob(".reconcile/*/*.old-*")).stat().st_mtime
    assert trash("restore", name, "b")[0] == Exit.OK
    assert left(trash) == [(3, 12)]
    assert trash("restore", name, "d")[0] == Exit.OK
    assert left(trash) == [(2, 3)]
    assert next(dest.glob(".reconcile/*/*.old-*")).stat().st_mtime == since, "and it goes when it would have"
    assert trash("restore", name, "nothing")[0] == Exit.PROBLEMS
    assert left(trash) == [(2, 3)]
    assert trash("restore", name)[0] == Exit.OK
    assert left(trash) == []
    assert not [path for path in dest.glob(".reconcile/*/*") if "mark-" not in path.name]


def test_a_folder_comes_back_into_what_is_there(trash: Called, dest: Path) -> None:
    (dest / "d" / "e").mkdir(parents=True)
    assert trash("restore", run_of(trash), "d")[0] == Exit.OK
    assert left(trash) == [(2, 6)]
    assert trash("restore", run_of(trash))[0] == Exit.OK
    assert left(trash) == []


def test_that_of_other_jobs_is_told_and_stays(
    trash: Called, flags: Flags, dest: Path, tmp_path: Path
) -> None:
    other = replace(
        flags, source=str(tmp_path / "other"), state=str(tmp_path / "states"), adopt_existing=True
    )
    build_tree(other.source, {"x": "12345", "y": "1"})
    push(other)
    (tmp_path / "other" / "x").unlink()
    push(other)
    theirs = "beside that, of other jobs at this DEST: 1 thing of 1 run (5 B)\n"
    assert trash("ls")[1].endswith(theirs)
    (job,) = json.loads(trash("ls", "--json")[1])["jobs"]
    assert job["others"] == {"runs": 1, "count": 1, "bytes": 5}
    assert trash("empty", "--yes")[1] == "gone for good: 4 things of 1 run\n"
    assert retired(dest) == {"x": b"12345"}
    assert trash("ls")[1] == f"nothing is there\n{theirs}"
    assert trash("empty", "--all")[0] == Exit.REFUSED  # nobody is there to be asked
    assert trash("empty", "--all", "--older-than", "1d", "--yes")[0] == Exit.USAGE
    assert retired(dest) == {"x": b"12345"}
    assert trash("empty", "--all", "--yes")[1] == "gone for good: 1 thing of 1 run\n"
    assert retired(dest) == {}
    assert trash("ls")[1] == "nothing is there\n"


def test_nothing_goes_that_is_behind_a_link(trash: Called, dest: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    build_tree(elsewhere, {"old": {"precious": "1"}})
    (there,) = dest.glob(".reconcile/*/*/trash")
    there.rename(tmp_path / "aside")
    there.symlink_to(elsewhere)
    assert trash("empty", "--yes")[0] == Exit.PROBLEMS
    assert (elsewhere / "old" / "precious").exists()


def test_nothing_is_written_through_a_link(trash: Called, dest: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (dest / "d").symlink_to(tmp_path / "elsewhere")
    code, _, err = trash("restore", run_of(trash), "d/g")
    assert (code, "'d' is no directory there" in err) == (Exit.PROBLEMS, True)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "", ".", "d/../../x"])
def test_a_path_leads_nowhere_else(trash: Called, path: str) -> None:
    assert trash("restore", run_of(trash), path)[0] == Exit.USAGE


def test_it_goes_for_good_when_it_is_told_to(trash: Called, dest: Path) -> None:
    name = run_of(trash)
    assert trash("empty")[0] == Exit.REFUSED  # nobody is there to be asked
    assert trash("empty", "--older-than", "1d", "--yes")[1] == "gone for good: 0 things of 0 runs\n"
    assert retired(dest) == WENT
    assert trash("empty", "--yes")[1] == "gone for good: 4 things of 1 run\n"
    assert not list(dest.glob(".reconcile/*/*.old-*"))
    assert trash("ls")[1] == "nothing is there\n"
    code, _, err = trash("show", name)
    assert (code, "has anything in the trash" in err) == (Exit.USAGE, True)


def test_of_a_job_that_never_ran(flags: Flags, capsys: pytest.CaptureFixture[str], dest: Path) -> None:
    dest.mkdir()
    code = main(["trash", "ls", flags.source, flags.target, "--state", str(flags.state)])
    assert (code, "No run of this job is known" in capsys.readouterr().err) == (Exit.REFUSED, True)


def test_none_needs_a_look_beyond_the_list(flags: Flags, source: Path, dest: Path) -> None:
    """What a run leaves is told by the names beside its folder."""
    push(flags)
    change(source)
    push(flags)
    (lineage,) = (path for path in (dest / ".reconcile").iterdir() if path.is_dir() and path.name != "store")
    marks = [path.name for path in lineage.iterdir() if ".old-" in path.name]
    assert [name.partition(".old-")[2] for name in marks] == ["4-15"]
