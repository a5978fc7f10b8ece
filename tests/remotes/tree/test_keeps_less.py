"""Servers that lose, round or refuse times and modes: what they keep is what counts."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.job import Job, Options, Perms, Result
from reconcile.core.model import NS, Action, Entry, Kind, Op, Seen
from reconcile.core.observe import claim
from reconcile.pipeline import run
from reconcile.remotes.tree.tags import HOUR
from reconcile.serve.files import Attributes, File, Files
from tests.remotes.conformance import Heard
from tests.support.jobs import JobTo
from tests.support.sshd import Sshd
from tests.support.tags import NoTimes, OpaqueTags, tag_for
from tests.support.trees import Dir, Tree, assert_same_tree, build_tree, read_tree
from tests.support.trees import File as Content

ODD = 1_000_000_001  # seconds; nothing that rounds to two keeps it


def without_times(attr: Attributes) -> Attributes:
    attr.st_atime = attr.st_mtime = None
    return attr


def without_modes(attr: Attributes) -> Attributes:
    attr.st_mode = None
    return attr


def rounded(attr: Attributes) -> Attributes:
    if attr.st_mtime is not None:
        attr.st_mtime = attr.st_mtime // 2 * 2
    return attr


def refuse(attr: Attributes) -> Attributes:
    raise OSError(errno.ENOSYS, "neither times nor modes here")


def refuse_times(attr: Attributes) -> Attributes:
    if attr.st_mtime is not None:
        raise OSError(errno.ENOSYS, "no times here")
    return attr


def keeping(change: Callable[[Attributes], Attributes]) -> type[Files]:
    """A server that does this to attributes before it sets them."""

    class LessFile(File):
        def chattr(self, attr: Attributes) -> int:
            return super().chattr(change(attr))

    class LessFiles(Files):
        def hold(self, fd: int) -> File:
            return LessFile(fd)

        def chattr(self, path: str, attr: Attributes) -> int:
            return super().chattr(path, change(attr))

    return LessFiles


def deny(attr: Attributes) -> Attributes:
    raise OSError(errno.EPERM, "not here")


def deny_modes(attr: Attributes) -> Attributes:
    return deny(attr) if attr.st_mode is not None else attr


def an_hour_off(attr: Attributes) -> Attributes:
    if attr.st_mtime is not None:
        attr.st_mtime += HOUR
    return attr


def full_minutes(attr: Attributes) -> Attributes:
    if attr.st_mtime is not None:
        attr.st_mtime -= attr.st_mtime % 60
    return attr


def rounded_up(attr: Attributes) -> Attributes:
    if attr.st_mtime is not None:
        attr.st_mtime += attr.st_mtime % 2
    return attr


SERVERS = {
    "rounds times": rounded,
    "loses times": without_times,
    "loses modes": without_modes,
    "refuses times": refuse_times,
    "refuses all": refuse,
    "denies modes": deny_modes,
    "denies all": deny,
    "an hour off": an_hour_off,
    "full minutes": full_minutes,
    "rounds up": rounded_up,
}


def deny_for(name: str) -> type[Files]:
    """A server that denies both for one path only."""

    class DenyingFiles(Files):
        def chattr(self, path: str, attr: Attributes) -> int:
            if path.endswith(name):
                deny(attr)
            return super().chattr(path, attr)

    return DenyingFiles


def test_what_is_denied_for_one_path_only_is_a_problem_that_says_how_to_do_without(
    job_to: JobTo, source: Path
) -> None:
    job = job_to(interface=deny_for("dest/f"))
    build_tree(source, {"f": Content("f", mode=0o644, mtime=ODD), "d": {"g": "g"}})
    assert run(job, Heard()).problems == []
    (source / "f").chmod(0o600)
    os.utime(source / "f", (ODD + 10, ODD + 10))
    (problem,) = run(job, Heard()).problems
    assert problem.message.endswith("--perms ignore and --times ignore leave them out")
    ignoring = replace(
        job, options=Options(mirror=True, file_perms=Perms.IGNORE, dir_perms=Perms.IGNORE, keep_times=False)
    )
    assert run(ignoring, Heard()).problems == []
    assert not run(ignoring, Heard()).connected


@pytest.fixture(params=SERVERS)
def push(
    request: pytest.FixtureRequest, tmp_path: Path, source: Path, job_to: JobTo
) -> Callable[[Tree], Result]:
    """Build a tree and bring it."""
    job = job_to(interface=keeping(SERVERS[request.param]))
    told: list[str] = []  # in earlier runs

    def push(tree: Tree, *, refresh: bool = False) -> Result:
        build_tree(source, tree)
        heard = Heard()
        result = run(replace(job, options=replace(job.options, refresh=refresh)), heard)
        assert result.problems == []
        assert result.notes == []
        assert len(heard.said) == len(set(heard.said)) <= 3  # once each
        assert not {*heard.said}.intersection(told), "told once more"
        told.extend(heard.said)
        there = read_tree(tmp_path / "remote/dest")
        for path, node in read_tree(source).items():
            assert there[path].content == node.content
        return result

    return push


def test_what_is_brought_is_known_again(push: Callable[[Tree], Result]) -> None:
    files = {f"f{n}": Content(f"content {n}", mode=0o640, mtime=ODD + n) for n in range(50)}
    first = push({**files, "d": {"e": {"g": "g"}}, "new": {f"h{n}": "h" for n in range(10)}})
    assert first.connected
    assert not push({}).connected
    changed = push({"f1": Content("changed", mode=0o640, mtime=ODD), "d": {"e": {"g": "changed"}}})
    assert [action.op for action in changed.done] == [Op.MODIFY] * 2
    assert not push({}).connected


def test_a_refresh_finds_nothing_that_nobody_touched(push: Callable[..., Result], tmp_path: Path) -> None:
    """Also where the first files have times and modes that the server takes as they are."""
    even = {f"a{n:02}": Content(f"a{n}", mode=0o644, mtime=ODD - 1) for n in range(30)}
    odd = {f"b{n:02}": Content(f"b{n}", mode=0o604, mtime=ODD + 2 * n) for n in range(30)}
    push({**even, **odd, "closed": Dir({"in": "in"}, mode=0o705)})
    assert push({}, refresh=True).done == []
    changed = push({"b00": Content("changed", mode=0o604, mtime=ODD), "a00": Content("too", mtime=ODD)})
    assert {action.op for action in changed.done} == {Op.MODIFY}
    assert push({}, refresh=True).done == []
    assert list((tmp_path / "remote/dest").glob(".reconcile/*/*/trash")) == []


def test_new_times_and_modes_are_asked_for_once(push: Callable[[Tree], Result], source: Path) -> None:
    push({"f": Content("f", mtime=ODD), "m": Content("m"), "d": {"in": Content("in", mtime=ODD)}})
    os.utime(source / "f", (ODD + 10, ODD + 10))
    (source / "m").chmod(0o600)
    (source / "d").chmod(0o700)
    again = push({})
    assert {action.op for action in again.done} <= {Op.SETMETA}
    assert not push({}).connected
    (source / "f").rename(source / "moved")
    (source / "d/in").unlink()
    assert {action.op for action in push({}).done} == {Op.MOVE, Op.DELETE}
    assert not push({}).connected


def test_equal_size_and_second_prove_nothing_where_we_set_no_time(
    tmp_path: Path, job_to: JobTo, source: Path
) -> None:
    """Two builders deploy to one place: what the other one wrote in the second of our build is not ours."""
    job = replace(job_to(interface=Files), options=Options(mirror=True, keep_times=False))
    build_tree(source, {"version": Content("aaaa", mtime=ODD), "new": Content("n", mtime=ODD)})
    run(job, Heard())
    there = tmp_path / "remote/dest"
    build_tree(there, {"version": Content("bbbb", mtime=ODD + 10), "later": Content("b", mtime=ODD + 10)})
    build_tree(source, {"version": Content("cccc", mtime=ODD + 10), "later": Content("c", mtime=ODD + 10)})
    assert run(job, Heard()).problems == []
    assert (there / "version").read_text() == "cccc"
    assert (there / "later").read_text() == "c"
    kept = {path.read_text() for path in there.glob(".reconcile/*/*/trash/kept/*")}
    assert kept == {"bbbb", "b"}


def test_after_a_cut_equal_size_and_second_prove_nothing_where_we_set_no_time() -> None:
    wish = Entry(Kind.FILE, 0o644, 4, ODD * NS)
    shown = Seen(Kind.FILE, 0o644, 4, ODD, tag_for(4, ODD))
    for old, op in ((None, Op.CREATE), (Entry(Kind.FILE, 0o644, 9, 5 * NS), Op.MODIFY)):
        action = Action(op, "f", new=wish, old=old)
        known = claim(action, {"f": shown}, OpaqueTags())
        assert known is not None
        assert known.done
        unknown = claim(action, {"f": shown}, NoTimes())
        assert unknown is not None
        assert not unknown.done
        assert unknown.effects == {"f": None}


@pytest.mark.parametrize("hours", [1, -1])
def test_times_that_are_off_by_the_very_hour_are_those_we_set(
    tmp_path: Path, job_to: JobTo, source: Path, hours: int
) -> None:
    """As on file systems that hold local time, when summer time begins or ends."""
    job = job_to(interface=Files)
    names = ("changed", "deleted", "moved", "kept")
    build_tree(source, {name: Content(name, mtime=ODD) for name in names})
    run(job, Heard())
    there = tmp_path / "remote/dest"
    for name in names:
        os.utime(there / name, (ODD + hours * HOUR, ODD + hours * HOUR))
    (source / "changed").write_text("as new")
    (source / "deleted").unlink()
    (source / "moved").rename(source / "elsewhere")
    result = run(replace(job, options=replace(job.options, refresh=True)), Heard())
    assert {action.op for action in result.done} == {Op.MODIFY, Op.DELETE, Op.MOVE}
    assert sorted(os.listdir(there)) == [".reconcile", "changed", "elsewhere", "kept"]
    assert list(there.glob(".reconcile/*/*/trash/kept/*")) == []


class LateFile(File):
    """What is written to it is carried out last, and takes the time along: Go's pkg/sftp."""

    def close(self) -> None:
        if self.fd >= 0:
            os.utime(self.fd)
        super().close()


