"""Ending processes by pid with all they started, and running as somebody whom permissions bind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

# What lets root read and write everything, and change what is not its own.
OVERRIDES = "-dac_override,-dac_read_search,-fowner"


def bound_by_permissions(command: Sequence[str]) -> list[str]:
    """``command`` such that mode bits bind it, whoever runs the tests.

    Root reads everything. As root the command runs without the capabilities that
    make it so, and is then as unprivileged as any uid, but still reaches an
    interpreter under ``/root``, which another uid would not. (capabilities(7))
    """
    if os.geteuid() != 0:
        return list(command)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise RuntimeError("permission tests as root need setpriv (package util-linux)")
    return [setpriv, f"--bounding-set={OVERRIDES}", "--", *command]


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait until ``condition`` holds; AssertionError naming ``what`` if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.005)


def descendants(pid: int) -> list[int]:
    """All processes that ``pid`` started, and those that they started."""
    children: dict[int, list[int]] = defaultdict(list)
    for child, parent in _parents():
        children[parent].append(child)
    found = list(children[pid])
    for child in found:
        found += children[child]
    return found


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process of ours and all its descendants, and wait until they are gone."""
    if process.poll() is not None:
        return
    stopped: set[int] = set()
    while fresh := {process.pid, *descendants(process.pid)} - stopped:
        for pid in fresh:
            _signal(pid, signal.SIGSTOP)  # what is stopped starts no more children
        stopped |= fresh
    for pid in stopped:
        _signal(pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in stopped), "killed processes to be gone")


def alive(pid: int) -> bool:
    """Whether a process runs. One that has ended and is not yet reaped by its parent does not."""
    status = Path(f"/proc/{pid}/stat")
    if status.parent.parent.joinpath("self").exists():
        try:
            return status.read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
        except (FileNotFoundError, ProcessLookupError):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself


def _parents() -> list[tuple[int, int]]:
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True)
        return [(int(pid), int(parent)) for pid, parent in map(str.split, listing.stdout.splitlines())]
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                status = Path("/proc", name, "stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.append((int(name), int(status.rpartition(b")")[2].split()[1])))
    return found
