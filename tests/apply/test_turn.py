"""The lock on the server, held by several at a folder of this machine: see ``reconcile.apply.turn``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.apply import turn
from reconcile.apply.connection import Retrying
from reconcile.apply.turn import RemoteLock, find_holder
from reconcile.core import turns
from reconcile.core.errors import ConnectionLost, Locked
from reconcile.core.job import Job, Options, Stop
from reconcile.core.turns import Holder, pack_holder
from reconcile.remotes import FORGETFUL, open_remote, parse_target
from tests.remotes.conformance import Heard

ELSEWHERE = Holder("0123456789ab", "build-7", 4711, 1_700_000_000, "https://ci.example.org/7", "11-22-33")


class Runner:
    """Somebody who pushes to DEST: a connection, and the lock of a job."""

    def __init__(self, dest: Path, state: Path, job: str = "web", wait: float = 0.0) -> None:
        self.heard = Heard()
        self.job = Job(
            "/src", parse_target(str(dest)), str(state), Options(wait=wait, retries=2, retry_max_wait=0)
        )
        self.remote = Retrying(self.job, self.heard, open_remote, Stop(), FORGETFUL)
        self.lock = RemoteLock(job, self.job.state, self.heard, wait)

    def take(self, lineage: str = "") -> None:
        self.remote.take_turn(self.lock, lineage)

    def may_write(self) -> bool:
        """Whether what it asks for is done."""
        try:
            self.remote.store.claim(f"written-{os.urandom(4).hex()}")
        except Locked:
            return False
        return True

    def end(self) -> None:
        self.remote.end_turn(tell=True)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    folder = tmp_path / "dest"
    folder.mkdir()
    return folder


@pytest.fixture
def runners(dest: Path, tmp_path: Path) -> Iterator[list[Runner]]:
    several = [Runner(dest, tmp_path / f"state-{number}") for number in range(3)]
    yield several
    for runner in several:
        runner.remote.close()


def store_of(dest: Path) -> Path:
    return dest / ".reconcile/store"


def make_old(dest: Path, seconds: int = turns.EXPIRY + 7) -> None:
    """All that is in the store: as if its clock had gone on."""
    for path in store_of(dest).iterdir():
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


@contextmanager
def asleep(seconds: float) -> Iterator[None]:
    """Our own clock has gone on by so much, as it does while a machine sleeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn, "_now", lambda: time.clock_gettime(turn._CLOCK) + seconds)
        yield


def sit(dest: Path, holder: Holder | None = ELSEWHERE, number: int = 7) -> None:
    """Somebody on another machine has the turn."""
    place = store_of(dest) / turns.name_turn("web", number)
    place.mkdir(parents=True)
    if holder is not None:
        (place / "value").write_bytes(pack_holder(holder))


