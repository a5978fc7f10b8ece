"""A walk that two processes share finds what one alone finds. Run where no threads are, as forks need."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconcile.core.errors import Locked
from reconcile.state.lock import hold_lock

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, os, signal, sys
import reconcile.source.fork, reconcile.source.scan
from reconcile.core.filters import make_filter
from reconcile.core.job import Links, Options

top, how, links = sys.argv[1:]
halves = []
real = reconcile.source.scan.start_half

def start(work, root):
    if how == "dies":
        half = real(lambda: iter([[[], [], [], {}, {}, 1, 0], os.kill(os.getpid(), signal.SIGKILL)]), root)
    elif how == "is torn":
        def torn():
            yield from list(work())[:2]
            os._exit(0)
        half = real(torn, root)
    elif how == "is late":  # what it was to walk has vanished
        def late():
            os.rmdir(os.path.join(top, "vanishing2"))
            os.rmdir(os.path.join(top, "vanishing4"))
            yield from work()
        half = real(late, root)
    else:
        half = real(work, root)
    halves.append(half)
    return half

reconcile.source.scan.start_half = start
reconcile.source.scan.may_fork = lambda: True  # also on one core

def look(share_from, meanwhile=None):
    reconcile.source.scan.SHARE_FROM = share_from
    scan = reconcile.source.scan.scan
    found = scan(top, make_filter(["excluded*"]), Options(links=Links(links)), meanwhile)
    told = sorted(map(repr, [*found.problems, *found.notes]))
    dirs = {path: directory.raw.hex() for path, directory in sorted(found.dirs.items())}
    return [dirs, told, sorted(found.unknown), found.entry_count]

shared = look(3)
done = []
elsewhere = look(3, lambda: done.append("beside it"))  # all of it, which takes another half there
alone = look(10**9)
try:
    os.waitpid(-1, os.WNOHANG)
    left = True
except ChildProcessError:
    left = False
print(json.dumps({"same": shared == elsewhere == alone, "done": done, "halves": len(halves), "left": left,
                  "entries": alone[3], "unknown": shared[2], "told": len(alone[1]),
                  "shared": len(str(shared)), "alone": len(str(alone))}))
"""


def look_twice(root: Path, how: str = "works", links: str = "keep") -> dict[str, Any]:
    """By two processes, by another with one of its own, and then by one alone."""
    command = [sys.executable, "-c", PROGRAM, str(root), how, links]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["halves"] == 2
    assert answer["done"] == ["beside it"]
    assert answer["same"] or how == "is late", answer
    assert not answer["left"], "a process is left over"
    return answer


def grow(root: Path, chance: random.Random, depth: int = 0) -> None:
    """Some of everything that a scan may meet."""
    for number in range(chance.randint(1, 6)):
        path = root / f"{chance.choice('abc')}{number}"
        match chance.randint(0, 9):
            case 0:
                path.symlink_to(chance.choice(["..", "nowhere", "a1", "."]))
            case 1:
                os.mkfifo(path)
            case 2:
                (root / f"excluded{number}").mkdir()
            case 3 | 4 | 5:
                path.write_text(f"{number}")
            case _ if depth < 5:
                path.mkdir()
                grow(path, chance, depth + 1)
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\n")).mkdir(exist_ok=True)


@pytest.mark.parametrize("links", ["keep", "follow", "skip"])
@pytest.mark.parametrize("seed", range(4))
def test_two_find_what_one_finds(tmp_path: Path, seed: int, links: str) -> None:
    chance = random.Random(seed)
    for number in range(8):
        (tmp_path / f"top{number}").mkdir()
        grow(tmp_path / f"top{number}", chance)
    assert look_twice(tmp_path, links=links)["entries"] > 50


@pytest.mark.parametrize("how", ["dies", "is torn"])
def test_what_the_other_can_not_tell_is_looked_at_here(tmp_path: Path, how: str) -> None:
    grow(tmp_path, random.Random(1))
    for number in range(5):
        (tmp_path / f"d{number}" / "deep" / "er").mkdir(parents=True)
    look_twice(tmp_path, how)


def test_what_vanishes_from_the_other_half_is_unknown(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"vanishing{number}").mkdir()
    assert look_twice(tmp_path, "is late")["unknown"] == ["vanishing2", "vanishing4"]


LOCKED = """
import os, signal, sys
import reconcile.source.fork
from reconcile.state.lock import hold_lock

with hold_lock(sys.argv[1]):
    def work():
        print("working", flush=True)
        signal.pause()
        yield
    half = reconcile.source.fork.start_half(work, os.open("/", os.O_RDONLY))
    signal.pause()
"""


def test_the_lock_does_not_outlive_the_run(tmp_path: Path) -> None:
    """Though the half may, for a moment."""
    command = [sys.executable, "-c", LOCKED, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, process_group=0) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"working\n"
            with pytest.raises(Locked), hold_lock(str(tmp_path)):
                pass
            process.kill()
            process.wait()
            with hold_lock(str(tmp_path)):
                pass
        finally:
            os.killpg(process.pid, signal.SIGKILL)


IGNORING = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "reconcile", *sys.argv[1:]])
"""


def test_who_can_not_wait_for_children_has_none(tmp_path: Path) -> None:
    """As where a daemon started us that ignores what becomes of its own."""
    (tmp_path / "src/d").mkdir(parents=True)
    command = [sys.executable, "-c", IGNORING, "run", "src", "./dest", "--state", "state"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "dest/d").is_dir()


def test_threads_keep_it_in_one_process() -> None:
    program = (
        "import threading; from reconcile.source.fork import may_fork; "
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); print(may_fork())"
    )
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "False\n"
