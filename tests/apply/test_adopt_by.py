"""What shows that DEST holds a file already, what of DEST is nobody's here, and a state that was lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from typing import Any, cast

import pytest
from msgspec.structs import replace

from reconcile.apply import adopt
from reconcile.config import Flags, make_job
from reconcile.core.errors import ConnectionLost, Refused, UsageError
from reconcile.core.job import Job, Reporter, Result
from reconcile.core.model import Op, Outcome, Range, Reason
from reconcile.pipeline import make_plan, run
from reconcile.remotes import Memory, Remote, open_remote
from reconcile.state.readback import NAME
from tests.remotes.conformance import Heard
from tests.support.sshd import Sshd
from tests.support.trees import File, Link, Tree, build_tree, read_tree

OLD, OTHER = 1_500_000_000, 1_400_000_000
Push = Callable[..., Result]


class BreaksOffWhileReading:
    """A remote whose line breaks once so many files were read back, and each time it is asked again."""

    def __init__(self, remote: Remote, after: int, read: list[str]) -> None:
        self._remote, self._after, self._read = remote, after, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._remote, name)

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        for path, piece in self._remote.read(ranges):
            if self._after and len(self._read) == self._after:
                raise ConnectionLost("cut")
            self._read.append(path)
            yield path, piece


class BreaksOffAtWork:
    """A remote whose line breaks once so many actions have ended, and each time it is used again."""

    def __init__(self, remote: Remote, after: int) -> None:
        self._remote, self._left = remote, after

    def __getattr__(self, name: str) -> Any:
        if not self._left:
            raise ConnectionLost("cut")
        return getattr(self._remote, name)

    def perform(self, *args: Any, **more: Any) -> Iterator[Outcome]:
        with closing(cast("Generator[Outcome]", self._remote.perform(*args, **more))) as outcomes:
            for outcome in outcomes:
                if not self._left:
                    raise ConnectionLost("cut")
                self._left -= 1
                yield outcome
            if not self._left:
                raise ConnectionLost("cut")


def breaking(after: int, read: list[str]) -> Callable[[Job, Reporter, Memory], Remote]:
    def connect(job: Job, reporter: Reporter, memory: Memory) -> Remote:
        return cast("Remote", BreaksOffWhileReading(open_remote(job, reporter, memory), after, read))

    return connect


@pytest.fixture
def flags(source: Path, dest: Path, state: Path) -> Flags:
    return Flags(str(source), str(dest), state=str(state), adopt_existing=True, mirror=True, retries=0)


def push(flags: Flags, heard: Heard | None = None, **more: object) -> list[str]:
    """Paths that were sent or deleted by a run that ends well."""
    ran = run(make_job(replace(flags, **more)), heard or Heard())
    assert not ran.problems
    return sorted(f"{a.op} {a.path}" for a in ran.done if a.op is not Op.SETMETA)


@pytest.mark.parametrize(
    ("by", "times", "sent"),
    [
        ("time", "keep", ["at another time", "both"]),
        ("time", "ignore", ["both", "other content"]),
        ("content", "keep", ["both"]),
        ("content", "ignore", ["both", "other content"]),
        ("size", "keep", []),
        ("size", "ignore", []),
    ],
)
def test_what_counts_as_sent(
    flags: Flags, source: Path, dest: Path, by: str, times: str, sent: list[str]
) -> None:
    names = ("alike", "at another time", "other content", "both", "longer")
    build_tree(source, {name: File("mine", mtime=OLD) for name in names})
    theirs = {name: File("mine", mtime=OLD) for name in names}
    theirs["at another time"] = File("mine", mtime=OTHER)
    theirs["other content"] = File("them", mtime=OLD)
    theirs["both"] = File("them", mtime=OTHER)
    theirs["longer"] = File("longer", mtime=OLD)
    build_tree(dest, theirs)
    flags = replace(flags, adopt_by=by, times=times)
    assert push(flags) == sorted(f"modify {name}" for name in [*sent, "longer"])
    if times == "keep":
        assert {node.mtime for path, node in read_tree(dest).items() if path in names} == {OLD}
    assert push(flags) == []


def test_what_was_read_back_before_a_cut_is_not_read_again(
    flags: Flags, source: Path, dest: Path, state: Path
) -> None:
    for number in range(9):
        build_tree(source, {f"f{number}": File("x" * (9 - number), mtime=OLD)})
        build_tree(dest, {f"f{number}": File(("x" if number % 2 else "y") * (9 - number), mtime=OTHER)})
    job, read = make_job(flags), list[str]()
    with pytest.raises(ConnectionLost):
        run(job, Heard(), breaking(4, read))
    assert read == ["f8", "f7", "f6", "f5"], "the smallest first"
    (kept,) = state.glob(f"*/{NAME}")
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(kept.read_bytes() + b"torn")
    heard = Heard()
    assert make_plan(job, heard).plan.bytes_to_send == 0
    assert any("5 files there" in said and "up to 35 B" in said for said in heard.said)
    build_tree(dest, {"f7": File("z" * 2, mtime=OTHER + 1)})
    with pytest.raises(ConnectionLost):
        run(job, Heard(), breaking(7, read))
    assert read[4:] == ["f7", "f4", "f3"], "of what has changed meanwhile nothing is known"
    ran = run(job, Heard(), breaking(0, read))
    assert read[7:] == ["f2", "f1", "f0"]
    assert {a.path for a in ran.done if a.op is Op.MODIFY} == {"f0", "f2", "f4", "f6", "f7", "f8"}
    assert not ran.problems
    assert not list(state.glob(f"*/{NAME}"))
    assert {path.name: path.read_bytes() for path in dest.glob("f*")} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }


THEIRS: Tree = {
    "a": File("a", mtime=OLD),
    "old.html": File("old", mtime=OLD),
    "old": {"deep": {"x": "x", "l": Link("nowhere")}, "empty": {}},
    "skipped.log": "log",
    "d": {"a": File("a", mtime=OLD), "gone": "gone", "part.log": "log"},
    "logs": {"only.log": "log"},
    "was-dir": {"inside": "inside"},
}
ORPHANS = {"old.html": 1, "old": 5, "d/gone": 1}


@pytest.fixture
def site(flags: Flags, source: Path, dest: Path) -> Flags:
    """A DEST with more than SRC has, and a state that was lost."""
    build_tree(source, {"a": File("a", mtime=OLD), "d": {"a": File("a", mtime=OLD)}, "was-dir": "file"})
    build_tree(dest, THEIRS)
    return replace(flags, exclude=("*.log",))


def test_who_waits_is_told_how_far_it_is(site: Flags, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopt, "_EACH", 0.0)
    heard = Heard()
    run(make_job(replace(site, adopt_existing=True, times="ignore")), heard)
    assert any(re.fullmatch(r"([1-9].*) of \1 read back", said) for said in heard.said)


def test_orphans_are_listed_and_stay(site: Flags, dest: Path) -> None:
    before = read_tree(dest)
    heard = Heard()
    for carry_out in (make_plan, run):
        result = carry_out(make_job(site), heard)
        notes = {note.path: note.message for note in result.notes if note.reason is Reason.ORPHAN}
        assert set(notes) == set(ORPHANS)
        assert "(5 entries)" in notes["old"]
    assert (
        sum(
            "7 entries on the remote are not here ('d/gone', 'old', 'old.html'): they stay" in s
            for s in heard.said
        )
        == 2
    )
    assert push(site) == []
    there = read_tree(dest)
    assert {path: there[path] for path in before if not path.startswith("was-dir")} == {
        path: node for path, node in before.items() if not path.startswith("was-dir")
    }


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a later run"])
def test_orphans_that_are_to_go(site: Flags, dest: Path, later: bool) -> None:
    if later:
        assert push(site) == ["create was-dir", "delete was-dir"]
    doomed = replace(site, adopt_orphans=True, allow_mass_delete=True)
    planned = make_plan(make_job(doomed), Heard()).plan
    doomed_paths = {a.path: a.entries for a in planned.actions if a.op is Op.DELETE}
    assert doomed_paths == ORPHANS | ({} if later else {"was-dir": 1})
    assert [did for did in push(doomed) if "was-dir" not in did] == [
        "delete d/gone",
        "delete old",
        "delete old.html",
    ]
    left = {path for path in read_tree(dest) if not path.startswith(".reconcile")}
    assert left == {"a", "d", "d/a", "d/part.log", "logs", "logs/only.log", "skipped.log", "was-dir"}
    assert push(site) == []
    purged = [path.name for path in (dest / ".reconcile").rglob("*") if path.is_file()]
    assert "old.html" not in purged, "a mirror keeps no copy of what it deletes"


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a later run"])
def test_what_another_job_brings_to_a_folder_in_dest_is_no_orphan(
    site: Flags, source: Path, dest: Path, state: Path, tmp_path: Path, later: bool
) -> None:
    """Neither in a folder that SRC has, too, nor in one that is its own."""
    build_tree(tmp_path / "blog", {"post": "post", "more": {"post": "post"}})
    for folder in ("d", "old/deep/blog"):
        (dest / folder).mkdir(exist_ok=True)
        run(
            make_job(
                Flags(str(tmp_path / "blog"), str(dest / folder), state=str(state), adopt_existing=True)
            ),
            Heard(),
        )
    if later:
        push(site)
    heard = Heard()
    done = push(replace(site, adopt_orphans=True, allow_mass_delete=True), heard)
    assert {did for did in done if "was-dir" not in did} == {
        *("delete old.html", "delete old/deep/l", "delete old/deep/x", "delete old/empty")
    }
    assert any("'d', 'old/deep/blog' on the remote: another job" in said for said in heard.said)
    for folder in ("d", "old/deep/blog"):
        job = make_job(Flags(str(tmp_path / "blog"), str(dest / folder), state=str(state), refresh=True))
        assert run(job, Heard()).plan.empty, "all of it is there"
    assert push(site) == []


def test_the_guard_looks_at_orphans_and_what_it_refuses_is_not_ours(site: Flags, dest: Path) -> None:
    build_tree(dest, {"many": {f"m{number}": "m" for number in range(40)}})
    assert push(site) == ["create was-dir", "delete was-dir"]
    before = read_tree(dest)
    with pytest.raises(Refused, match="would delete 48 entries"):
        push(site, adopt_orphans=True)
    assert push(site) == []
    assert read_tree(dest) == before
    assert push(site, adopt_orphans=True, only=("many/m0", "d")) == ["delete d/gone", "delete many/m0"]
    assert push(site) == [], "the rest was not for that run"


@pytest.mark.parametrize("first", [False, True], ids=["known before", "in the first run"])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_cut_while_orphans_go(site: Flags, source: Path, dest: Path, after: int, first: bool) -> None:
    """What was left is told of again, and nothing but orphans is gone."""
    if not first:
        push(site)
    build_tree(source, {"new": "new"})
    job = make_job(replace(site, adopt_orphans=True, allow_mass_delete=True))
    lines: list[Remote] = []

    def connect(job: Job, reporter: Reporter, memory: Memory) -> Remote:
        if lines:
            raise ConnectionLost("cut")
        lines.append(cast("Remote", BreaksOffAtWork(open_remote(job, reporter, memory), after)))
        return lines[0]

    with pytest.raises(ConnectionLost):
        run(job, Heard(), connect)
    assert not run(make_job(site), Heard()).problems
    assert not run(job, Heard()).problems
    left = {path for path in read_tree(dest) if not path.startswith(".reconcile")}
    assert left == {"a", "d", "d/a", "d/part.log", "logs", "logs/only.log", "new", "skipped.log", "was-dir"}
    assert (dest / "was-dir").read_text() == "file"
    assert push(site) == []


def test_orphans_want_a_mirror(site: Flags) -> None:
    with pytest.raises(UsageError, match="without --mirror"):
        make_job(replace(site, mirror=False, adopt_orphans=True))


def test_without_a_state_they_want_leave_to_adopt(site: Flags, dest: Path) -> None:
    before = read_tree(dest)
    with pytest.raises(Refused, match="already holds something"):
        push(site, adopt_existing=False, adopt_orphans=True, allow_mass_delete=True)
    assert read_tree(dest) == before


def test_a_lost_state_is_no_disaster(sshd: Sshd, source: Path, dest: Path, state: Path) -> None:
    """A fresh checkout, its times new, against a server that holds all of it and a page that was deleted."""
    at = sshd.endpoint
    given = make_job(Flags(str(source), "/nowhere", mirror=True, adopt_existing=True, times="ignore"))
    job = Job(str(source), at.target(dest), str(state), given.options, at.login())
    pages = {f"p{number}": f"page {number}" * 50 for number in range(40)}
    build_tree(source, {**pages, "gone": "gone"})
    assert not run(job, Heard()).problems
    for options in (job.options, replace(job.options, keep_times=True)):
        rmtree(state)
        rmtree(source)
        build_tree(source, {name: File(text, mtime=OTHER) for name, text in pages.items()})
        heard = Heard()
        ran = run(replace(job, options=options), heard)
        assert not ran.problems
        assert heard.bytes == 0
        assert [note.path for note in ran.notes if note.reason is Reason.ORPHAN] == ["gone"]
    assert (dest / "gone").exists()
    ran = run(replace(job, options=replace(job.options, adopt_orphans=True)), Heard())
    assert [action.path for action in ran.done] == ["gone"]
    assert not (dest / "gone").exists()