class LateFiles(Files):
    def hold(self, fd: int) -> File:
        return LateFile(fd)


def test_where_writes_overtake_the_time_it_is_set_after_them(
    tmp_path: Path, job_to: JobTo, source: Path
) -> None:
    job = job_to(interface=LateFiles)
    build_tree(source, {f"f{n}": Content(f"{n}", mode=0o640, mtime=ODD + n) for n in range(50)})
    (source / "large").write_bytes(bytes(3_000_000))
    os.utime(source / "large", (ODD, ODD))
    first = run(job, heard := Heard())
    assert first.problems == []
    assert heard.said == []
    assert_same_tree(source, tmp_path / "remote/dest")
    assert run(replace(job, options=replace(job.options, refresh=True)), Heard()).done == []


class SomeLateFile(LateFile):
    """The same, now and then."""

    count = 0

    def close(self) -> None:
        SomeLateFile.count += self.fd >= 0
        if SomeLateFile.count % 4:
            File.close(self)
        else:
            super().close()


class SomeLateFiles(Files):
    def hold(self, fd: int) -> File:
        return SomeLateFile(fd)


def test_where_writes_overtake_the_time_now_and_then_none_is_lost(
    tmp_path: Path, job_to: JobTo, source: Path
) -> None:
    build_tree(source, {f"f{n:02}": Content(f"{n}", mode=0o640, mtime=ODD + n) for n in range(60)})
    assert run(job_to(interface=SomeLateFiles), Heard()).problems == []
    assert_same_tree(source, tmp_path / "remote/dest")


