"""Content of large files, spread over several channels of one connection."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from reconcile.errors import ConnectionLost
from reconcile.model import Action, Options, Reason
from reconcile.remotes.sftp import remote as sftp_remote
from reconcile.remotes.sftp import upload
from reconcile.remotes.sftp.remote import LANES, SftpRemote
from tests.remotes.conformance import OLD, Bench, Conformance, OpenRemote
from tests.remotes.test_sftp import opener
from tests.support.faults import Fault
from tests.support.sshd import Sshd, start_sshd
from tests.support.trees import File

LARGE = 100_000  # bytes that count as large here
SIZES = [LARGE - 1, LARGE, 255 * 1024 * 4, 255 * 1024 * 4 + 1, 3 << 20]


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file were large, and the server far away."""
    for module in (sftp_remote, upload):
        monkeypatch.setattr(module, "SPREAD_FROM", LARGE)
    monkeypatch.setattr(sftp_remote, "WIDEN_FROM", 1)
    monkeypatch.setattr(sftp_remote, "FAR", 0.0)


@pytest.fixture
def open_remote(sshd: Sshd) -> OpenRemote:
    return opener(sshd)


class TestLanes(Conformance):
    pass


def lanes(bench: Bench) -> int:
    assert isinstance(bench.remote, SftpRemote)
    return bench.remote._site.lanes


def close(bench: Bench) -> None:
    bench.remote.close()
    bench.source.close()


def files() -> dict[str, File]:
    chance = random.Random(5)
    return {str(size): File(chance.randbytes(size), mode=0o640, mtime=OLD) for size in SIZES}


def test_files_of_all_sizes_arrive_with_their_times_and_modes(
    open_remote: OpenRemote, source: Path, dest: Path
) -> None:
    bench = Bench(open_remote, source, dest, Options())
    bench.upload(files())
    assert lanes(bench) == LANES
    bench.same()
    bench.end()
    close(bench)


def test_small_files_open_no_further_channel(open_remote: OpenRemote, source: Path, dest: Path) -> None:
    bench = Bench(open_remote, source, dest, Options())
    bench.upload({str(n): File(bytes(LARGE - 1)) for n in range(20)})
    assert lanes(bench) == 1
    close(bench)


@pytest.mark.parametrize("granted", [1, 2])
def test_a_server_that_grants_fewer_channels_gets_it_over_these(
    tmp_path: Path, source: Path, dest: Path, granted: int
) -> None:
    with start_sshd(tmp_path, settings=(f"MaxSessions {granted}",)) as own:
        bench = Bench(opener(own), source, dest, Options())
        bench.upload(files())
        assert lanes(bench) == granted
        bench.same()
        bench.end()
        close(bench)


def test_what_may_be_opened_only_once_takes_one_lane(bound_sshd: Sshd, source: Path, dest: Path) -> None:
    """Its mode lets nobody write, and the server's user is not root."""
    bench = Bench(opener(bound_sshd), source, dest, Options())
    bench.upload({"read-only": File(bytes(3 << 20), mode=0o400, mtime=OLD)})
    assert lanes(bench) == LANES
    bench.same()
    bench.end()
    close(bench)


class Watched:
    """Calls back once, when so many bytes of content have been sent."""

    def __init__(self, bench: Bench, after: int, then: Callable[[], object]) -> None:
        self.left = after
        self.then = then
        bench.heard.sent = self.sent  # type: ignore[method-assign]

    def sent(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            self.left = 1 << 60
            self.then()


def large(bench: Bench) -> Action:
    (bench.src / "large").write_bytes(os.urandom(8 << 20))
    return bench.create("large")


def test_a_file_that_becomes_shorter_in_the_middle_is_not_published(
    open_remote: OpenRemote, source: Path, dest: Path
) -> None:
    bench = Bench(open_remote, source, dest, Options())
    action = large(bench)
    cuts = iter([2 << 20, 1 << 20])
    Watched(bench, 1 << 20, lambda: os.truncate(source / "large", next(cuts)))
    (outcome,) = bench.perform(action)
    if outcome.problem is None:  # tried once more, as it was then
        bench.same()
    else:
        assert outcome.problem.reason is Reason.CHANGED
        assert not (dest / "large").exists()
    bench.end()
    close(bench)


@pytest.mark.parametrize(("kind", "at"), [("WRITE", 1), ("WRITE", 2), ("WRITE", 8), ("CLOSE", 1)])
def test_what_is_refused_on_any_lane_is_not_published(
    shim_sshd: Sshd, source: Path, dest: Path, kind: str, at: int
) -> None:
    bench = Bench(opener(shim_sshd), source, dest, Options())
    action = large(bench)
    shim_sshd.arm(Fault("answer", at, kind=kind, status=4))
    assert bench.problem(action).reason is Reason.FAILED
    assert not (dest / "large").exists()
    bench.do(action)
    bench.same()
    bench.end()
    close(bench)


@pytest.mark.parametrize("do", ["close", "cut"])
def test_a_lane_that_is_lost_is_a_lost_connection(shim_sshd: Sshd, source: Path, dest: Path, do: str) -> None:
    bench = Bench(opener(shim_sshd), source, dest, Options())
    action = large(bench)
    shim_sshd.arm(Fault(do, 5, kind="WRITE"))  # type: ignore[arg-type]
    with pytest.raises(ConnectionLost):
        bench.perform(action)
    assert not (dest / "large").exists()
    close(bench)
