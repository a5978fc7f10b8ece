"""The conformance suite on a real OpenSSH server, and what is particular to SFTP."""

from __future__ import annotations

import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace

from reconcile.apply.adopt import drifted, look_at_all
from reconcile.core.errors import ConnectionLost, Refused, Unreachable
from reconcile.core.job import Fsync, Job, Options, Stop
from reconcile.core.model import DirectorySnapshot, Entry, Footing, Kind, PlainDirectory, Publish, Reason
from reconcile.remotes import Remote
from reconcile.remotes import open_remote as really_open
from reconcile.remotes.sftp import session as pump
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.driver import SftpDriver
from reconcile.remotes.tree import site
from reconcile.remotes.tree.quirks import Quirks
from reconcile.remotes.tree.remote import TreeRemote
from tests.remotes.conformance import LINEAGE, RUN, Bench, Heard, OpenRemote, goes_on, parks
from tests.remotes.trees import TreeConformance
from tests.support.faults import Fault
from tests.support.mounts import in_memory, mounted
from tests.support.sshd import Sshd
from tests.support.trees import Link, assert_same_tree, build_tree, read_tree

MakeBench = Callable[..., Bench]


def opener(sshd: Sshd) -> OpenRemote:
    def open_remote(dest: Path | str, options: Options, heard: Heard) -> Remote:
        job = Job("/", sshd.endpoint.target(dest), "/", options, sshd.endpoint.login())
        return really_open(job, heard)

    return open_remote


@pytest.fixture
def open_remote(sshd: Sshd) -> OpenRemote:
    return opener(sshd)


class TestOpenssh(TreeConformance):
    pass


class TestPoorServer(TreeConformance):
    """The same server, taken for one of which nothing is known but the draft."""

    @pytest.fixture
    def open_remote(self, sshd: Sshd) -> OpenRemote:
        def open_remote(dest: Path | str, options: Options, heard: Heard) -> Remote:
            remote = opener(sshd)(dest, options, heard)
            assert isinstance(remote, TreeRemote)
            remote._site.can = frozenset()
            remote._site.caps = replace(remote._site.caps, replace=False)
            remote._site.quirks = Quirks(
                ordered=False, refuses=False, makes_links=True, lstat_shows=True, moves_links=True
            )
            remote._site.keeps_tags = False
            remote._site.handles = 3
            assert isinstance(remote._driver, SftpDriver)
            remote._driver._aside.clear()
            return remote

        return open_remote

    # What is replaced without posix-rename is removed first, which is told once.
    def test_the_gap_is_told_once(self, bench: Bench) -> None:
        bench.upload({"f": "1", "g": "1"})
        build_tree(bench.src, {"f": "22", "g": "22"})
        bench.do(bench.modify("f"), bench.modify("g"))
        bench.same()
        assert len(bench.heard.said) == 1


