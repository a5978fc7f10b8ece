"""What two processes bring to a folder here is what one brings. Run where no threads are, as forks need."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconcile.core.errors import Locked
from reconcile.core.job import Job, Lock, Options, Stop
from reconcile.pipeline import run
from reconcile.remotes.local import driver, second
from reconcile.remotes.local.driver import Disk
from reconcile.remotes.local.scheme import Folder
from reconcile.remotes.tree.steps import Burst, Recipe
from reconcile.remotes.tree.verbs import Close, OpenNew, Verb, Write
from reconcile.state.lock import hold_lock
from tests.remotes.conformance import Heard
from tests.support.trees import Dir, File, Link, assert_same_tree, build_tree, read_tree

ROOT = Path(__file__).parents[3]
OLD = 1_500_000_000  # seconds
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nwho finds it has it\n"
COUNT = 500  # files, more than the second process is given at once

PROGRAM = """
import errno, json, os, signal, sys, time
from reconcile.core.errors import Interrupted
from reconcile.core.job import Fsync, Job, Options, Stop
from reconcile.pipeline import run
from reconcile.remotes.local import calls, driver, kernel, second
from reconcile.remotes.local.scheme import Folder
from reconcile.state.store import read_copy
from tests.remotes.conformance import Heard

source, dest, state, how = sys.argv[1:]
us, started, stop, counted = os.getpid(), [], Stop(), []
second.may_fork = lambda: how != "alone"  # also on one core
driver.WORTH = 1
start, bring, put = second.start_second, second._bring, calls.Calls.put
take, go_on = second.Second.take, driver.Disk._go_on_alone
left_alone = []

def start_second(*given):
    started.append(start(*given))
    return started[-1]

