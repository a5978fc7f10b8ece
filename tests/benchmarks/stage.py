"""Where benchmarks take place: a folder in memory, a real sshd, slow lines to it. All of it ends with us."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.inputs import Tree, take_share
from tests.support.processes import descendants, wait_for
from tests.support.proxy import start_proxy
from tests.support.sshd import Endpoint, Sshd, start_sshd

MEMORY = Path("/dev/shm")
ENOUGH = 2 * 1024**3  # bytes free there, for the quick works
AGAIN = 20  # tries to remove what somebody still writes to
SET_CHILD_SUBREAPER = 36  # prctl(2)


@dataclass
class Stage:
    """What all works share. ``server`` is the pid of the listening sshd."""

    folder: Path
    in_memory: bool
    sshd: Sshd
    server: int
    stack: ExitStack
    full: bool
    runs: int
    environment: dict[str, str]
    trees: dict[str, Tree] = field(default_factory=dict)
    lines: dict[int, Endpoint] = field(default_factory=dict)
    proxies: set[int] = field(default_factory=set)  # pids
    fresh: int = 0
    orphans_cpu: float = 0.0  # seconds

    def endpoint(self, milliseconds: int) -> Endpoint:
        """The server behind a line with that much added round-trip time. 0 is the server itself, no proxy."""
        if milliseconds == 0:
            return self.sshd.endpoint
        if milliseconds not in self.lines:
            before = set(descendants(os.getpid()))
            proxy = self.stack.enter_context(start_proxy(self.sshd.port, milliseconds / 1000))
            self.proxies |= set(descendants(os.getpid())) - before
            self.lines[milliseconds] = self.sshd.via(proxy.port)
        return self.lines[milliseconds]

    def tree(self, name: str, make: Callable[[Path], Tree]) -> Tree:
        """The input of that name, made when it is first asked for."""
        if name not in self.trees:
            self.trees[name] = make(self.folder / "inputs" / name)
        return self.trees[name]

    def share(self, tree: Tree, share: int) -> Tree:
        """The first 1/``share`` of an input."""
        if share == 1:
            return tree
        return self.tree(f"{tree.path.name}-{share}", lambda path: take_share(tree, path, share))

    def fresh_path(self) -> Path:
        """A path that was never used; its parent exists."""
        self.fresh += 1
        return self.folder / "runs" / f"{self.fresh:05d}"

    def forget(self, tree: Tree) -> None:
        """Drop an input that is no longer needed: memory is what it lies in."""
        self.trees = {name: kept for name, kept in self.trees.items() if kept is not tree}
        discard(tree.path)

    def server_cpu(self) -> float | None:
        """Seconds of CPU of all the server's sessions so far, after the last has ended. None if not known."""
        status = Path(f"/proc/{self.server}/stat")
        if not status.exists():
            return None
        wait_for(lambda: not descendants(self.server), "the server's sessions to end", 30)
        self._reap_orphans()
        user, system = status.read_bytes().rpartition(b")")[2].split()[13:15]  # of children it waited for
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") + self.orphans_cpu

    def _reap_orphans(self) -> None:
        """Count what sshd does not wait for: sftp-server outlives the session that started it."""
        while orphans := self._orphans():
            for pid in orphans:
                with suppress(ChildProcessError):  # an orphan's own child becomes ours when that has ended
                    _, _, usage = os.wait4(pid, 0)
                    self.orphans_cpu += usage.ru_utime + usage.ru_stime

    def _orphans(self) -> set[int]:
        ours = {self.server, *descendants(self.server), *self.proxies}
        return set(descendants(os.getpid())) - ours


@contextmanager
def set_stage(*, full: bool, runs: int) -> Iterator[Stage]:
    """A stage, cleared away in the end, however that comes."""
    with ExitStack() as stack:
        in_memory = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH
        folder = Path(tempfile.mkdtemp(prefix="reconcile-bench-", dir=MEMORY if in_memory else None))
        stack.callback(discard, folder)
        for name in ("inputs", "runs", "home", "server"):
            (folder / name).mkdir()
        before = set(descendants(os.getpid()))
        sshd = stack.enter_context(start_sshd(folder / "server"))
        # Somebody has just asked it whether it answers: that session ends too.
        wait_for(lambda: len(set(descendants(os.getpid())) - before) == 1, "sshd to be alone")
        (server,) = set(descendants(os.getpid())) - before
        environment = {**os.environ, "HOME": str(folder / "home"), "LC_ALL": "C.UTF-8"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled
        if sys.platform == "linux":  # orphans become our children, so that their CPU can be told
            ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        yield Stage(folder, in_memory, sshd, server, stack, full, runs, environment)


def discard(path: Path) -> None:
    """Remove a tree. ``rm`` takes a third of what shutil takes for a million files.

    Again where something came into it meanwhile: of a tool that was stopped the server may still be busy.
    """
    for again in reversed(range(AGAIN)):
        if subprocess.run(["rm", "-rf", "--", str(path)], check=not again).returncode == 0:
            break
