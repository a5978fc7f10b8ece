"""Scans: what is there, what is left out, and what could not be looked at."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from reconcile.core.errors import Refused
from reconcile.core.filters import Filter, make_filter
from reconcile.core.job import Links, Options
from reconcile.core.model import Kind, Reason, Scan, Stamp
from reconcile.source.ignorefile import read_ignore_file
from reconcile.source.scan import GRACE_NS, OPEN_LIMIT, scan

ALL = make_filter([])


def look(root: Path, chosen: Filter = ALL, options: Options | None = None) -> Scan:
    return scan(str(root), chosen, options or Options())


def paths(found: Scan) -> list[str]:
    return sorted(path for path, _ in found.walk())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "src"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a" / "f").write_bytes(b"four")
    (root / "a" / "deep" / "g").write_bytes(b"")
    (root / "link").symlink_to("a")
    (root / "a.txt").write_bytes(b"x")
    return root


def test_says_what_is_there(tree: Path) -> None:
    (tree / "a" / "f").chmod(0o640)
    found = look(tree)
    assert list(found.dirs) == ["", "a", "a/deep", "empty"]
    assert paths(found) == ["a", "a.txt", "a/deep", "a/deep/g", "a/f", "empty", "link"]
    assert found.entry_count == 7
    assert not found.problems
    assert not found.notes
    assert not found.unknown
    assert found.grace_ns >= GRACE_NS
    entry = found.dirs["a"].entries()["f"]
    info = (tree / "a" / "f").stat()
    assert (entry.kind, entry.mode, entry.size, entry.mtime_ns) == (Kind.FILE, 0o640, 4, info.st_mtime_ns)
    assert entry.stamp == Stamp(info.st_ino, 4, info.st_mtime_ns, info.st_ctime_ns, info.st_mode)
    link = found.dirs[""].entries()["link"]
    assert (link.kind, link.link) == (Kind.SYMLINK, None)


def test_the_same_tree_gives_the_same_bytes(tree: Path) -> None:
    first = look(tree)
    assert {path: directory.raw for path, directory in first.dirs.items()} == {
        path: directory.raw for path, directory in look(tree).dirs.items()
    }
    (tree / "a" / "f").write_bytes(b"more")
    second = look(tree)
    assert [path for path in first.dirs if first.dirs[path].raw != second.dirs[path].raw] == ["a"]


def test_a_directorys_own_special_bits_are_no_change(tree: Path) -> None:
    before = look(tree)
    (tree / "a").chmod(0o2000 | (tree / "a").stat().st_mode)
    assert look(tree).dirs[""].raw == before.dirs[""].raw


def test_names_are_bytes(tmp_path: Path) -> None:
    names = [b"\xff\xfe", b"new\nline", b"x [", b"n" * 255, "é".encode()]
    for name in names:
        os.close(os.open(bytes(tmp_path) + b"/" + name, os.O_CREAT))
    found = look(tmp_path)
    assert {os.fsencode(path) for path, _ in found.walk()} == set(names)


def test_filters(tree: Path) -> None:
    found = look(tree, make_filter(["a/", "!a/f", "empty"]))
    assert paths(found) == ["a.txt", "link"]
    assert list(found.dirs) == [""]
    assert found.entry_count == 2


def test_special_files_are_left_out_with_a_note(tree: Path) -> None:
    os.mkfifo(tree / "a" / "fifo")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(tree / "sock"))
        found = look(tree)
    assert [(note.path, note.reason) for note in found.notes] == [
        ("sock", Reason.SPECIAL),
        ("a/fifo", Reason.SPECIAL),
    ]
    assert not found.problems
    assert "a/fifo" not in paths(found)
    assert not look(tree, make_filter(["sock", "fifo"])).notes


def test_reserved_names_at_the_top(tree: Path) -> None:
    (tree / ".reconcile").mkdir()
    (tree / ".reconcile-1-2").touch()
    (tree / ".reconcileignore").touch()
    (tree / "a" / ".reconcile").touch()
    found = look(tree)
    assert [(problem.path, problem.reason) for problem in found.problems] == [
        (".reconcile", Reason.RESERVED),
        (".reconcile-1-2", Reason.RESERVED),
    ]
    assert {".reconcileignore", "a/.reconcile"} < set(paths(found))
    assert not {".reconcile", ".reconcile-1-2"} & set(paths(found))
    assert not look(tree, make_filter(["/.reconcile", "/.reconcile-*"])).problems


def test_links_are_left_out_on_demand(tree: Path) -> None:
    (tree / "a" / "link").symlink_to("nowhere")
    found = look(tree, options=Options(links=Links.SKIP))
    assert not {"link", "a/link"} & set(paths(found))
    assert [note.message[0] for note in found.notes] == ["2"]


def test_links_are_followed_on_demand(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o").write_bytes(b"out")
    (tree / "out").symlink_to("../outside")
    (tree / "to-file").symlink_to("a/f")
    found = look(tree, options=Options(links=Links.FOLLOW))
    assert not found.problems
    assert {"link", "link/deep", "link/deep/g", "link/f", "out/o", "to-file"} < set(paths(found))
    entries = found.dirs[""].entries()
    assert (entries["to-file"].kind, entries["to-file"].size) == (Kind.FILE, 4)
    assert entries["out"].kind is Kind.DIR


def test_loops_and_links_to_nothing_are_problems(tree: Path) -> None:
    (tree / "a" / "up").symlink_to("..")
    (tree / "a" / "self").symlink_to("self")
    (tree / "a" / "none").symlink_to("nowhere")
    (tree / "a" / "deep" / "a").symlink_to("..")
    found = look(tree, make_filter(["/link"]), Options(links=Links.FOLLOW))
    assert {problem.path: problem.reason for problem in found.problems} == {
        "a/up": Reason.LOOP,
        "a/self": Reason.LOOP,
        "a/none": Reason.UNREADABLE,
        "a/deep/a": Reason.LOOP,
    }
    assert found.unknown == {"a/up", "a/self", "a/none", "a/deep/a"}
    assert list(found.dirs) == ["", "a", "a/deep", "empty"]
    kept = look(tree)
    assert not kept.problems


def test_left_out_parts_of_stamps(tree: Path) -> None:
    entry = look(tree, options=Options(ignore_inode=True, ignore_ctime=True)).dirs["a"].entries()["f"]
    assert entry.stamp is not None
    assert (entry.stamp.ino, entry.stamp.ctime_ns) == (0, 0)
    assert entry.stamp.mtime_ns


@pytest.fixture
def deep_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is removed by a tool that copes with any depth."""
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of a user who is not root, whom this test runs as: root reads everything."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, 65534, 65534)
        os.setegid(65534)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)
            os.setegid(0)


