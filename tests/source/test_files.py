"""Sources: the bytes that were scanned, or an error that says why not."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_IFREG

import pytest
import xxhash
from msgspec.structs import replace

from reconcile.core.errors import Refused
from reconcile.core.filters import make_filter
from reconcile.core.job import Links, Options
from reconcile.core.model import Kind, Reason, Stamp
from reconcile.source.files import PIECE, Source, SourceError, digest_of, new_hash, read_contents
from reconcile.source.scan import scan
from reconcile.source.way import HELD


@pytest.fixture
def deep_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is removed by a tool that copes with any depth."""
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


def stamp_of(path: Path) -> Stamp:
    info = path.stat()
    return Stamp(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_mode)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7])
def test_digest(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(content)
    with Source(str(tmp_path)) as source:
        assert source.digest("f", stamp_of(tmp_path / "f")) == xxhash.xxh3_128_digest(content)
    running = new_hash()
    running.update(content)
    assert running.digest() == digest_of(content)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(path))


def make_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rewrite(path: Path) -> None:
    path.write_bytes(b"other")


def chmod(path: Path) -> None:
    path.chmod(0o611)


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        (Path.unlink, Reason.VANISHED),
        (make_fifo, Reason.SPECIAL),
        (make_socket, Reason.SPECIAL),
        (make_link, Reason.CHANGED),
        (replace_by_directory, Reason.SPECIAL),
        (rewrite, Reason.GROWING),  # that it did more than that, nobody can tell any more
        (chmod, Reason.CHANGED),
    ],
)
def test_a_swapped_file_is_not_read(tmp_path: Path, do: Callable[[Path], None], reason: Reason) -> None:
    path = tmp_path / "d" / "f"
    path.parent.mkdir()
    path.write_bytes(b"some")
    stamp = stamp_of(path)
    do(path)
    with Source(str(tmp_path)) as source, pytest.raises(SourceError) as caught:
        source.open("d/f", stamp)
    assert caught.value.reason is reason
    assert caught.value.message


def test_a_swapped_parent_is_noticed(tmp_path: Path) -> None:
    for name in ("d", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"some")
    stamp = stamp_of(tmp_path / "d" / "f")
    (tmp_path / "d").rename(tmp_path / "old")
    (tmp_path / "d").symlink_to("elsewhere")
    with Source(str(tmp_path)) as source, pytest.raises(SourceError) as caught:
        source.open("d/f", stamp)
    assert caught.value.reason is Reason.CHANGED


