"""A folder of this machine as a remote: the suite that all pass, and what is its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.core.job import Job, Options
from reconcile.core.model import Reason
from reconcile.pipeline import run
from reconcile.remotes import Remote, open_remote
from reconcile.remotes.local import driver, kernel
from reconcile.remotes.local.calls import Calls
from reconcile.remotes.local.codes import status_of
from reconcile.remotes.local.scheme import Folder
from reconcile.remotes.local.ways import Ways
from reconcile.remotes.tree import verbs
from reconcile.remotes.tree.steps import Fill, Notable, Recipe
from reconcile.remotes.tree.verbs import Code, Handle, Status
from tests.remotes.conformance import OLD, Bench, Heard, OpenRemote
from tests.remotes.trees import TreeConformance
from tests.support.trees import Dir, File, Link, assert_same_tree, build_tree, read_tree


def open_folder(dest: Path | str, options: Options, heard: Heard) -> Remote:
    return open_remote(Job("/", Folder(str(dest)), "/", options), heard)


class TestConformance(TreeConformance):
    @pytest.fixture
    def open_remote(self) -> OpenRemote:
        return open_folder


class FatCalls(Calls):
    """A file system as FAT is: no modes, no links, even seconds, and names that are no text refused."""

    def __init__(self, ways: Ways) -> None:
        super().__init__(ways)
        self.by_verb |= {
            verbs.Symlink: self._no,
            verbs.HardLink: self._no,
            verbs.Mkdir: self._mkdir_755,
            verbs.OpenNew: self._open_755,
            verbs.Set: self._set_evenly,
            verbs.SetLink: self._set_evenly,
            verbs.SetHandle: self._set_handle_evenly,
        }

    def _no(self, _verb: object) -> Status:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def _mkdir_755(self, verb: verbs.Mkdir) -> Status:
        self._mkdir(verbs.Mkdir(verb.path, 0o755))
        return self._set(verbs.Set(verb.path, 0o755, None))

    def _open_755(self, verb: verbs.OpenNew) -> Handle:
        opened = self._open_new(verb)
        os.fchmod(opened.handle.fd, 0o755)
        return opened

    def _set_evenly(self, verb: verbs.Set | verbs.SetLink) -> Status:
        if verb.mode is not None and verb.mode & 0o777 != 0o755:
            self._no(verb)
        return self._set(verbs.Set(verb.path, None, verb.mtime and verb.mtime // 2 * 2))

    def _set_handle_evenly(self, verb: verbs.SetHandle) -> Status:
        if verb.mode is not None and verb.mode & 0o777 != 0o755:
            self._no(verb)
        return self._set_handle(verbs.SetHandle(verb.handle, None, verb.mtime and verb.mtime // 2 * 2))

    def put(self, verb: verbs.Put, data: bytes) -> Notable:
        opened = self._open_755(verbs.OpenNew(verb.path, verb.mode)).handle
        self._write(verbs.Write(opened, 0, data))
        notable: Notable = []
        try:
            self._set_handle_evenly(verbs.SetHandle(opened, verb.mode, verb.mtime))
        except OSError as error:
            notable.append((verbs.SetHandle, status_of(error)))
        self._close(verbs.Close(opened))
        return notable


def test_a_disk_that_keeps_less(
    source: Path, dest: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "Calls", FatCalls)
    build_tree(source, {f"f{n}": File(f"{n}", mode=0o640, mtime=OLD + n) for n in range(30)})
    build_tree(source, {"d": Dir({"g": "g"}, mode=0o700)})
    job = Job(str(source), Folder(str(dest)), str(state), Options(mirror=True))
    heard = Heard()
    assert not run(job, heard).problems
    assert any("does not let us set modes" in said for said in heard.said), heard.said
    assert any("steps of 2 s" in said for said in heard.said), heard.said
    assert not any("server" in said for said in heard.said), heard.said
    assert_same_tree(source, dest, modes=False, mtimes=False)
    assert {(dest / f"f{n}").stat().st_mtime for n in (0, 1)} == {OLD}
    again = run(job, Heard())
    assert not again.connected
    (source / "f1").chmod(0o600)
    os.utime(source / "f3", (OLD + 100, OLD + 101))
    build_tree(source, {"l": Link("f1")})
    assert any("makes no links" in said for said in heard.said), heard.said
    third = run(job, Heard())
    assert not third.problems  # that it makes no links is known by now
    assert [note.message for note in third.notes] == ["1 symbolic links are left out: none are to be sent"]
    assert (dest / "f3").stat().st_mtime == OLD + 100


def test_a_level_that_is_left_early_leaves_nothing_open(source: Path, dest: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    bench = Bench(open_folder, source, dest, Options())
    build_tree(source, {f"f{n}": "x" * 2_000_000 for n in range(3)})
    outcomes = bench.remote.perform([bench.create(f"f{n}") for n in range(3)], bench.source)
    next(iter(outcomes))
    del outcomes
    bench.remote.close()
    bench.source.close()
    assert set(os.listdir("/proc/self/fd")) <= before | {str(max(map(int, before)) + 1)}


@pytest.mark.parametrize(
    ("call", "number", "kind", "code"),
    [
        ("open", errno.EEXIST, verbs.OpenNew, Code.EXISTS),
        ("pwrite", errno.ENOSPC, verbs.Write, Code.NO_SPACE),
        ("fchmod", errno.EPERM, verbs.SetHandle, Code.DENIED),
        ("fsync", errno.EIO, verbs.Sync, Code.FAILED),
    ],
)
def test_a_small_file_that_fails_half_way_says_where_and_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type, code: Code
) -> None:
    disk = driver.Disk([os.fsencode(tmp_path)])
    works = getattr(os, call)

    def put(name: str, read: Callable[[], bytes | None] = lambda: b"x") -> verbs.Put:
        path = os.fsencode(tmp_path / name)
        return verbs.Put(path, 0o640, OLD, 1, True, read, then=(verbs.Lstat(path),))

    def fails(what: object, *rest: object, **more: object) -> object:
        at = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.fsdecode(str(what))
        if at.endswith(("bad", "bad'")):
            raise OSError(number, os.strerror(number))
        return works(what, *rest, **more)

    def fill() -> Recipe[list[Notable]]:
        puts = [put("good"), put("bad"), put("unread", lambda: None), put("last")]
        answers: list[Notable] = yield Fill(puts, 0)
        return answers

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, call, fails)
    good, bad, unread, last = disk.call(fill())
    disk.close()
    assert set(os.listdir("/proc/self/fd")) == before
    for [(asked, there)] in (good, last):
        assert asked is verbs.Lstat
        assert isinstance(there, verbs.Attrs)
        assert (there.size, there.mode & 0o777, there.mtime) == (1, 0o640, OLD)
    assert unread == []
    assert not (tmp_path / "unread").exists()
    (failed, status), *rest = bad
    assert failed is kind
    assert isinstance(status, Status)
    assert status.code is code
    assert [asked for asked, _ in rest] == ([] if kind is verbs.OpenNew else [verbs.Lstat])


def test_a_directory_that_turned_into_a_link_leads_nowhere(tmp_path: Path) -> None:
    build_tree(tmp_path, {"dest": {"d": {"e": {}}}, "outside": {"e": {"f": "f"}}})
    disk = driver.Disk([os.fsencode(tmp_path / "dest")])

    def ask(verb: verbs.Verb) -> object:
        def recipe() -> Recipe[object]:
            return (yield verb)

        return disk.call(recipe())

    place = os.fsencode(tmp_path / "dest/d/e/f")
    assert isinstance(ask(verbs.Lstat(place)), Status)
    (tmp_path / "dest/d").rename(tmp_path / "dest/was")
    (tmp_path / "dest/d").symlink_to("../outside")
    for verb in (verbs.Lstat(place), verbs.Remove(place), verbs.OpenNew(place + b"2", 0o600)):
        answer = ask(verb)
        assert isinstance(answer, Status)
        assert answer.code is Code.MISSING
    assert os.listdir(tmp_path / "outside/e") == ["f"]
    disk.close()


@pytest.mark.parametrize("refuses", [True, False])
def test_a_rename_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: bool) -> None:
    if not refuses:
        monkeypatch.setattr(kernel, "rename_to_nothing", lambda *_: False)
    build_tree(tmp_path, {"a": "a", "b": "b", "c": {}, "d": {"x": "x"}, "l": Link("nowhere"), "m": Link("n")})
    disk = driver.Disk([os.fsencode(tmp_path)])

    def rename(old: str, new: str) -> Status:
        def recipe() -> Recipe[Status]:
            answer: Status = yield verbs.Rename(os.fsencode(tmp_path / old), os.fsencode(tmp_path / new))
            return answer

        return disk.call(recipe())

    before = read_tree(tmp_path)
    for old, new in (("a", "b"), ("c", "d"), ("d", "c"), ("a", "c"), ("c", "a"), ("l", "m"), ("a", "l")):
        assert rename(old, new).code is Code.EXISTS
    assert read_tree(tmp_path) == before
    for old, new in (("a", "a2"), ("d", "d2"), ("l", "l2")):
        assert rename(old, new) is verbs.OK
    assert set(read_tree(tmp_path)) == {"a2", "b", "c", "d2", "d2/x", "l2", "m"}
    disk.close()


def test_a_file_system_without_links_says_so(
    source: Path, dest: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of USB disks are: that is told, and not tried anew each time as if it might be otherwise."""
    build_tree(source, {"f": "f", "l": Link("f")})

    symlink = os.symlink

    def no_links(target: bytes, name: bytes, *, dir_fd: int | None) -> None:
        if dir_fd is not None:  # there; elsewhere it is as it is
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        symlink(target, name)

    monkeypatch.setattr(os, "symlink", no_links)
    result = run(Job(str(source), Folder(str(dest)), str(state)), Heard())
    [problem] = result.problems
    assert (problem.path, problem.reason) == ("l", Reason.UNSUPPORTED)
    assert "later runs leave them out" in problem.message
    assert sorted(os.listdir(dest)) == [".reconcile", "f"]