def test_what_can_not_be_looked_at_is_unknown(as_nobody: Path) -> None:
    for name in ("closed", "listed", "open"):
        (as_nobody / name).mkdir()
        (as_nobody / name / "f").touch()
    (as_nobody / "closed").chmod(0)
    (as_nobody / "listed").chmod(0o444)
    found = look(as_nobody)
    assert found.unknown == {"closed", "listed/f"}
    assert [(problem.path, problem.stage, problem.reason) for problem in found.problems] == [
        ("closed", "scan", Reason.UNREADABLE),
        ("listed/f", "scan", Reason.UNREADABLE),
    ]
    assert list(found.dirs) == ["", "listed", "open"]
    assert paths(found) == ["closed", "listed", "open", "open/f"]
    assert look(as_nobody, make_filter(["closed", "listed/f"])).problems == ()
    for name in ("closed", "listed"):
        (as_nobody / name).chmod(0o700)


def test_an_unreadable_root_is_refused(as_nobody: Path) -> None:
    root = as_nobody / "root"
    root.mkdir(mode=0o300)
    (root / ".reconcileignore").touch(mode=0o000)
    with pytest.raises(Refused, match=r"Permission denied.*change its permissions"):
        look(root)
    with pytest.raises(Refused, match=r"^The source.*Permission denied"):
        read_ignore_file(str(root))
    root.chmod(0o700)
    with pytest.raises(Refused, match=r"reconcileignore.*Permission denied"):
        read_ignore_file(str(root))


