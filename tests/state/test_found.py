"""What was sent is known by a name wherever SRC is, and is another folder's where it is another folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import pytest

from reconcile.config import Flags, make_job
from reconcile.core.errors import Refused
from reconcile.core.job import Job
from reconcile.phases.verify import verify
from reconcile.pipeline import make_plan, run
from tests.remotes.conformance import Heard
from tests.support.trees import Dir, File, Link, Tree, assert_same_tree, build_tree

OLD = 1_600_000_000  # an mtime that no clock takes for now
JobOf = Callable[..., Job]


def pages(count: int, text: str = "page") -> dict[str, object]:
    return {f"p{number}": File(f"{text} {number}", mtime=OLD) for number in range(count)}


@pytest.fixture
def job_of(tmp_path: Path, state: Path) -> JobOf:
    """``job_of(source, **flags)``: all bring to one folder, and have one ``--state``."""

    def job_of(source: Path, **flags: object) -> Job:
        given = {"target": str(tmp_path / "dest"), "state": str(state), **flags}
        return make_job(Flags(source=str(source), **given))  # type: ignore[arg-type]

    return job_of


def done(job: Job) -> Counter[str]:
    """How many actions of each kind a run came to. It must end well."""
    ran = run(job, Heard())
    assert not ran.problems
    return Counter(action.op.value for action in ran.done)


def planned(job: Job) -> Counter[str]:
    return Counter(action.op.value for action in make_plan(job, Heard()).done)


def built(folder: Path, tree: Tree) -> Path:
    build_tree(folder, tree)
    return folder


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_name_is_enough_wherever_src_is(tmp_path: Path, state: Path, job_of: JobOf) -> None:
    one, other = (built(tmp_path / f"builds/{n}/www", pages(6)) for n in (1, 2))
    assert done(job_of(one, job="www")) == {"create": 6}
    build_tree(other, {"p0": "another footer", "p1": "another footer"})
    assert planned(job_of(other, job="www")) == {"modify": 2}
    assert done(job_of(other, job="www")) == {"modify": 2}
    checked = verify(job_of(tmp_path / "gone", job="www"), Heard()).checked
    assert checked is not None
    assert not checked.wrong
    assert done(job_of(one, job="www")) == {"modify": 2}, "and back"
    assert [name.startswith("www-to-dest-") for name in states(state)] == [True]


def test_what_src_had_sent_becomes_the_named_job_s(tmp_path: Path, state: Path, job_of: JobOf) -> None:
    src = built(tmp_path / "src", pages(3))
    assert done(job_of(src)) == {"create": 3}
    before = states(state)
    assert planned(job_of(src, job="www")) == {}
    assert states(state) == before, "a plan changes nothing"
    assert done(job_of(src, job="www")) == {}
    named = states(state)
    assert len(named) == 1
    assert named != before
    assert done(job_of(src)) == {}, "nor is it lost without the name"
    with pytest.raises(Refused, match="already holds something"):
        run(job_of(src, job="another"), Heard())
    moved = src.rename(tmp_path / "moved")
    assert done(job_of(moved, moved_from=str(src))) == {}
    assert states(state) == named, "and keeps its name"
    assert done(job_of(moved, job="www")) == {}


@pytest.mark.parametrize("mirror", [False, True], ids=["kept", "mirrored"])
def test_a_name_that_was_given_to_another_folder(tmp_path: Path, job_of: JobOf, mirror: bool) -> None:
    one = built(tmp_path / "one", pages(5))
    other = built(tmp_path / "other", {"p0": "new", "p1": "new", "q2": "q", "q3": "q", "q4": "q"})
    given = {"job": "www", "mirror": mirror, "allow_mass_delete": mirror}
    assert done(job_of(one, **given)) == {"create": 5}
    for carry_out in (make_plan, run, run):
        with pytest.raises(
            Refused, match=r"'www' .* 5 entries that it knows 3 are not in .*/other'"
        ) as refused:
            carry_out(job_of(other, **given), Heard())
        assert f"--moved-from '{one}'" in str(refused.value)
    assert_same_tree(one, tmp_path / "dest")
    assert done(job_of(other, **given, moved_from=str(one)))["create"] == 3
    assert done(job_of(other, **given)) == {}


def test_a_run_of_some_paths_does_not_make_another_folder_the_job_s(tmp_path: Path, job_of: JobOf) -> None:
    one = built(tmp_path / "one", pages(5))
    other = built(tmp_path / "other", {"p0": "new", "q1": "q", "q2": "q", "q3": "q", "q4": "q"})
    assert done(job_of(one, job="www")) == {"create": 5}
    assert done(job_of(other, job="www", only=("p0",))) == {"modify": 1}
    with pytest.raises(Refused, match=r"5 entries that it knows 4 are not in .*/other'"):
        run(job_of(other, job="www"), Heard())
    assert done(job_of(one, job="www")) == {"modify": 1}


def test_a_name_and_a_build_whose_files_have_other_names(tmp_path: Path, job_of: JobOf) -> None:
    one, other = tmp_path / "builds/1", tmp_path / "builds/2"
    for where, hashed, folder in ((one, "1a2b", "old"), (other, "3c4d", "new")):
        build_tree(where, {f"chunk{n}-{n}{hashed}{n}.js": f"{hashed} {n}" for n in range(9)})
        build_tree(where, {"index": hashed, folder: pages(9)})
    assert done(job_of(one, job="www"))["create"] == 19
    assert done(job_of(other, job="www")) == {"create": 9, "modify": 1, "move": 1}


def said(job: Job) -> list[str]:
    heard = Heard()
    assert run(job, heard).plan.empty
    return heard.said


@pytest.mark.parametrize("stays", [False, True], ids=["it is gone", "it is there, and alone in --state"])
def test_a_checkout_at_another_path(tmp_path: Path, state: Path, job_of: JobOf, stays: bool) -> None:
    one, other = tmp_path / "AAA/0", tmp_path / "BBB/1"
    given = {"mirror": True, "times": "ignore"}
    assert done(job_of(built(one, pages(9)), **given)) == {"create": 9}
    before = states(state)
    built(other, {f"p{number}": f"page {number}" for number in range(9)})
    if not stays:
        rmtree(one)
    assert planned(job_of(other, **given)) == {}
    assert states(state) == before, "a plan changes nothing"
    assert f"SRC moved from {str(one)!r} to {str(other)!r}: what was sent from there is known" in said(
        job_of(other, **given)
    )
    assert len(states(state)) == 1
    assert said(job_of(other, **given)) == [], "it is told once"


def test_no_more_than_half_of_it_is_another_folder(tmp_path: Path, state: Path, job_of: JobOf) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert done(job_of(built(one, {**pages(4), "link": Link("x")}))) == {"create": 5}
    rmtree(one)
    built(other, {**pages(2), "p2": "page!2", "p3": "page!3", "more": Dir(pages(9, "x"))})
    before = states(state)
    for carry_out in (make_plan, run):
        with pytest.raises(Refused, match=r"is of another SRC: '.*/one'"):
            carry_out(job_of(other), Heard())
    assert states(state) == before
    built(other, {"link": Link("x")})
    assert done(job_of(other))["modify"] == 2, "three of five"


@pytest.mark.parametrize("stays", [False, True], ids=["both are gone", "both are there"])
def test_two_that_it_may_be_are_none(tmp_path: Path, job_of: JobOf, stays: bool) -> None:
    one, two = built(tmp_path / "one", pages(3)), built(tmp_path / "two", pages(3))
    assert done(job_of(one)) == {"create": 3}
    assert done(job_of(one, target=str(tmp_path / "elsewhere"))) == {"create": 3}
    assert done(job_of(two, adopt_existing=True)) == {}
    if not stays:
        rmtree(one)
        rmtree(two)
    with pytest.raises(Refused, match="is of another SRC"):
        run(job_of(built(tmp_path / "three", pages(3))), Heard())


def test_one_of_two_that_is_gone(tmp_path: Path, state: Path, job_of: JobOf) -> None:
    one, two = built(tmp_path / "one", pages(3)), built(tmp_path / "two", pages(3))
    assert done(job_of(one)) == {"create": 3}
    assert done(job_of(one, target=str(tmp_path / "elsewhere"))) == {"create": 3}
    assert done(job_of(two, adopt_existing=True)) == {}
    moved = one.rename(tmp_path / "moved")
    assert done(job_of(moved)) == {}
    assert done(job_of(two)) == {}
    assert len(states(state)) == 3


def test_another_dest_or_another_s_state_is_not_taken(tmp_path: Path, state: Path, job_of: JobOf) -> None:
    one = built(tmp_path / "one", pages(3))
    assert done(job_of(one)) == {"create": 3}
    assert done(job_of(one, target=str(tmp_path / "elsewhere"))) == {"create": 3}
    moved = one.rename(tmp_path / "moved")
    assert done(job_of(moved, job="named", target=str(tmp_path / "third"))) == {"create": 3}
    with pytest.raises(Refused):
        run(job_of(moved, job="named"), Heard())
    assert done(job_of(moved)) == {}
    assert len(states(state)) == 3


def test_what_moved_is_moved_in_dest_too_and_a_damaged_state_is_none(
    tmp_path: Path, state: Path, job_of: JobOf
) -> None:
    one = built(tmp_path / "one", {"d": pages(3), "e": pages(9, "other")})
    assert done(job_of(one, mirror=True))["create"] == 12
    moved = one.rename(tmp_path / "moved")
    (moved / "d").rename(moved / "f")
    snapshot = next(state.glob("*/snapshot"))
    whole = snapshot.read_bytes()
    snapshot.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(Refused, match="is of another SRC"):
        run(job_of(moved, mirror=True), Heard())
    snapshot.write_bytes(whole)
    checked = verify(job_of(moved), Heard()).checked
    assert checked is not None
    assert not checked.wrong
    assert done(job_of(moved, mirror=True)) == {"move": 1}


def test_other_settings_are_told_once(tmp_path: Path, job_of: JobOf) -> None:
    src = built(tmp_path / "src", {**pages(3), ".reconcileignore": "*.map\n"})
    assert done(job_of(src))["create"] == 4
    assert said(job_of(src)) == []
    told = "the run before this had other settings: --times keep, now ignore; with the pattern '*.log'"
    other = {"times": "ignore", "exclude": ("*.log",)}
    for _ in range(2):
        heard = Heard()
        make_plan(job_of(src, **other), heard)
        assert heard.said == [told]
    assert said(job_of(src, **other)) == [told]
    assert said(job_of(src, **other)) == []