def test_one_has_it_and_the_others_are_told_who(
    runners: list[Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_JOB_URL", "https://ci.example.org/\x1b[1m7")
    first, second, _ = runners
    first.take()
    first.take()  # once more is no other
    began = time.monotonic()
    with pytest.raises(
        Locked, match=rf"job 'web'.*: process {os.getpid()} on {os.uname().nodename}, since "
    ) as told:
        second.take()
    assert time.monotonic() - began < 1
    assert r"https://ci.example.org/\x1b[1m7" in str(told.value)
    assert find_holder(second.remote.store, "web") is not None
    assert find_holder(second.remote.store, "other") is None
    first.end()
    assert find_holder(second.remote.store, "web") is None
    second.take()
    assert second.lock.number == first.lock.number + 1 or second.lock.number == 2
    second.end()


def test_another_job_has_a_lock_of_its_own(dest: Path, tmp_path: Path, runners: list[Runner]) -> None:
    runners[0].take()
    other = Runner(dest, tmp_path / "other", "docs")
    other.take()
    assert other.may_write()
    assert runners[0].may_write()
    other.remote.close()


def test_who_waits_gets_it(dest: Path, tmp_path: Path, runners: list[Runner]) -> None:
    runners[0].take()
    patient = Runner(dest, tmp_path / "patient", wait=30)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(patient.take)
        assert not waiting.done()
        runners[0].end()
        waiting.result()
    assert patient.may_write()
    patient.remote.close()


def test_what_is_left_in_the_store_does_not_grow(dest: Path, runners: list[Runner]) -> None:
    for count in range(16):
        runner = runners[count % 3]
        runner.take()
        assert runner.lock.number == count + 1
        runner.end()
        left = {path.name for path in store_of(dest).iterdir()}
        assert len(left) < 14
        assert {f"job-web.lock-{count + 1}", f"job-web.lock-{count + 1}.over"} <= left


@pytest.mark.parametrize("wins", [True, False], ids=["renewed", "silent"])
def test_a_turn_is_taken_over_once_it_is_not_renewed(dest: Path, runners: list[Runner], wins: bool) -> None:
    sit(dest)
    make_old(dest, turns.EXPIRY - 20 if wins else turns.EXPIRY + 7)
    if wins:
        with pytest.raises(
            Locked, match=r"process 4711 on build-7, since 2023-.*ci.example.org/7, renewed 2[89]. s"
        ):
            runners[0].take()
        return
    runners[0].take()
    assert runners[0].lock.number == 8
    assert any("build-7" in said and "taken over" in said for said in runners[0].heard.said)


def test_the_run_that_is_taken_over_is_shut_off(dest: Path, runners: list[Runner]) -> None:
    run = dest / ".reconcile" / ELSEWHERE.lineage / "0123456789ab"
    (run / "staging").mkdir(parents=True)
    (run.parent / "id").write_text("mark")
    sit(dest)
    make_old(dest)
    runners[0].take("another-lineage")
    assert {path.name for path in run.parent.iterdir()} == {"id", "0123456789ab.dead"}


@pytest.mark.parametrize("lineage", ["../..", ".", "", "store", "a/b", "\0", "x" * 300])
def test_what_a_holder_says_is_no_path(dest: Path, runners: list[Runner], lineage: str) -> None:
    (dest / "page").mkdir()
    sit(dest, replace(ELSEWHERE, lineage=lineage))
    make_old(dest)
    runners[0].take("another-lineage")
    assert {path.name for path in dest.iterdir()} == {"page", ".reconcile"}
    assert {path.name for path in (dest / ".reconcile").iterdir()} == {"store"}


def test_who_has_not_said_who_it_is_has_little_time(dest: Path, runners: list[Runner]) -> None:
    sit(dest, None)
    with pytest.raises(Locked, match="does not say whose"):
        runners[0].take()
    make_old(dest, turns.NEWBORN + 1)
    runners[0].take()
    assert runners[0].lock.number == 8


def test_a_run_that_has_died_on_this_machine_holds_nobody_up(
    dest: Path, runners: list[Runner], tmp_path: Path
) -> None:
    """Its name says which process it was, and that one is gone: no need to wait."""
    pid = os.fork()
    if not pid:
        os._exit(0 if _takes(dest, tmp_path / "dead") else 1)
    assert os.waitpid(pid, 0)[1] == 0
    runners[0].take()
    assert runners[0].lock.number == 2


def _takes(dest: Path, state: Path) -> bool:
    runner = Runner(dest, state)
    runner.take()
    return runner.lock.number == 1


def test_a_run_of_this_process_that_could_not_say_so_holds_nobody_up(
    dest: Path, runners: list[Runner]
) -> None:
    runners[0].take()
    runners[0].remote.end_turn(tell=False)
    assert not (store_of(dest) / "job-web.lock-1.over").exists()
    runners[1].take()
    assert runners[1].lock.number == 2


def test_who_was_halted_and_is_still_the_last_takes_the_next_turn(dest: Path, runners: list[Runner]) -> None:
    first, second, _ = runners
    first.take()
    make_old(dest)
    with asleep(turns.EXPIRY + 7):
        assert first.may_write()
        assert any("not renewed for 30" in said for said in first.heard.said)
        assert first.lock.number == 2
        with pytest.raises(Locked):
            second.take()


def test_who_was_busy_and_asks_for_its_turn_again_needs_no_new_connection(
    dest: Path, runners: list[Runner]
) -> None:
    first, *_ = runners
    first.take()
    with asleep(turns.LATE + 1):
        first.take()
        assert first.lock.number == 2
    make_old(dest)
    with asleep(turns.EXPIRY + turns.LATE + 7):
        first.take()
        assert first.lock.number == 3
        assert first.may_write()
    assert first.heard.said == []
    sit(dest, number=4)
    with asleep(2 * (turns.EXPIRY + turns.LATE)), pytest.raises(Locked, match="no longer ours"):
        first.take()


def test_who_was_halted_while_another_came_writes_nothing_more(dest: Path, runners: list[Runner]) -> None:
    first, second, third = runners
    sit(dest)
    make_old(dest)
    first.take()
    for path in store_of(dest).glob("job-web.lock-8/value"):  # as if it were on another machine
        path.write_bytes(pack_holder(ELSEWHERE))
    make_old(dest)
    second.take()
    second.end()
    third.take()
    third.end()
    with asleep(turns.EXPIRY + 7):
        before = {path.name for path in store_of(dest).iterdir()}
        assert not first.may_write()
        assert not first.may_write()  # ever
        assert {path.name for path in store_of(dest).iterdir()} == before
        first.end()
    assert {path.name for path in store_of(dest).iterdir()} == before


def test_a_connection_that_broke_costs_nobody_the_turn(runners: list[Runner]) -> None:
    first = runners[0]
    first.take()
    first.remote._reopen(ConnectionLost("it broke"))
    assert first.may_write()
    assert first.lock.number == 1


def test_it_is_renewed_while_there_is_something_to_do(dest: Path, runners: list[Runner]) -> None:
    first, second, _ = runners
    first.take()
    make_old(dest, turns.EXPIRY - 20)
    with asleep(turns.RENEWAL + 1):
        assert first.may_write()
    assert second.remote.store.age("job-web.lock-1") in range(10)
    with asleep(turns.RENEWAL + turns.LATE - 1):
        assert first.may_write()
    assert first.lock.number == 1


@pytest.mark.parametrize("ends", [True, False])
def test_a_turn_that_somebody_ended_is_lost_with_the_next_renewal(
    dest: Path, runners: list[Runner], ends: bool
) -> None:
    first, second, _ = runners
    first.take()
    if ends:
        assert second.remote.store.claim("job-web.lock-1.over")
    else:
        assert second.remote.store.drop("job-web.lock-1")
    assert first.may_write()
    with asleep(turns.RENEWAL + 1):
        with suppress(Locked):
            first.remote.store.names()
        assert not first.may_write()


def test_who_begins_a_level_has_a_look_unless_that_was_just_so(dest: Path, runners: list[Runner]) -> None:
    first, second, _ = runners
    first.take()
    assert second.remote.store.claim("job-web.lock-1.over")
    first.lock.look_soon()
    assert first.may_write()
    with asleep(turns.RECENT + 1):
        assert first.may_write()
        first.lock.look_soon()
        with suppress(Locked):
            first.remote.store.names()
        assert not first.may_write()


def test_of_those_who_take_over_at_once_one_has_it(dest: Path, tmp_path: Path) -> None:
    """Each with a connection of its own, from the same moment, again and again; no two are at work."""
    rounds, rivals = (300, 4) if os.environ.get("TORTURE") else (6, 3)

    def race(runner: Runner) -> bool:
        try:
            runner.take()
        except Locked:
            return False
        assert runner.may_write()
        assert len(holders) == 0
        holders.append(runner)
        time.sleep(0.002)
        holders.remove(runner)
        runner.end()
        return True

    holders: list[Runner] = []
    sit(dest)
    make_old(dest)
    won = 0
    with ThreadPoolExecutor(rivals) as pool:
        for _ in range(rounds):
            with ExitStack() as stack:
                several = [Runner(dest, tmp_path / f"s{number}") for number in range(rivals)]
                for runner in several:
                    stack.callback(runner.remote.close)
                won += sum(pool.map(race, several))
    assert rounds <= won <= rounds * rivals
