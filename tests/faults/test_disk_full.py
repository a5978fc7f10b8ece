"""The server's disk fills up in the middle of many files, and has room again later."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconcile.core.marks import is_mark
from reconcile.serve.files import File, Files
from reconcile.serve.server import Server
from tests.faults.conftest import TORTURE
from tests.support.command import Ran, Reconcile
from tests.support.trees import File as Content
from tests.support.trees import assert_same_tree, build_tree

COUNT = 1000 if TORTURE else 300
SIZE = 2000  # bytes of each file
PROBLEMS = 3


class Disk:
    """How much there is, and what came. Shared by all sessions of a server."""

    lock = threading.Lock()
    room = 0  # bytes
    taken = 0


class Full(OSError):
    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "No space left on device")


class FileOnFullDisk(File):
    """Writes fail once the room is used up, as on a real disk."""

    def write(self, offset: int, data: bytes) -> int:  # type: ignore[override]  # as in the base
        with Disk.lock:
            if Disk.taken + len(data) > Disk.room:
                raise Full
            Disk.taken += len(data)
        return super().write(offset, data)


class FilesOnFullDisk(Files):
    """Hands out such files."""

    def hold(self, fd: int) -> File:
        return FileOnFullDisk(fd)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "remote").mkdir()
    with Server(tmp_path / "remote", user="user", password="secret", interface=FilesOnFullDisk) as server:
        yield server


def test_full_in_the_middle_then_space(
    server: Server, source: Path, state: Path, tmp_path: Path, tally: Counter[str]
) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
    build_tree(source, {f"f{n}": Content(f"{n:05}" * (SIZE // 5)) for n in range(COUNT)})
    url = f"sftp://user@127.0.0.1:{server.port}/dest"
    flags = ["--known-hosts", str(known_hosts), "--password-env", "SECRET"]
    job = Reconcile(source, url, state, flags)

    def run() -> Ran:
        return job("run", env={"SECRET": "secret"})

    Disk.taken, Disk.room = 0, COUNT * SIZE // 2
    full = run()
    assert full.code == PROBLEMS, full.out
    there = [path for path in (server_root(server) / "dest").iterdir() if path.name != ".reconcile"]
    assert 0 < len(there) < COUNT
    assert all(path.stat().st_size == SIZE for path in there)
    assert all("No space left" in problem["message"] for problem in full.document["problems"])

    Disk.room = COUNT * SIZE * 10
    before = Disk.taken
    again = run()
    assert again.code == 0, again.out
    assert Disk.taken - before == (COUNT - len(there)) * SIZE, "something was sent twice"
    assert again.document["bytes_sent"] < (COUNT - len(there)) * (SIZE + 1000) + 50_000
    assert_same_tree(source, server_root(server) / "dest")
    assert run().counts == {}
    (left,) = (server_root(server) / "dest/.reconcile").glob("*/*")
    assert is_mark(left.name)
    tally["full disks"] += 1


def server_root(server: Server) -> Path:
    return Path(server.root)
