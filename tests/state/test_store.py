"""The store: there is always a whole snapshot, only ours, only for us."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.errors import ReconcileError, Refused
from reconcile.core.model import DirectorySnapshot, Entry, Kind
from reconcile.remotes.ssh.target import SshTarget
from reconcile.state import store
from reconcile.state.rows import pack_directory
from reconcile.state.snapshot import load
from reconcile.state.store import default_state_base, job_folder, read_snapshot, save_snapshot
from tests.golden.make_snapshot import dumped

TARGET = SshTarget("example.org", "/srv/data", "user", 2222)
SOURCE = "/home/me/photos"


def snapshot(serial: int) -> DirectorySnapshot:
    entries = {f"file {number}": Entry(Kind.FILE, 0o600) for number in range(200)}
    return DirectorySnapshot({"": pack_directory(entries)}, "id", serial, SOURCE, str(TARGET))


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    folder = str(tmp_path / "new" / "job")
    assert read_snapshot(folder, SOURCE, TARGET) is None
    save_snapshot(folder, snapshot(1))
    save_snapshot(folder, snapshot(2))
    loaded = read_snapshot(folder, SOURCE, TARGET)
    assert loaded is not None
    assert loaded.serial == 2
    assert load((tmp_path / "new" / "job" / store.BACKUP).read_bytes()).serial == 1
    assert sorted(os.listdir(folder)) == [store.NAME, store.BACKUP]


def test_nobody_else_can_look(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    before = os.umask(0)
    try:
        save_snapshot(str(folder), snapshot(1))
        save_snapshot(str(folder), snapshot(2))
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    save_snapshot(str(tmp_path), snapshot(1))
    (tmp_path / ".snapshot-0123").write_bytes(b"half")
    save_snapshot(str(tmp_path), snapshot(2))
    assert sorted(os.listdir(tmp_path)) == [store.NAME, store.BACKUP]


@pytest.mark.parametrize(("source", "target"), [("/else", TARGET), (SOURCE, replace(TARGET, path="/x"))])
def test_another_jobs_snapshot_is_refused(tmp_path: Path, source: str, target: SshTarget) -> None:
    save_snapshot(str(tmp_path), snapshot(1))
    with pytest.raises(Refused, match=r"another job.*/home/me/photos.*--state.*--moved-from"):
        read_snapshot(str(tmp_path), source, target)


def test_a_damaged_snapshot_is_refused_and_kept(tmp_path: Path) -> None:
    save_snapshot(str(tmp_path), snapshot(1))
    save_snapshot(str(tmp_path), snapshot(2))
    (tmp_path / store.NAME).write_bytes(b"RECONSNP and rubbish, long enough for a trailer")
    with pytest.raises(Refused, match=r"damaged.*\.bak"):
        read_snapshot(str(tmp_path), SOURCE, TARGET)
    shutil.copy(tmp_path / store.BACKUP, tmp_path / store.NAME)
    restored = read_snapshot(str(tmp_path), SOURCE, TARGET)
    assert restored is not None
    assert restored.serial == 1


def test_an_unreadable_snapshot_is_an_error(tmp_path: Path) -> None:
    (tmp_path / store.NAME).mkdir()
    with pytest.raises(ReconcileError, match=r"can't be read: Is a directory.*--state"):
        read_snapshot(str(tmp_path), SOURCE, TARGET)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let writes beyond ``size`` bytes fail, as they do on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room", [0, 1, 1000])
def test_a_full_disk_leaves_the_one_before(tmp_path: Path, room: int) -> None:
    save_snapshot(str(tmp_path), snapshot(1))
    assert len(dumped(snapshot(2))) > room
    with files_no_larger_than(room), pytest.raises(ReconcileError, match=r"one before it is whole"):
        save_snapshot(str(tmp_path), snapshot(2))
    loaded = read_snapshot(str(tmp_path), SOURCE, TARGET)
    assert loaded is not None
    assert loaded.serial == 1
    assert os.listdir(tmp_path) == [store.NAME]


CALLS = ["open", "fsync", "link", "replace", "unlink", "listdir"]


@pytest.mark.parametrize("name", CALLS)
def test_whatever_call_fails_there_is_a_whole_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Let the first, second… call of ``name`` fail, and no other."""
    original = getattr(os, name)
    for failing in range(4):
        folder = tmp_path / str(failing)
        save_snapshot(str(folder), snapshot(1))
        save_snapshot(str(folder), snapshot(2))
        (folder / ".snapshot-0123").touch()
        count = iter(range(100))

        def fail(
            *arguments: object, failing: int = failing, count: Iterator[int] = count, **named: object
        ) -> object:
            if next(count) == failing:
                raise OSError(5, "Input/output error")
            return original(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            try:
                save_snapshot(str(folder), snapshot(3))
            except ReconcileError as error:
                assert "Input/output error" in str(error)  # noqa: PT017 — some of the calls may fail
        loaded = read_snapshot(str(folder), SOURCE, TARGET)
        assert loaded is not None
        assert loaded.serial in (2, 3)
        assert load((folder / store.BACKUP).read_bytes()).serial in (1, 2)


def test_without_hard_links_the_backup_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    save_snapshot(str(tmp_path), snapshot(1))
    save_snapshot(str(tmp_path), snapshot(2))
    assert load((tmp_path / store.BACKUP).read_bytes()).serial == 1
    assert (tmp_path / store.BACKUP).stat().st_mode & 0o777 == 0o600


def test_each_job_has_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "my photos").mkdir()
    folder = job_folder("/state", str(tmp_path / "my photos"), TARGET)
    assert folder.startswith("/state/my-photos-to-example.org-")
    assert folder == job_folder("/state", f"{tmp_path}/my photos", TARGET)
    others = {
        job_folder("/state", str(tmp_path), TARGET),
        job_folder("/state", "/", TARGET),
        job_folder("/state", "/\udcff/" + "x" * 300, TARGET),
        *(
            job_folder("/state", str(tmp_path / "my photos"), replace(TARGET, **change))
            for change in ({"path": "/x"}, {"user": None}, {"port": 22}, {"host": "x"})
        ),
    }
    assert len(others | {folder}) == 8
    assert all(len(os.path.basename(other)) < 80 for other in others)
    assert all(os.path.dirname(other) == "/state" for other in others)


def test_the_default_place_does_not_depend_on_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = default_state_base()
    monkeypatch.chdir(tmp_path)
    assert default_state_base() == before
    assert os.path.isabs(before)
