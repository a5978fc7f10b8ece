"""Names that are two here and one on the server: told, no content is lost, and it comes to an end.

Which may be one is in the core's ``twins``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.job import Job, Options, Result
from reconcile.core.model import Reason
from reconcile.core.twins import fold_name
from reconcile.pipeline import run
from tests.remotes.conformance import Heard
from tests.support.jobs import JobTo
from tests.support.quirky import Quirk, reach, start_quirky
from tests.support.trees import File, Tree, build_tree

SAME = 1_700_000_000  # seconds

Push = Callable[..., Result]


@pytest.fixture(params=[(), (Quirk.CLAIMS_OPENSSH,), (Quirk.RENAME_REPLACES,)], ids=str)
def push(request: pytest.FixtureRequest, job_to: JobTo) -> Push:
    """Bring SRC to a server that ignores case."""
    job = job_to(Quirk.CASELESS, *request.param)
    return lambda **flags: run(replace(job, options=Options(**flags)), Heard())


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "remote/dest"


def contents(folder: Path) -> list[str]:
    """Of all files that stand, sorted."""
    return sorted(
        path.read_text() for path in folder.rglob("*") if path.is_file() and ".reconcile" not in path.parts
    )


def kept(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob(".reconcile/*/*/trash/kept/**/*") if path.is_file()]


PAIRS = {
    "case": ("readme", "README"),
    "composition": ("caf\u00e9", "cafe\u0301"),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("texts", [("small", "LARGE!"), ("", "")], ids=["differ", "alike"])
def test_two_files_that_are_one_there(
    push: Push, source: Path, there: Path, pair: str, texts: tuple[str, str]
) -> None:
    names = sorted(PAIRS[pair])
    build_tree(source, {name: File(text, mtime=SAME) for name, text in zip(names, texts, strict=True)})
    build_tree(source, {"other": "other"})
    runs: list[dict[str, bool]] = [{}, {}, {"refresh": True}, {"refresh": True, "mirror": True}]
    for flags in runs:
        result = push(**flags)
        (problem,) = result.problems
        assert problem.path == names[1]
        assert problem.reason is Reason.BAD_NAME
        assert all(repr(name) in problem.message for name in names)
        assert contents(there) == sorted([texts[0], "other"])
        assert kept(there) == []
    (source / names[1]).unlink()
    assert push(mirror=True).problems == []
    assert contents(there) == sorted([texts[0], "other"])
    assert push(mirror=True, refresh=True).done == []


def test_the_first_goes_and_the_other_comes(push: Push, source: Path, there: Path) -> None:
    build_tree(source, {"a": File("small", mtime=SAME), "A": File("LARGE!", mtime=SAME)})
    assert [problem.path for problem in push(mirror=True).problems] == ["a"]
    (source / "A").unlink()
    assert push(mirror=True).problems == []
    assert contents(there) == ["small"]
    assert push(mirror=True, refresh=True).done == []


def test_two_directories_that_are_one_there(push: Push, source: Path, there: Path) -> None:
    tree: Tree = {"Docs": {"x": "large", "deeper": {"y": "y"}}, "docs": {"x": "small", "deeper": {"y": "Y"}}}
    build_tree(source, tree)
    build_tree(source / "new", tree)
    for _ in range(2):
        result = push(mirror=True, refresh=True)
        told = [problem.path for problem in result.problems if problem.reason is Reason.BAD_NAME]
        assert sorted(told) == ["docs", "new/docs"]
        assert contents(there) == ["large", "large", "y", "y"]
    assert kept(there) == []


def test_a_new_name_that_is_one_there_that_stands(push: Push, source: Path, there: Path) -> None:
    build_tree(source, {"d": {"Makefile": "first", **{f"f{n}": "f" for n in range(5)}}, "moved": "second"})
    push()
    (source / "moved").rename(source / "d/makefile")
    (source / "d/MAKEFILE").symlink_to("f1")
    result = push(mirror=True)
    assert sorted(problem.path for problem in result.problems) == ["d/MAKEFILE", "d/makefile"]
    assert (there / "d/Makefile").read_text() == "first"
    assert (there / "moved").read_text() == "second", "what could not move is the only copy there"


def test_a_name_that_only_changes_its_case(push: Push, source: Path, there: Path) -> None:
    build_tree(source, {"d": {"readme": "text", "file": "f"}})
    push(mirror=True)
    (source / "d/readme").rename(source / "d/README")
    (source / "d/file").unlink()
    build_tree(source, {"d": {"FILE": "another"}})
    assert push(mirror=True).problems == []
    assert sorted(os.listdir(there / "d")) == ["FILE", "README"]
    assert contents(there) == ["another", "text"]


def test_what_is_not_ours_is_kept_whatever_its_spelling(push: Push, source: Path, there: Path) -> None:
    build_tree(source, {"f": "f"})
    push()
    (there / "NEW").write_text("not ours")
    build_tree(source, {"new": "ours"})
    assert push().problems == []
    assert contents(there) == ["f", "ours"]
    assert kept(there) == ["not ours"]


def test_a_server_that_tells_them_apart_gets_both(job_to: JobTo, source: Path, served: Path) -> None:
    names: Tree = {"readme": "1", "README": "2", "a.": "3", "a": "4", "d": {"x": "5"}, "D": {"x": "6"}}
    build_tree(source, names)
    result = run(job_to(options=Options()), Heard())
    assert result.problems == []
    assert contents(served / "dest") == ["1", "2", "3", "4", "5", "6"]


def test_names_that_the_server_spells_in_its_own_way_are_ours(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree: Tree = {
        "caf\u00e9": {"na\u00efve": "1", "deeper": {"\u00e9": "2"}},
        "\u00fc": "3",
        "x": {"\u00e4": "4"},
    }
    build_tree(source, tree)
    (tmp_path / "remote").mkdir()
    there = tmp_path / "remote/dest"
    with start_quirky(tmp_path / "remote", Quirk.DECOMPOSES) as server:
        target, login = reach(server, tmp_path / "known_hosts", "/dest", monkeypatch)
        job = Job(str(source), target, str(tmp_path / "state"), Options(mirror=True), login)
        looking = replace(job, options=replace(job.options, refresh=True))
        assert run(job, Heard()).problems == []
        assert run(looking, Heard()).done == []
        (source / "\u00fc").write_text("changed")
        shutil.rmtree(source / "caf\u00e9")
        (source / "x").rename(source / "\u00f6")
        result = run(job, Heard())
        assert result.problems == result.notes == []
        assert contents(there) == ["4", "changed"]
        assert kept(there) == []
        assert not (there / "cafe\u0301").exists()
        assert run(looking, Heard()).done == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README", "readme"),
        ("caf\u00e9", "cafe\u0301"),
        ("STRASSE", "stra\u00dfe"),
        ("caf\udce8", "caf\udce9"),  # bytes that are no UTF-8
        ("a. .", "A"),
    ],
)
def test_names_that_may_be_one(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other)
    assert fold_name(f"{one}\0x\0{other}").split("\0") == [fold_name(one), "x", fold_name(other)]
