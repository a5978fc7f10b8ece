"""Content of large files, spread over several channels of one connection."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.core.errors import ConnectionLost
from reconcile.core.job import Job, Options
from reconcile.core.model import Action, Entry, Kind, Op, Plan, Reason
from reconcile.pipeline import run
from reconcile.remotes import Remote
from reconcile.remotes.sftp import driver
from reconcile.remotes.sftp.driver import CHANNELS
from reconcile.remotes.tree import level, upload
from reconcile.remotes.tree.remote import TreeRemote
from tests.remotes.conformance import OLD, Bench, Conformance, Heard, OpenRemote
from tests.remotes.sftp.test_sftp import opener
from tests.support.faults import Fault
from tests.support.sshd import Sshd, start_sshd
from tests.support.trees import File, assert_same_tree, build_tree

LARGE = 100_000  # bytes that count as large here
MANY = CHANNELS * LARGE  # bytes that are worth all channels
MANY_LARGE = Plan([[Action(Op.CREATE, "f", Entry(Kind.FILE, 0o644, MANY))]])
Begin = Callable[..., Bench]
SIZES = [LARGE - 1, LARGE, 255 * 1024 * 4, 255 * 1024 * 4 + 1, 3 << 20]


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file were large, and the server far away."""
    for module in (level, driver, upload):
        monkeypatch.setattr(module, "SPREAD_FROM", LARGE)
    monkeypatch.setattr(driver, "A_CHANNEL", LARGE)
    monkeypatch.setattr(driver, "FAR", 0.0)


@pytest.fixture
def open_remote(sshd: Sshd) -> OpenRemote:
    return opener(sshd)


class TestLanes(Conformance):
    """All of it, large or not, goes over as many channels as may be."""

    @pytest.fixture
    def open_remote(self, sshd: Sshd) -> OpenRemote:
        def open_remote(dest: Path | str, options: Options, heard: Heard) -> Remote:
            remote = opener(sshd)(dest, options, heard)
            assert isinstance(remote, TreeRemote)
            remote._site.quirks = replace(remote._site.quirks, ordered=True)  # as it will be found out
            remote._spread.ask_for(MANY_LARGE.actions)
            remote._spread.take(wait=True)
            assert remote._site.channels == CHANNELS
            return remote

        return open_remote


def lanes(bench: Bench) -> int:
    assert isinstance(bench.remote, TreeRemote)
    return bench.remote._site.channels


def ask_for_all(bench: Bench) -> None:
    """A session goes wrong only if it begins after the server was told so."""
    assert isinstance(bench.remote, TreeRemote)
    bench.remote._spread.ask_for(MANY_LARGE.actions)


@pytest.fixture
def begin(source: Path, dest: Path) -> Iterator[Begin]:
    """``begin(open_remote)``, and how large a file is to come; closed in the end."""
    with ExitStack() as stack:

        def begin(open_remote: OpenRemote, largest: int = MANY) -> Bench:
            plan = Plan([[Action(Op.CREATE, "f", Entry(Kind.FILE, 0o644, largest))]])
            bench = Bench(open_remote, source, dest, Options(), plan=plan)
            stack.callback(bench.source.close)
            stack.callback(bench.remote.close)
            return bench

        yield begin


def files() -> dict[str, File]:
    chance = random.Random(5)
    return {str(size): File(chance.randbytes(size), mode=0o640, mtime=OLD) for size in SIZES}


def test_files_of_all_sizes_arrive_with_their_times_and_modes(begin: Begin, open_remote: OpenRemote) -> None:
    bench = begin(open_remote)
    bench.upload(files())
    assert lanes(bench) == CHANNELS
    bench.same()
    bench.end()


def test_small_files_open_no_further_channel(begin: Begin, open_remote: OpenRemote) -> None:
    bench = begin(open_remote, LARGE - 1)
    bench.upload({str(n): File(bytes(LARGE - 1)) for n in range(20)})
    assert lanes(bench) == 1


def test_small_files_go_beside_large_ones(begin: Begin, shim_sshd: Sshd) -> None:
    shim_sshd.requests()
    bench = begin(opener(shim_sshd))
    small = {f"f{n}": File(f"content {n}".encode(), mode=0o600 + n % 64) for n in range(300)}
    bench.upload({"bundle": small, "mixed": {**small, **files()}, **small, **files()})
    assert lanes(bench) == CHANNELS
    bench.same()
    bench.end()
    bench.remote.close()
    assert shim_sshd.requests().sessions == CHANNELS + 1  # which looked into our folder in the end