def test_nothing_is_opened_through_a_swapped_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening may act, if it is a device: a tape, a watchdog. So no more is opened than the parent itself."""
    path, outside = tmp_path / "src" / "d" / "deep" / "f", tmp_path / "outside" / "deep"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"some")
    stamp = stamp_of(path)
    outside.mkdir(parents=True)
    os.mkfifo(outside / "f")
    (tmp_path / "src" / "d").rename(tmp_path / "d")
    (tmp_path / "src" / "d").symlink_to(tmp_path / "outside")
    with Source(str(tmp_path / "src")) as source:
        opened: list[str] = []
        real = os.open

        def tell(name: str, flags: int, *, dir_fd: int) -> int:
            opened.append(name)
            return real(name, flags, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", tell)
        for attempt in (source.open, source.digest):
            with pytest.raises(SourceError) as caught:
                attempt("d/deep/f", stamp)
            assert caught.value.reason is Reason.CHANGED
    assert opened == ["d", "d"]


def test_the_way_to_files_is_held_open_but_for_very_deep_ones(deep_folder: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    deep = "/".join(["d"] * 3 * HELD)
    (deep_folder / deep).mkdir(parents=True)
    for directory in ("", "d", "d/d/d", deep):
        (deep_folder / directory / "f").write_text(directory)
    with Source(str(deep_folder)) as source:
        for directory in ("d", "", deep, "d/d/d", deep, "d/d", "d", "d/none", "d/d/d", ""):
            path = f"{directory}/f".lstrip("/")
            if (deep_folder / path).exists():
                assert source.read(path, stamp_of(deep_folder / path)) == directory.encode()
            else:
                with pytest.raises(SourceError):
                    source.stamp(path)
            assert len(os.listdir("/dev/fd")) <= before + HELD + 3
    assert len(os.listdir("/dev/fd")) == before


def test_a_change_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"some")
    stamp = stamp_of(tmp_path / "f")
    with Source(str(tmp_path)) as source:
        fd = source.open("f", stamp)
        source.check(fd, "f", stamp)
        with (tmp_path / "f").open("ab") as file:
            file.write(b"more")
        with pytest.raises(SourceError) as caught:
            source.check(fd, "f", stamp)
        os.close(fd)
    assert caught.value.reason is Reason.GROWING


class Writer:
    """Another process that writes to a file as soon as somebody has read some of it."""

    def __init__(self, path: Path, may_grow: bool) -> None:
        self.path = path
        self.stamp = stamp_of(path)
        self.source = Source(str(path.parent), may_grow=lambda _: may_grow)

    def read(self, write: Callable[[Path], object], size: int = 1000) -> bytes:
        """The content, of which the first piece is read before ``write``, and the others afterwards."""
        pieces = self.source.pieces(self.path.name, self.stamp, size)
        first = next(pieces)
        write(self.path)
        return first + b"".join(pieces)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def append_and_overwrite(path: Path) -> None:
    append(path)
    with path.open("r+b") as file:
        file.write(b"X")


def rotate(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.write_bytes(b"y" * 5000)


def start_over(path: Path) -> None:
    path.write_bytes(b"")
    path.write_bytes(b"y" * 5000)


@pytest.mark.parametrize("size", [100, 4000, 1 << 20])
def test_what_was_in_a_file_that_only_grows_is_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(4000))
    before = path.read_bytes()
    writer = Writer(path, may_grow=True)
    assert writer.read(append, size) == before
    assert writer.read(append, size) == before  # it had grown before it was opened, too
    assert writer.source.digest("f", writer.stamp) == digest_of(before)
    assert writer.source.grown == {"f"}


@pytest.mark.parametrize("size", [100, 1 << 20])
@pytest.mark.parametrize("write", [append_and_overwrite, start_over, rotate, rewrite, chmod, Path.unlink])
def test_a_file_that_does_more_than_grow_is_not(
    tmp_path: Path, write: Callable[[Path], None], size: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 4000)
    writer = Writer(path, may_grow=True)
    with pytest.raises(SourceError) as caught:
        writer.read(write, size)
    assert caught.value.reason is Reason.CHANGED
    assert not writer.source.grown


def test_a_file_that_may_not_grow_is_not_read_while_it_does(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 4000)
    writer = Writer(path, may_grow=False)
    for _ in range(2):
        with pytest.raises(SourceError) as caught:
            writer.read(append)
        assert caught.value.reason is Reason.GROWING


def test_left_out_parts_of_a_stamp_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"some")
    stamp = replace(stamp_of(tmp_path / "f"), ino=0, ctime_ns=0)
    with Source(str(tmp_path)) as source:
        os.close(source.open("f", stamp))
        with pytest.raises(SourceError):
            source.open("f", replace(stamp, mtime_ns=1))


def test_links_are_followed_only_on_demand(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"some")
    (tmp_path / "link").symlink_to("real")
    stamp = stamp_of(tmp_path / "real")
    with Source(str(tmp_path), Links.FOLLOW) as source:
        assert source.digest("link", stamp) == digest_of(b"some")


def test_readlink(tmp_path: Path) -> None:
    os.symlink(b"to \xff\n", bytes(tmp_path / "link"))
    (tmp_path / "file").touch()
    with Source(str(tmp_path)) as source:
        assert os.fsencode(source.readlink("link")) == b"to \xff\n"
        for path, reason in (("file", Reason.CHANGED), ("none", Reason.VANISHED)):
            with pytest.raises(SourceError) as caught:
                source.readlink(path)
            assert caught.value.reason is reason


def test_paths_longer_than_the_kernel_takes(deep_folder: Path) -> None:
    depth, part = 30, "n" * 200
    fd = os.open(deep_folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(part, dir_fd=fd)
        deeper = os.open(part, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    file = os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(file, b"some")
    os.close(file)
    os.symlink("to", "link", dir_fd=fd)
    os.close(fd)
    found = scan(str(deep_folder), make_filter([]), Options())
    wanted = [(path, entry) for path, entry in found.walk() if entry.kind is not Kind.DIR]
    with Source(str(deep_folder)) as source:
        filled, problems = read_contents(source, wanted)
        with pytest.raises(SourceError) as caught:
            source.open("/".join([part] * depth) + "/none", wanted[0][1].stamp or Stamp(0, 0, 0, 0, 0))
    assert not problems
    assert [(entry.digest, entry.link) for entry in filled.values()] == [
        (digest_of(b"some"), None),
        (None, "to"),
    ]
    assert caught.value.reason is Reason.VANISHED


def test_read_contents_goes_on_after_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "d").mkdir()
    found = dict(scan(str(tmp_path), make_filter([]), Options()).walk())
    (tmp_path / "a").unlink()
    with Source(str(tmp_path)) as source:
        filled, problems = read_contents(source, found.items())
    assert filled == {"b": replace(found["b"], digest=digest_of(b"b")), "d": found["d"]}
    assert [(problem.path, problem.stage, problem.reason) for problem in problems] == [
        ("a", "hash", Reason.VANISHED)
    ]


def test_a_file_with_a_time_beyond_64_bits(tmp_path: Path) -> None:
    with Source(str(tmp_path)) as source:
        (tmp_path / "f").touch()
        os.utime(tmp_path / "f", ns=(0, 2**40 * 10**9))  # tmpfs keeps it, others bring it to their own limit
        entry = scan(str(tmp_path), make_filter([]), Options()).dirs[""].entries()["f"]
        assert entry.stamp is not None
        assert source.digest("f", entry.stamp) == digest_of(b"")


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not exist"):
        Source(str(tmp_path / "none"))


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    source = Source(str(tmp_path))
    source.close()
    source.close()
    with pytest.raises(SourceError):
        source.open("f", Stamp(0, 0, 0, 0, S_IFREG))