def bring_or_die(_calls, _source, packed):
    if packed[0].endswith("f70"):
        half = os.open(packed[2], os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(half, b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return bring(_calls, _source, packed)

def take_and_kill(self):
    taken = take(self)
    os.kill(self._pid, signal.SIGKILL)
    os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
    return taken

def be_stopped(_calls, _source, packed):
    if packed[0].endswith("f70"):
        os.kill(os.getpid(), signal.SIGSTOP)
    return bring(_calls, _source, packed)

def go_on_alone(self):
    left_alone.append(1)
    go_on(self)

def tell_and_wait(*_):
    print("working", flush=True)
    time.sleep(3600)

def put_or_fail(self, verb, data):
    if os.getpid() == us or b"f7" not in verb.path:
        return put(self, verb, data)
    put(self, verb, data[:3])
    return [(calls.verbs.Write, calls.status_of(OSError(errno.ENOSPC, "full")))]

class Ears(Heard):
    def planned(self, plan, tally):
        if how == "changes":
            for number in range(0, 500, 50):
                with open(os.path.join(source, f"e/f{number}"), "a") as file:
                    file.write("later")
            for number in range(5, 500, 10):
                os.unlink(os.path.join(source, f"e/f{number}"))
    def sent(self, count, path):
        super().sent(count, path)
        counted.append(path)
        if how == "stops" and len(counted) == 300:
            stop.requested = signal.SIGINT

driver.start_second, driver.Disk._go_on_alone = start_second, go_on_alone
if how == "dies":
    second._bring = bring_or_die
if how == "dies between":
    second.Second.take = take_and_kill
if how == "is stopped":
    second._bring = be_stopped
if how.startswith("is killed"):
    second._bring = tell_and_wait
if how == "is killed elsewhere":
    kernel.die_with_parent = lambda: None
calls.Calls.put = put_or_fail if how == "fails" else put
ears, told = Ears(), ""
job = Job(source, Folder(dest), state, Options(fsync=Fsync.ALWAYS))
try:
    result = run(job, ears, stop=stop)
    told = [[each.path, each.reason] for each in result.problems]
    requests, brought = result.traffic.requests, result.traffic.bytes_sent
except Interrupted:
    told, requests, brought = "interrupted", 0, 0
held = read_copy(state)
told_of = {path: [entry.size, entry.mtime_ns, entry.mode, (entry.digest or b"").hex()]
           for path, entry in held.walk()}
try:
    os.waitpid(-1, os.WNOHANG)
    left = True
except ChildProcessError:
    left = False
print(json.dumps({"told": told, "held": told_of, "left": left, "started": len([*filter(None, started)]),
                  "alone": len(left_alone), "requests": requests, "brought": brought,
                  "said": ears.said, "sent": sorted(counted),
                  "open": len(os.listdir("/proc/self/fd"))}))
"""


@pytest.fixture
def source(source: Path) -> Path:
    """A folder that goes together, and one whose files are each renamed."""
    small: dict[str, object] = {f"f{n}": File(f"content {n}", mtime=OLD + n) for n in range(COUNT)}
    few = {name: small[name] for name in sorted(small)[: COUNT // 4]}
    build_tree(source, {"d": Dir(few, mode=0o750), "e": {**small, "in it": {"l": Link("nowhere")}}})
    build_tree(source, {"large": "x" * 5_000_000, "empty": "", "key": KEY, "d": {b"\xff": "no text"}})
    return source


def bring(source: Path, dest: Path, state: Path, how: str) -> dict[str, Any]:
    """Run once, to its end."""
    command = [sys.executable, "-c", PROGRAM, str(source), str(dest), str(state), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["started"] == (how != "alone")
    assert not told["left"]
    return told


def test_two_bring_what_one_brings(source: Path, tmp_path: Path) -> None:
    """Also where the second dies half way, or can't write."""
    alone = bring(source, tmp_path / "alone", tmp_path / "state of alone", "alone")
    assert any("private key" in said for said in alone["said"])
    for how in ("works", "dies", "dies between", "is stopped", "fails"):
        told = bring(source, tmp_path / how, tmp_path / f"state of {how}", how)
        assert_same_tree(source, tmp_path / how, ignore=[".reconcile"])
        assert told["told"] == []
        for each in ("held", "said", "brought", "sent", "open"):
            assert told[each] == alone[each], (how, each)


def test_a_file_that_changed_comes_as_it_is_now(source: Path, dest: Path, state: Path) -> None:
    """And one that is gone is nothing to die of."""
    told = bring(source, dest, state, "changes")
    assert_same_tree(source, dest, ignore=[".reconcile"])
    assert sorted(told["told"]) == sorted([f"e/f{n}", "vanished"] for n in range(5, COUNT, 10))
    assert told["alone"] == 0


def test_who_is_asked_to_end_leaves_nothing_torn(source: Path, dest: Path, state: Path) -> None:
    told = bring(source, dest, state, "stops")
    assert told["told"] == "interrupted"
    assert {path.partition("/")[0] for path in told["held"]} == {"d", "e", "large"}
    there, wished = read_tree(dest), read_tree(source)
    assert 0 < len(there.keys() & wished.keys()) < len(wished)
    assert all(there[path] == wished[path] for path in there.keys() & wished.keys() if path != "d")
    bring(source, dest, state, "works")
    assert_same_tree(source, dest, ignore=[".reconcile"])


@pytest.mark.parametrize("how", ["is killed", "is killed elsewhere"])
def test_it_ends_with_the_run_and_keeps_the_lock_until_then(
    source: Path, dest: Path, state: Path, how: str
) -> None:
    """It is killed by the system; where that can't, the next run has to wait."""
    command = [sys.executable, "-c", PROGRAM, str(source), str(dest), str(state), how]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, process_group=0) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"working\n"
            process.kill()
            process.wait()
            if how == "is killed":
                assert process.stdout.read() == b""  # nobody has it open any more
            else:
                with pytest.raises(Locked), hold_lock(str(state)):
                    pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    with hold_lock(str(state), 60):  # once that is dead, too
        pass
    bring(source, dest, state, "works")
    assert_same_tree(source, dest, ignore=[".reconcile"])


FEW = """
import os, resource, signal
from reconcile.source.fork import fork

held = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1,) * 2)
os.close(held.pop())
os.close(held.pop())
assert fork(2, signal.SIG_IGN) is None
print(len(os.pipe()))
"""


def test_it_is_done_without_where_nothing_more_can_be_open() -> None:
    """And nothing stays open that was opened for it."""
    done = subprocess.run(
        [sys.executable, "-c", FEW], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_of_large_files_only_the_one_under_way_is_brought_to_its_end(tmp_path: Path) -> None:
    """Once a stop was requested: several are opened ahead, and one may take long."""
    stop, written = Stop(), []

    def bring_large(number: int) -> Recipe[int]:
        opened = yield OpenNew(os.fsencode(tmp_path / f"f{number}"), None)

        def content() -> Iterator[Verb]:
            for piece in range(9):
                written.append((number, piece))
                if (number, piece) == (1, 3):
                    stop.requested = signal.SIGINT
                yield Write(opened.handle, piece, b"x")
            yield Close(opened.handle)

        yield Burst(content())
        return number

    disk = Disk([os.fsencode(tmp_path)])
    try:
        assert [*disk.run(map(bring_large, range(20)), 64, stop)] == [0, 1]
    finally:
        disk.close()
    assert written == [(number, piece) for number in (0, 1) for piece in range(9)]


@pytest.mark.parametrize("why", ["memory", "a turn that may be over"])
def test_there_is_none_where_that_would_cost_more(
    source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(second, "may_fork", lambda: True)
    monkeypatch.setattr(second, "MOST_HELD", 0)
    monkeypatch.setattr(driver, "WORTH", 1)
    asked: list[object] = []
    monkeypatch.setattr(driver, "start_second", lambda *given: asked.append(second.start_second(*given)))
    job = Job(str(source), Folder(str(dest)), str(dest.parent / "state"), Options())
    if why != "memory":
        job = replace(job, options=Options(lock=Lock.REMOTE))
    assert not run(job, Heard()).problems
    assert_same_tree(source, dest, ignore=[".reconcile"])
    assert asked == ([None] if why == "memory" else [])