def test_a_root_that_is_none_is_refused(tree: Path) -> None:
    with pytest.raises(Refused, match="does not exist"):
        look(tree / "none")
    with pytest.raises(Refused, match="is not a directory"):
        look(tree / "a.txt")


def test_a_file_that_vanishes_meanwhile_is_not_there_and_a_directory_is_unknown(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listdir = os.listdir

    def list_and_remove(fd: int) -> list[str]:
        names = listdir(fd)
        if "a.txt" in names:
            (tree / "a.txt").unlink()
        if "deep" in names:
            (tree / "empty").rmdir()
        return names

    monkeypatch.setattr(os, "listdir", list_and_remove)
    found = look(tree)
    assert [(problem.path, problem.reason) for problem in found.problems] == [("empty", Reason.VANISHED)]
    assert found.unknown == {"empty"}
    assert "a.txt" not in paths(found)
    assert list(found.dirs) == ["", "a", "a/deep"]


class Damaged(NamedTuple):
    """Names that are listed and can't be looked at, as a damaged disk or a CIFS mount may have them."""

    names: frozenset[str]

    def stat(self, name: str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        if name in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return STAT(name, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def lstat(self, name: str, *, dir_fd: int | None = None) -> os.stat_result:
        return self.stat(name, dir_fd=dir_fd, follow_symlinks=False)


STAT = os.stat


@pytest.mark.parametrize("links", Links)
def test_what_is_listed_and_not_there_is_unknown(
    tree: Path, monkeypatch: pytest.MonkeyPatch, links: Links
) -> None:
    damaged = Damaged(frozenset({"a.txt", "deep"}))
    monkeypatch.setattr(os, "stat", damaged.stat)
    monkeypatch.setattr(os, "lstat", damaged.lstat)
    found = look(tree, options=Options(links=links))
    assert found.unknown - {"link/deep"} == {"a.txt", "a/deep"}
    assert {problem.reason for problem in found.problems} == {Reason.UNREADABLE}
    assert look(tree, make_filter(["a.txt", "deep"]), Options(links=links)).problems == ()


def test_a_directory_swapped_for_a_link_is_not_entered(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir

    def list_and_swap(fd: int) -> list[str]:
        names = listdir(fd)
        if "deep" in names:
            (tree / "empty").rmdir()
            (tree / "empty").symlink_to("a")
        return names

    monkeypatch.setattr(os, "listdir", list_and_swap)
    found = look(tree)
    assert [(problem.path, problem.reason) for problem in found.problems] == [("empty", Reason.CHANGED)]
    assert found.unknown == {"empty"}
    assert "empty" not in found.dirs


@pytest.mark.parametrize("links", [Links.KEEP, Links.FOLLOW])
def test_a_deep_tree_needs_few_descriptors(deep_folder: Path, links: Links) -> None:
    depth = 4 * OPEN_LIMIT
    fd = os.open(deep_folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("z", dir_fd=fd)
        os.mkdir("zz", dir_fd=fd)  # so that every level has to be come back to
        deeper = os.open("z", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    before = set(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + OPEN_LIMIT + 20, hard))
    try:
        found = look(deep_folder, options=Options(links=links))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not found.problems
    assert found.entry_count == 2 * depth
    assert len(found.dirs) == 2 * depth + 1
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_very_deep_tree(deep_folder: Path) -> None:
    fd = os.open(deep_folder, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("deeper", dir_fd=fd)
        below = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    found = look(deep_folder, make_filter(["x"]))
    assert not found.problems
    assert found.entry_count == 2000