def only_to_write(attr: Attributes) -> Attributes:
    """Of a mode only the owner's right to write: FAT, Windows."""
    if attr.st_mode is not None:
        attr.st_mode = 0o755 if attr.st_mode & 0o200 else 0o555
    return attr


def no_group(attr: Attributes) -> Attributes:
    """The group's bits are the server's own: as with access control lists."""
    if attr.st_mode is not None:
        attr.st_mode = attr.st_mode & 0o707 | (0o070 if attr.st_mode & 0o100 else 0)
    return attr


@pytest.mark.parametrize("change", [only_to_write, no_group])
def test_where_some_modes_are_kept_only_it_comes_to_an_end(
    tmp_path: Path, job_to: JobTo, source: Path, change: Callable[..., Attributes]
) -> None:
    job = job_to(interface=keeping(change))
    modes = (0o755, 0o644, 0o600, 0o444, 0o750)
    build_tree(source, {f"f{mode:o}": Content("f", mode=mode, mtime=ODD) for mode in modes})
    again = replace(job, options=replace(job.options, refresh=True))
    assert run(job, Heard()).problems == []
    for _ in range(2):
        assert run(again, Heard()).problems == []
    assert run(again, Heard()).done == []
    (source / "f644").chmod(0o600)
    assert run(job, Heard()).problems == []
    assert run(again, Heard()).done == []


