"""Small new files that go together: in directories staged whole, or each renamed. And where they can't."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconcile.core.job import Job, Options
from reconcile.core.model import Footing, Reason
from reconcile.remotes import Remote, open_remote
from reconcile.state.memo import Memo
from tests.remotes.conformance import LINEAGE, OLD, Bench, Heard
from tests.support.sshd import Sshd
from tests.support.trees import Dir, File, Link, assert_same_tree, build_tree


@pytest.fixture
def bench(shim_sshd: Sshd, source: Path, dest: Path, tmp_path: Path) -> Iterator[Bench]:
    """On a server that was tried out before."""
    (tmp_path / "state").mkdir()

    def connect(dest: Path | str, options: Options, heard: Heard) -> Remote:
        at = shim_sshd.endpoint
        job = Job("/", at.target(dest), "/", options, at.login())
        return open_remote(job, heard, Memo(str(tmp_path / "state"), keeps=True))

    first = connect(dest, Options(), Heard())
    first.begin(Footing(LINEAGE), "first")
    list(first.end())
    first.close()
    shim_sshd.requests()
    bench = Bench(connect, source, dest, Options())
    yield bench
    bench.remote.close()
    bench.source.close()


def files(count: int) -> dict[str, object]:
    return {f"f{n}": f"content {n}" for n in range(count)}


def make_directory(bench: Bench, tree: dict[str, object]) -> list[str]:
    """Fill ``d`` in SRC, make it on the remote, and return the paths of the files to bring."""
    build_tree(bench.src, {"d": tree})
    bench.do(bench.mkdir("d"))
    return [f"d/{name}" for name in tree]


def test_a_new_directory_takes_four_requests_a_file(bench: Bench, shim_sshd: Sshd) -> None:
    paths = make_directory(bench, files(200))
    bench.do(*map(bench.create, paths))
    assert_same_tree(bench.src, bench.dest)  # which asks the server for nothing
    assert set(bench.held) == {"d", *paths}
    bench.end()
    bench.remote.close()
    requests = shim_sshd.requests()
    assert requests.total - requests.requests["fsync@openssh.com"] < 200 * 4 + 70, requests
    assert "RENAME" not in requests.requests


def test_its_mode_is_that_of_the_directory(bench: Bench) -> None:
    build_tree(bench.src, {"d": Dir(files(5), mode=0o750)})
    bench.do(bench.mkdir("d"))
    bench.do(*(bench.create(f"d/f{n}") for n in range(5)))
    assert_same_tree(bench.src, bench.dest)


def test_a_file_elsewhere_takes_five(bench: Bench, shim_sshd: Sshd) -> None:
    paths = make_directory(bench, files(200))
    (bench.dest / "d/theirs").mkdir()  # so it can't be put there whole
    bench.do(*map(bench.create, paths[:100]))
    bench.do(*map(bench.create, paths[100:]))  # nor is it new by then
    (bench.dest / "d/theirs").rmdir()
    assert_same_tree(bench.src, bench.dest)
    bench.end()
    bench.remote.close()
    requests = shim_sshd.requests()
    assert requests.requests["RENAME"] == 200
    most = 200 * 5 + 80  # with those by which the bench looks into our folder in the end
    assert requests.total - requests.requests["fsync@openssh.com"] < most, requests


@pytest.mark.parametrize("inside", [[], ["another"]], ids=["staged whole", "each renamed"])
def test_a_member_that_fails_is_left_out(bench: Bench, inside: list[str]) -> None:
    build_tree(bench.src, {"d": {name: {} for name in inside}})
    paths = make_directory(bench, files(20))
    bench.do(*(bench.mkdir(f"d/{name}") for name in inside))
    actions = [bench.create(path) for path in paths]
    (bench.src / "d/f7").unlink()
    (bench.src / "d/f8").unlink()
    os.mkfifo(bench.src / "d/f8")
    outcomes = bench.perform(*actions)
    problems = {o.problem.path: o.problem.reason for o in outcomes if o.problem}
    assert problems == {"d/f7": Reason.VANISHED, "d/f8": Reason.SPECIAL}
    assert set(os.listdir(bench.dest / "d")) == ({f"f{n}" for n in range(20)} | {*inside}) - {"f7", "f8"}
    bench.end()


def test_what_somebody_put_there_meanwhile_stays(bench: Bench) -> None:
    paths = make_directory(bench, files(20))
    build_tree(bench.dest / "d", {"theirs": "theirs", "f3": "theirs too"})
    bench.perform(*map(bench.create, paths))
    assert (bench.dest / "d/theirs").read_text() == "theirs"
    assert (bench.dest / "d/f4").read_text() == "content 4"
    kept = [path.read_text() for path in (bench.dest / ".reconcile").rglob("kept/d/f3")]
    assert (bench.dest / "d/f3").read_text() == "theirs too" or kept == ["theirs too"]


def test_what_is_refused_its_place_is_not_sent_twice(bench: Bench) -> None:
    bench.upload({"d": {"another": {}}})
    build_tree(bench.src, {"d": files(20)})
    actions = [bench.create(f"d/f{n}") for n in range(20)]
    build_tree(bench.dest, {"d": {"f3": "theirs"}})
    shutil.copy2(bench.src / "d/f4", bench.dest / "d/f4")  # as by a run that was cut short
    bench.do(*actions)
    assert bench.heard.bytes == sum(action.bytes for action in actions)
    bench.same()
    assert [kept.read_text() for kept in (bench.dest / ".reconcile").rglob("kept/d/*")] == ["theirs"]


def test_what_changes_while_it_is_sent_is_sent_as_it_is_then(bench: Bench) -> None:
    bench.upload({"d": {"another": {}}})
    build_tree(bench.src, {"d": files(20)})
    actions = [bench.create(f"d/f{n}") for n in range(20)]
    (bench.src / "d/f3").write_text("by now it is longer")
    bench.do(*actions)
    bench.same()
    bench.end()


def test_a_directory_that_became_a_link_is_not_written_through(bench: Bench, tmp_path: Path) -> None:
    paths = make_directory(bench, files(20))
    actions = [bench.create(path) for path in paths]
    remote, outside = bench.remote, tmp_path / "outside"
    outside.mkdir()
    (bench.dest / "d").rmdir()
    (bench.dest / "d").symlink_to(outside)
    del remote._site.memory.parents["d"]  # type: ignore[attr-defined]  # as a later run would look at it anew
    outcomes = bench.perform(*actions)
    assert all(outcome.problem for outcome in outcomes)
    assert os.listdir(outside) == []


def test_directories_in_directories_and_links_go_their_own_way(bench: Bench) -> None:
    bench.upload({"a": {**files(5), "b": {**files(5), "c": {}}, "l": Link("f1")}, "e": files(5)})
    bench.same()
    bench.end()


def test_what_is_there_already_is_not_sent(bench: Bench) -> None:
    build_tree(bench.src, {"old": {f"f{n}": f"content {n}" for n in range(50)}, "new": {}})
    bench.do(bench.mkdir("old"), bench.mkdir("new"))
    bench.do(*(bench.create(f"old/f{n}") for n in range(50)))
    for n in range(50):
        (bench.src / f"old/f{n}").rename(bench.src / f"new/f{n}")
    bench.watch(lambda path: pytest.fail(f"{path} is read"))
    bench.do(*(bench.again(f"old/f{n}", f"new/f{n}") for n in range(50)))
    assert all((bench.dest / f"new/f{n}").samefile(bench.dest / f"old/f{n}") for n in range(50))
    bench.do(*(bench.delete(f"old/f{n}") for n in range(50)))
    bench.end()
    bench.same()


def test_nothing_outside_gets_a_second_name_through_a_link_above(bench: Bench, tmp_path: Path) -> None:
    build_tree(bench.src, {"old": {"f": File("ours", mtime=OLD)}})
    bench.do(bench.mkdir("old"))
    bench.do(bench.create("old/f"))
    outside = tmp_path / "outside"
    (bench.dest / "old").rename(outside)
    (outside / "f").write_text("evil")  # as long, and as old
    os.utime(outside / "f", (OLD, OLD))
    (bench.dest / "old").symlink_to(outside)
    second = Bench(bench.open_remote, bench.src, bench.dest, Options(), "second")
    second.held = bench.held
    (bench.src / "old/f").rename(bench.src / "f")
    second.do(second.again("old/f", "f"))
    assert second.holds("f", "ours")
    assert not (bench.dest / "f").samefile(outside / "f")
    second.remote.close()