def test_dest_may_be_a_link_and_its_parents_are_made(
    open_remote: OpenRemote, tmp_path: Path, source: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    bench = Bench(open_remote, source, tmp_path / "link", Options())
    bench.upload({"f": "f"})
    assert (tmp_path / "real/f").read_text() == "f"
    deep = Bench(open_remote, source, tmp_path / "link/a/b/c", Options())
    deep.do(deep.create("f"))
    assert (tmp_path / "real/a/b/c/f").read_text() == "f"
    for each in (bench, deep):
        each.remote.close()
        each.source.close()


def test_opening_writes_nothing(open_remote: OpenRemote, dest: Path) -> None:
    remote = open_remote(dest, Options(), Heard())
    assert list(remote.walk("")) == []
    assert not dest.exists()
    assert remote.caps.replace
    assert list(remote.end()) == []
    remote.close()
    remote.close()


def test_dest_may_appear_between_the_first_look_and_the_first_write(
    open_remote: OpenRemote, dest: Path, source: Path
) -> None:
    def open_and_make(place: Path | str, options: Options, heard: Heard) -> Remote:
        remote = open_remote(place, options, heard)
        build_tree(dest, {"theirs": "theirs"})
        return remote

    bench = Bench(open_and_make, source, dest, Options())
    bench.upload({"f": "f", "d": {"g": "g"}})
    assert (dest / "theirs").read_text() == "theirs"
    (dest / "theirs").unlink()
    bench.same()
    bench.end()
    bench.remote.close()
    bench.source.close()


def test_dest_is_no_directory(open_remote: OpenRemote, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="not a directory"):
        open_remote(tmp_path / "file", Options(), Heard())
    remote = open_remote(tmp_path / "file/below", Options(), Heard())
    with pytest.raises((Refused, Unreachable)):
        remote.begin(Footing(LINEAGE), "run")
    remote.close()


def test_our_folder_must_be_a_real_directory(open_remote: OpenRemote, tmp_path: Path, dest: Path) -> None:
    (tmp_path / "outside").mkdir()
    build_tree(dest, {".reconcile": Link(str(tmp_path / "outside"))})
    remote = open_remote(dest, Options(), Heard())
    with pytest.raises(Refused, match="symlink"):
        remote.begin(Footing(LINEAGE), "run")
    assert os.listdir(tmp_path / "outside") == []
    remote.close()


def test_our_folder_may_be_elsewhere(
    open_remote: OpenRemote, tmp_path: Path, source: Path, dest: Path
) -> None:
    elsewhere = tmp_path / "else/where"
    bench = Bench(open_remote, source, dest, Options(remote_workdir=str(elsewhere)))
    bench.upload({"f": "f", "d": {"g": "g"}})
    bench.do(bench.delete("d"))
    assert list(bench.remote.end()) == []
    assert set(read_tree(dest)) == {"f"}
    assert set(read_tree(elsewhere)) == {LINEAGE, f"{LINEAGE}/id"}
    bench.remote.close()
    bench.source.close()


@pytest.mark.parametrize(
    ("fsync", "few", "requests", "unsynced"),
    [
        (Fsync.NEVER, 1000, 50 + 6, 51),
        (Fsync.AUTO, 1000, 60 + 7, 0),
        (Fsync.AUTO, 10, 50 + 7, 50),
        (Fsync.ALWAYS, 10, 60 + 7, 0),
    ],
)
def test_what_ten_small_files_and_a_large_one_cost(
    shim_sshd: Sshd,
    source: Path,
    dest: Path,
    monkeypatch: pytest.MonkeyPatch,
    fsync: Fsync,
    few: int,
    requests: int,
    unsynced: int,
) -> None:
    monkeypatch.setattr(site, "SYNC_FEW", few)
    bench = Bench(opener(shim_sshd), source, dest, Options(fsync=fsync))
    bench.upload({f"f{n}": "content" for n in range(40)})  # the first ones are read back
    large = bytes(1 << 20)
    build_tree(source, {**{f"g{n}": "content" for n in range(10)}, "large": large})
    remote = bench.remote
    assert isinstance(remote, TreeRemote)
    blocks = -(-len(large) // remote._site.block)
    before = remote.stats.requests
    bench.do(*(bench.create(f"g{n}") for n in range(10)), bench.create("large"))
    assert remote.stats.requests - before == requests + blocks - 1
    assert remote.stats.unsynced == unsynced
    remote.close()
    bench.source.close()


def test_a_server_that_can_not_fsync_is_told_once(open_remote: OpenRemote, source: Path, dest: Path) -> None:
    bench = Bench(open_remote, source, dest, Options(fsync=Fsync.ALWAYS))
    assert isinstance(bench.remote, TreeRemote)
    bench.remote._site.caps = replace(bench.remote.caps, fsync=False)
    bench.upload({"f": "f", "g": "g"})
    assert bench.remote.stats.unsynced == 2
    assert bench.heard.said == [site.NO_FSYNC]
    bench.same()
    bench.remote.close()
    bench.source.close()


def test_an_fsync_that_is_refused_is_done_without_but_one_that_fails_is_not_published(
    own_sshd: Sshd, source: Path, dest: Path
) -> None:
    build_tree(source, {"f": "f", "g": "g" * 50_000})
    own_sshd.arm(Fault("answer", kind="fsync@openssh.com", status=wire.FX_FAILURE))
    bench = Bench(opener(own_sshd), source, dest, Options())
    assert "disk" in bench.problem(bench.create("f")).message
    assert os.listdir(dest) == [".reconcile"]
    bench.end()
    bench.remote.close()
    bench.source.close()
    own_sshd.arm(Fault("answer", kind="fsync@openssh.com", status=wire.FX_OP_UNSUPPORTED))
    again = Bench(opener(own_sshd), source, dest, Options(), "second")
    again.do(again.create("f"))
    again.do(again.create("g"))
    assert again.remote.stats.unsynced == 2
    assert again.heard.said == [site.NO_FSYNC]
    again.same()
    again.end()
    again.remote.close()
    again.source.close()


def test_a_silent_server_is_a_lost_connection(own_sshd: Sshd, source: Path, dest: Path) -> None:
    build_tree(source, {"f": "f"})
    own_sshd.arm(Fault("never", kind="RENAME", path=str(dest / "f")))
    bench = Bench(opener(own_sshd), source, dest, Options(timeout=0.5))
    with pytest.raises(ConnectionLost, match="said nothing"):
        bench.do(bench.create("f"))
    bench.remote.close()
    bench.source.close()


def test_readers_see_no_gap_while_what_drifted_is_kept(
    open_remote: OpenRemote, source: Path, dest: Path
) -> None:
    bench = Bench(open_remote, source, dest, Options())
    bench.upload({f"f{n}": "ours" for n in range(100)})
    for number in range(100):
        build_tree(dest, {f"f{number}": "theirs, longer"})
        build_tree(source, {f"f{number}": f"ours again {number}"})
    missing: list[str] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            missing.extend(f"f{n}" for n in range(100) if not (dest / f"f{n}").exists())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        bench.do(*(bench.modify(f"f{n}") for n in range(100)))
    finally:
        over.set()
        reader.join()
    assert missing == []
    assert len(os.listdir(dest / ".reconcile" / LINEAGE / RUN / "trash/kept")) == 100
    bench.remote.close()
    bench.source.close()


def test_a_folder_that_was_not_empty_yet_is_removed_after_all(
    own_sshd: Sshd, source: Path, dest: Path
) -> None:
    """As on a server that does not do what it is asked in turn."""
    own_sshd.arm(Fault("answer", 3, kind="RMDIR", status=wire.FX_FAILURE))  # after two folders in it
    bench = Bench(opener(own_sshd), source, dest, Options())
    bench.upload({"f": "f"})
    bench.do(bench.delete("f"))
    assert list(bench.remote.end()) == []
    assert not own_sshd.armed
    assert os.listdir(dest / ".reconcile" / LINEAGE) == ["id"]
    bench.remote.close()
    bench.source.close()


class TestBound:
    """Where permissions bind the server."""

    @pytest.fixture
    def open_remote(self, bound_sshd: Sshd) -> OpenRemote:
        return opener(bound_sshd)

    def test_an_unwritable_dest_is_told_and_nothing_done(self, open_remote: OpenRemote, dest: Path) -> None:
        build_tree(dest, {"f": "f"})
        dest.chmod(0o555)
        try:
            remote = open_remote(dest, Options(), Heard())
            with pytest.raises(Unreachable, match=r"permission denied.*--remote-workdir"):
                remote.begin(Footing(LINEAGE), "run")
            remote.close()
            assert os.listdir(dest) == ["f"]
        finally:
            dest.chmod(0o755)

    def test_denied_paths_are_problems(self, open_remote: OpenRemote, source: Path, dest: Path) -> None:
        bench = Bench(open_remote, source, dest, Options())
        bench.upload({"d": {"f": "f"}, "g": "g"})
        (dest / "d").chmod(0o555)
        try:
            build_tree(source, {"d": {"f": "new", "n": "n"}})
            for action in (bench.modify("d/f"), bench.create("d/n"), bench.delete("d/f")):
                assert bench.problem(action).reason is Reason.DENIED, action
            bench.do(bench.delete("g"))
            bench.do(bench.delete("d"))  # it is ours to open
            bench.end()
        finally:
            if (dest / "d").exists():
                (dest / "d").chmod(0o755)
            bench.remote.close()
            bench.source.close()

    def test_a_directory_that_forbids_writing_may_move(
        self, open_remote: OpenRemote, source: Path, dest: Path
    ) -> None:
        bench = Bench(open_remote, source, dest, Options())
        bench.upload({"a": {"d": {"f": "f"}}, "b": {"e": {"g": "g"}}})
        for path in ("a/d", "b/e"):
            (dest / path).chmod(0o555)
        one = bench.held["a/d"]
        bench.do(bench.move("a/d", "b/d"))
        bench.do(parks("b/d", one))
        bench.do(bench.move("b/e", "b/d"))
        bench.do(goes_on("b/d", one, "b/e"))
        assert (dest / "b/d/g").read_text() == "g"
        assert (dest / "b/e/f").read_text() == "f"
        assert {(dest / "b" / name).stat().st_mode & 0o777 for name in "de"} == {0o555}
        bench.end()
        bench.remote.close()
        bench.source.close()

    def test_what_can_not_be_listed_is_not_taken_for_gone(
        self, open_remote: OpenRemote, source: Path, dest: Path
    ) -> None:
        bench = Bench(open_remote, source, dest, Options())
        bench.upload({"d": {"f": "f", "g": "g", "l": Link("f")}, "e": {"x": "x"}, "h": "h", "k": Link("a")})
        (dest / "d/g").write_text("theirs")
        (dest / "k").unlink()
        (dest / "k").symlink_to("b")
        (dest / "h").unlink()
        names: dict[str, dict[str, Entry]] = {"": {}, "d": {}, "e": {}}
        for path, entry in bench.held.items():
            names[os.path.dirname(path)][os.path.basename(path)] = entry
        old = DirectorySnapshot({path: PlainDirectory(entries) for path, entries in names.items()})
        (dest / "d").chmod(0o311)
        try:
            found = drifted(old, look_at_all(old, bench.remote), bench.remote, Options())
            assert found == dict.fromkeys(("d/g", "h", "k")) | {"d": Entry(Kind.DIR, 0o311)}
            assert [said for said in bench.heard.said if "does not list" in said] == bench.heard.said
        finally:
            (dest / "d").chmod(0o755)
            bench.remote.close()
            bench.source.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; needs root."""
    with mounted(place := tmp_path / "disk", *in_memory("1m", "nr_inodes=2000")):
        yield place


@pytest.fixture
def split(tmp_path: Path, small_disk: Path) -> Iterator[Path]:
    """DEST, with that file system in it as ``disk``."""
    dest = tmp_path / "dest"
    with mounted(dest / "disk", "--bind", str(small_disk)):
        yield dest


def test_across_a_mount_files_are_staged_beside_their_target(
    open_remote: OpenRemote, source: Path, split: Path
) -> None:
    theirs = {".reconcile-another job-dead-1": "may be at work", ".reconcile": "who knows"}
    build_tree(split / "disk", {".reconcile-lineage-dead-1": "left by a run that was killed", **theirs})
    bench = Bench(open_remote, source, split, Options())
    bench.upload({"disk": {"f": "f", "d": {"g": "g" * 50_000}}, "h": "h"})
    build_tree(source, {"disk": {"f": "changed"}})
    bench.do(bench.modify("disk/f"))
    assert_same_tree(source, split, ignore={f"disk/{name}" for name in theirs})
    bench.do(bench.delete("disk/f"), bench.delete("disk/d"))
    assert set(os.listdir(split / "disk")) == set(theirs)
    (outcome,) = bench.perform(bench.move("h", "disk/h"))
    assert outcome.problem is not None
    assert outcome.problem.reason is Reason.IMMOVABLE
    bench.end()
    bench.remote.close()
    bench.source.close()


def test_across_a_mount_a_level_is_staged_beside_its_targets(
    open_remote: OpenRemote, source: Path, split: Path
) -> None:
    bench = Bench(open_remote, source, split, Options())
    build_tree(source, {"disk": {"f": "f", "g": "g" * 50_000}, "h": "h"})
    bench.do(bench.mkdir("disk"))
    # Where that is shows only as they are published: then they are sent once more.
    outcomes = bench.perform(*map(bench.create, ("disk/f", "disk/g", "h")), publish=Publish.END)
    assert all(outcome.done for outcome in outcomes)
    assert_same_tree(source, split)
    build_tree(source, {"disk": {"f": "changed", "n": "n"}})
    level, stop, staged = (
        [bench.modify("disk/f"), bench.create("disk/n")],
        Stop(graceful=True),
        set[str](),
    )
    before = read_tree(split / "disk")

    def look(path: str) -> None:
        staged.update(os.listdir(split / "disk"))
        stop.requested = 15 if path == "disk/n" else 0

    bench.watch(look)
    bench.stage(*level, stop=stop)
    assert staged - before.keys()
    assert read_tree(split / "disk") == before
    bench.watch(lambda _: None)
    assert all(outcome.done for outcome in bench.perform(*level, publish=Publish.END))
    assert_same_tree(source, split)
    bench.end()
    bench.remote.close()
    bench.source.close()


@pytest.mark.parametrize("keep", [False, True], ids=["replaced", "kept"])
def test_across_a_mount_a_link_takes_the_place_of_a_file(
    open_remote: OpenRemote, source: Path, split: Path, *, keep: bool
) -> None:
    before = Bench(open_remote, source, split, Options())
    before.upload({"disk": {"f": "only copy", "l": Link("old")}})
    before.end()
    for name in ("f", "l"):
        (source / "disk" / name).unlink()
        (source / "disk" / name).symlink_to("new")
    # Another run: it has not found out yet where that is.
    bench = Bench(open_remote, source, split, Options(), run="run-2")
    bench.held = before.held
    bench.do(replace(bench.modify("disk/f"), keep=keep), bench.modify("disk/l"))
    kept = {name for name in os.listdir(split / "disk") if name.startswith(".reconcile")}
    assert_same_tree(source, split, ignore={f"disk/{name}" for name in kept})
    copies = [path.read_text() for name in kept for path in (split / "disk" / name).rglob("*")]
    assert copies == ["only copy"] * keep
    bench.end()
    for each in (before, bench):
        each.remote.close()
        each.source.close()


def test_a_full_disk_below_dest_stops_only_what_goes_there(
    open_remote: OpenRemote, source: Path, split: Path
) -> None:
    bench = Bench(open_remote, source, split, Options())
    bench.upload({"disk": {"sub": {}}, "main": {}})
    big = {f"f{n}": bytes(200_000) for n in range(12)}
    build_tree(source, {"disk": {"sub": big}, "main": {**big, "small": "s"}})
    paths = [f"{top}/f{n}" for n in range(12) for top in ("disk/sub", "main")]
    outcomes = bench.perform(*map(bench.create, [*paths, "main/small"]))
    told = {o.action.path: o.problem.reason for o in outcomes if o.problem is not None}
    assert set(told.values()) == {Reason.NO_SPACE}
    assert 0 < len([path for path in told if path.startswith("disk/")]) == len(told) < 12
    assert [said for said in bench.heard.said if "full" in said and "disk" in said] != []
    bench.end()
    bench.remote.close()
    bench.source.close()


def test_files_get_the_group_that_their_directory_hands_down(
    open_remote: OpenRemote, source: Path, dest: Path
) -> None:
    """As if they were made there: a web server that may read nothing else must be able to read them."""
    group = another_group()
    before = Bench(open_remote, source, dest, Options())
    before.upload({"d": {"old": "o"}})
    before.end()
    os.chown(dest / "d", -1, group)
    (dest / "d").chmod(0o2775)
    bench = Bench(open_remote, source, dest, Options(), "another")
    bench.held = before.held
    some = {f"f{n}": "small" for n in range(10)}
    build_tree(source, {"e": some, "d": {"old": "changed", "big": bytes(1 << 20), "sub": some, **some}})
    bench.do(bench.mkdir("d/sub"), bench.mkdir("e"))
    inside = [path for path in read_tree(source) if path.startswith(("d/sub/", "d/f", "d/b", "e/"))]
    bench.do(bench.modify("d/old"), *map(bench.create, inside))
    assert_same_tree(source, dest, modes=False)
    (source / "d").rename(source / "moved")
    bench.do(bench.move("d", "moved"))
    build_tree(source, {"moved": {"late": "l"}})
    bench.do(bench.create("moved/late"))
    assert_same_tree(source, dest, modes=False)
    groups = {path: (dest / path).lstat().st_gid for path in read_tree(source)}
    assert {gid for path, gid in groups.items() if path.startswith("moved")} == {group}
    assert {gid for path, gid in groups.items() if path.startswith("e")} == {dest.stat().st_gid}
    assert (dest / "moved/sub").stat().st_mode & stat.S_ISGID
    bench.end()
    for each in (before, bench):
        each.remote.close()
        each.source.close()


def test_a_new_directory_hands_down_as_the_one_it_is_in(
    open_remote: OpenRemote, source: Path, dest: Path
) -> None:
    """Also where the group is the one that all get anyway."""
    (dest / "d").mkdir(parents=True)
    (dest / "d").chmod(0o2775)
    bench = Bench(open_remote, source, dest, Options())
    build_tree(source, {"d": {"sub": {f"f{n}": "small" for n in range(10)}}})
    bench.do(bench.mkdir("d/sub"))
    bench.do(*(bench.create(f"d/sub/f{n}") for n in range(10)))
    assert (dest / "d/sub").stat().st_mode & stat.S_ISGID
    assert_same_tree(source, dest, modes=False)
    bench.end()
    bench.remote.close()
    bench.source.close()


def another_group() -> int:
    """One that we may give a file to, beside the one that new files get."""
    if os.geteuid() == 0:
        return os.getegid() + 4321
    others = set(os.getgroups()) - {os.getegid()}
    if not others:
        pytest.skip("we are in one group only")
    return others.pop()


def test_a_full_disk_is_told_once_and_ends_the_uploads_but_not_the_deletes(
    open_remote: OpenRemote, source: Path, small_disk: Path
) -> None:
    bench = Bench(open_remote, source, small_disk / "dest", Options())
    bench.upload({f"d{n}": {"f": "f" * 5000} for n in range(3)})
    build_tree(source, {"big": bytes(3 << 20), **{f"s{n}": "small" for n in range(1000)}})
    assert bench.problem(bench.create("big")).reason is Reason.NO_SPACE
    before = bench.remote.stats.requests
    outcomes = bench.perform(*(bench.create(f"s{n}") for n in range(1000)))
    done = [outcome for outcome in outcomes if outcome.done]
    assert 10 < len(done) < 200  # a file system of 1 MiB
    looked_again = 3  # published before the disk was full, when the server was still trusted
    assert bench.remote.stats.requests - before <= 8 * len(done) + looked_again
    for outcome in outcomes:
        if outcome.problem is not None:
            assert outcome.problem.reason is Reason.NO_SPACE
            assert "full" in outcome.problem.message
    bench.do(bench.delete("d0"))
    assert [said for said in bench.heard.said if "full" in said] == bench.heard.said
    assert len(bench.heard.said) == 1
    bench.end()
    bench.remote.close()
    bench.source.close()


def test_where_not_even_our_folders_can_be_made_what_is_deleted_frees_space(
    open_remote: OpenRemote, source: Path, small_disk: Path
) -> None:
    bench = Bench(open_remote, source, small_disk / "dest", Options())
    bench.upload({"f": "f" * 9000, "d": {"e": {"g": "g" * 9000}, "h": "h"}, "m": "m"})
    assert list(bench.remote.end()) == []
    bench.remote.close()
    for number in itertools.count():  # uses up the inodes
        try:
            (small_disk / f"inode{number}").touch()
        except OSError:
            break
    again = Bench(open_remote, source, small_disk / "dest", Options(), "second")
    again.held = bench.held
    build_tree(source, {"n": "n"})
    create, delete, tree = again.perform(again.create("n"), again.delete("f"), again.delete("d"))
    assert create.problem is not None
    assert create.problem.reason is Reason.NO_SPACE
    assert delete.done
    assert tree.done
    again.do(again.move("m", "moved"))
    assert sorted(os.listdir(small_disk / "dest")) == [".reconcile", "moved"]
    for each in (bench, again):
        each.remote.close()
        each.source.close()


def test_a_server_that_is_gone_is_a_lost_connection(own_sshd: Sshd, source: Path, dest: Path) -> None:
    bench = Bench(opener(own_sshd), source, dest, Options())
    bench.upload({"f": "f"})
    own_sshd.stop()
    own_sshd.end_sessions()
    with pytest.raises(ConnectionLost):
        list(bench.remote.look(["f"]))
    bench.remote.close()
    bench.source.close()


def test_a_big_file_is_not_held_in_memory(
    open_remote: OpenRemote, source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "OUTSTANDING", 300_000)
    bench = Bench(open_remote, source, dest, Options())
    assert isinstance(bench.remote, TreeRemote)
    session, most = cast("SftpDriver", bench.remote._driver), 0

    class Watched(Heard):
        def sent(self, _count: int, _path: str, /) -> None:
            nonlocal most
            most = max(most, session._outstanding)

    bench.remote._reporter = Watched()
    bench.upload({"big": bytes(8 << 20)})
    assert 0 < most <= 300_000 + 256 * 1024
    bench.same()
    bench.remote.close()
    bench.source.close()


@pytest.mark.parametrize("kind", ["OPEN", "WRITE", "CLOSE", "RENAME"])
def test_a_value_that_could_not_be_put_leaves_its_name_free(shim_sshd: Sshd, dest: Path, kind: str) -> None:
    path, status = ("state/fresh", 3) if kind in ("OPEN", "RENAME") else (None, 4)
    turn = 1 if kind == "RENAME" else 2  # the first time there is no folder yet, or it is for the web server
    shim_sshd.arm(Fault("answer", turn, kind, path, status=status))
    remote = opener(shim_sshd)(dest, Options(), Heard())
    with pytest.raises(Unreachable, match=r"store/state"):
        remote.store.put_new("state", b"value")
    assert not shim_sshd.armed
    assert remote.store.names() == []
    assert remote.store.put_new("state", b"value")
    assert remote.store.get("state") == b"value"
    remote.close()