@pytest.mark.parametrize("granted", [1, 2])
def test_a_server_that_grants_fewer_channels_gets_it_over_these(
    begin: Begin, tmp_path: Path, granted: int
) -> None:
    with start_sshd(tmp_path, settings=(f"MaxSessions {granted}",)) as own:
        bench = begin(opener(own))
        bench.upload(files())
        assert lanes(bench) == granted
        bench.same()
        bench.end()


def job_to(sshd: Sshd, source: Path, dest: Path, state: Path, *, most: int | None = None) -> Job:
    login = sshd.endpoint.login(channels=most)
    return Job(str(source), sshd.endpoint.target(dest), str(state), Options(), login)


def test_a_host_that_grants_fewer_is_asked_for_no_more_again(
    tmp_path: Path, source: Path, dest: Path, state: Path
) -> None:
    with start_sshd(tmp_path, settings=("MaxSessions 2", "LogLevel DEBUG1")) as own:
        job = job_to(own, source, dest, state)
        refused = []
        for number in range(2):
            build_tree(source, {f"{number}": File(os.urandom(MANY))})
            assert run(job, Heard()).problems == []
            refused.append(own.log.read_text().count("server_input_channel_open: failure session"))
        assert refused == [CHANNELS - 2, CHANNELS - 2]
        assert_same_tree(source, dest)
        run(replace(job, options=Options(refresh=True)), Heard())  # what an administrator may have changed
        build_tree(source, {"more": File(os.urandom(MANY))})
        assert run(job, Heard()).problems == []
        assert own.log.read_text().count("server_input_channel_open: failure session") > refused[-1]


def test_no_more_are_opened_than_the_user_allows(
    shim_sshd: Sshd, source: Path, dest: Path, state: Path
) -> None:
    shim_sshd.requests()
    build_tree(source, {"large": File(os.urandom(MANY))})
    assert run(job_to(shim_sshd, source, dest, state, most=3), Heard()).problems == []
    assert shim_sshd.requests().sessions == 3


def test_what_may_be_opened_only_once_takes_one_lane(begin: Begin, bound_sshd: Sshd) -> None:
    """Its mode lets nobody write, and the server's user is not root."""
    bench = begin(opener(bound_sshd))
    bench.upload({"read-only": File(bytes(3 << 20), mode=0o400, mtime=OLD)})
    assert lanes(bench) == CHANNELS
    bench.same()
    bench.end()


class Watched:
    """Calls back once, when so many bytes of content have been sent."""

    def __init__(self, bench: Bench, after: int, then: Callable[[], object]) -> None:
        self.left = after
        self.then = then
        bench.heard.sent = self.sent  # type: ignore[method-assign]

    def sent(self, count: int, _path: str) -> None:
        self.left -= count
        if self.left < 0:
            self.left = 1 << 60
            self.then()


def large(bench: Bench) -> Action:
    (bench.src / "large").write_bytes(os.urandom(2 * CHANNELS << 20))  # eight writes on each lane
    return bench.create("large")


def test_a_file_that_becomes_shorter_in_the_middle_is_sent_as_it_is_then(
    begin: Begin, open_remote: OpenRemote, source: Path
) -> None:
    bench = begin(open_remote)
    action = large(bench)
    Watched(bench, 1 << 20, lambda: os.truncate(source / "large", 2 << 20))
    bench.do(action)
    bench.same()
    bench.end()


@pytest.mark.parametrize(("kind", "at"), [("WRITE", 1), ("WRITE", 2), ("WRITE", 8), ("CLOSE", 1)])
def test_what_is_refused_on_any_lane_is_not_published(
    begin: Begin, shim_sshd: Sshd, dest: Path, kind: str, at: int
) -> None:
    bench = begin(opener(shim_sshd), 0)
    action = large(bench)
    shim_sshd.arm(Fault("answer", at, kind=kind, status=4))
    ask_for_all(bench)
    assert bench.problem(action).reason is Reason.FAILED
    assert not (dest / "large").exists()
    bench.do(action)
    bench.same()
    bench.end()


@pytest.mark.parametrize("do", ["close", "cut"])
def test_a_lane_that_is_lost_is_a_lost_connection(begin: Begin, shim_sshd: Sshd, dest: Path, do: str) -> None:
    bench = begin(opener(shim_sshd), 0)
    action = large(bench)
    shim_sshd.arm(Fault(do, 5, kind="WRITE"))  # type: ignore[arg-type]
    ask_for_all(bench)
    with pytest.raises(ConnectionLost):
        bench.perform(action)
    assert not (dest / "large").exists()