def looking(job: Job) -> Job:
    return replace(job, options=replace(job.options, refresh=True))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_others_own_keeps_its_mode_and_time_and_comes_to_an_end(
    tmp_path: Path, source: Path, bound_sshd: Sshd
) -> None:
    """Whoever may write to a directory may replace what is in it, but not change its mode or time."""
    build_tree(source, {"d": Dir({"f": Content("f", mode=0o644, mtime=ODD)}, mode=0o775), "g": "g"})
    dest = tmp_path / "open" / "dest"
    dest.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "open", dest):
        folder.chmod(0o777)
    login = bound_sshd.endpoint.login()
    target = bound_sshd.endpoint.target(dest)
    job = Job(str(source), target, str(tmp_path / "state"), Options(mirror=True), login)
    assert run(job, Heard()).problems == []
    owner = (dest / "d").stat().st_uid
    for path in (dest / "d", dest / "d/f"):
        os.chown(path, 54321, -1)
        path.chmod(0o777)
    (source / "d").chmod(0o750)
    (source / "d/f").chmod(0o600)
    os.utime(source / "d/f", (ODD + 7, ODD + 7))
    heard = Heard()
    assert run(job, heard).problems == []
    assert owner != (dest / "d").stat().st_uid
    assert len([said for said in heard.said if "others own" in said]) == 1
    assert not run(job, Heard()).connected
    assert run(looking(job), Heard()).done == []
    (source / "d/f").rename(source / "d/moved")
    moved = run(job, Heard())
    assert [action.op for action in moved.done] == [Op.MOVE]
    assert run(looking(job), Heard()).done == []
    assert sorted(os.listdir(dest / "d")) == ["moved"]


class CachedFiles(Files):
    """Of some files the time of writing shows until the cache has caught up: rclone. It keeps no modes."""

    caught_up = False

    def lstat(self, path: str) -> Attributes:
        seen = super().lstat(path)
        if path.endswith(("3", "7")) and not self.caught_up:
            seen.st_mtime = int(time.time())
        return seen

    def chattr(self, path: str, attr: Attributes) -> int:
        attr.st_mode = None
        return super().chattr(path, attr)


def test_files_that_showed_another_time_at_first_are_ours(
    tmp_path: Path, job_to: JobTo, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of moves and deletes stays behind, and what is known of modes is not forgotten for it."""
    job = job_to(interface=CachedFiles)
    build_tree(source, {"d": {f"f{n}": Content(f"{n}" * 50, mode=0o640, mtime=ODD + n) for n in range(40)}})
    first, second, third = Heard(), Heard(), Heard()
    assert run(job, first).problems == []
    monkeypatch.setattr(CachedFiles, "caught_up", True)
    for name in ("f3", "f4"):
        (source / "d" / name).unlink()
    for name in ("f13", "f14"):
        (source / "d" / name).rename(source / name)
    result = run(job, second)
    assert result.problems == result.notes == []
    assert sorted(action.op for action in result.done) == [Op.DELETE, Op.DELETE, Op.MOVE, Op.MOVE]
    assert run(looking(job), third).done == []
    assert len(first.said) == 1
    assert second.said == third.said == []
    there = tmp_path / "remote/dest"
    assert {*os.listdir(there / "d")} == {*os.listdir(source / "d")}
    assert list(there.glob(".reconcile/*/*/trash/kept/*")) == []
