"""A second process that brings small files: what each costs is calls to the system, which one makes in turns.

What may live here: that process, what it is asked, and what it answers. It makes files that nobody
sees yet, and nothing else. Whatever is no plain success it takes back, and leaves to us to find out why.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
from collections import deque
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

from reconcile.core.model import Stamp
from reconcile.remotes.local import kernel
from reconcile.remotes.local.calls import Calls
from reconcile.remotes.tree import verbs
from reconcile.remotes.tree.steps import Fill, Recipe
from reconcile.source.files import Source, SourceError, digest_of
from reconcile.source.fork import fork, may_fork

AT_A_TIME = 130  # files that it has got before it is given no more: what it goes on with while we are busy
MOST_HELD = 256 << 20  # bytes of memory that we may hold: of what one of us writes to, there is twice as much
_LENGTH = 4  # bytes, before each message

Order: TypeAlias = tuple[Recipe[Any], Fill]  # who wants it, and what


class Gone(Exception):
    """It has died, and nothing more comes of it. What it had got is done, half done or not begun."""


class Second:
    """The other process, and the way to it."""

    def __init__(self, pid: int, orders: int, answers: int) -> None:
        self.ordered: deque[Order] = deque()  # what it has got, and not answered
        self._files = 0  # in these
        self._pid = pid
        self._orders = orders
        self._answers = answers
        self._answered = select.poll()  # select(2) takes no number above 1023
        self._answered.register(answers, select.POLLIN)

    @property
    def has_room(self) -> bool:
        """Whether it is to get more."""
        return self._files < AT_A_TIME

    def order(self, recipe: Recipe[Any], fill: Fill) -> None:
        """Have it bring what a recipe asks for: files that have an ``origin``. Raises Gone."""
        self.ordered.append((recipe, fill))
        self._files += len(fill.puts)
        _send(self._orders, [_pack(put) for put in fill.puts])

    def has_answered(self, wait: float) -> bool:
        """Whether an answer is there, or its end, within so many seconds."""
        return bool(self._answered.poll(wait * 1000))

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has halted it, and it alone: who waits for an answer would wait for ever."""
        return os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None

    def take(self) -> tuple[Recipe[Any], Fill, list[bytes | None]]:
        """What has come of the first order: of each file the digest; None: it is not there. Raises Gone."""
        digests: list[bytes | None] | None = _receive(self._answers)
        if digests is None:
            raise Gone
        self._files -= len(digests)
        return *self.ordered.popleft(), digests

    def end(self) -> None:
        """Let it go, done or not. ``wait`` must follow."""
        os.kill(self._pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
        os.close(self._orders)
        os.close(self._answers)

    def wait(self) -> None:
        """Until it is gone: what it held of memory takes the system a moment."""
        with suppress(ChildProcessError):  # who has called us waits for children, too
            os.waitpid(self._pid, 0)


def start_second(calls: Calls, source: Source) -> Second | None:
    """A process that does what ``calls`` do. None: there is none to be had, or it would cost too much."""
    if not may_fork() or _held() > MOST_HELD:
        return None
    us = os.getpid()
    if (forked := fork(2, signal.SIG_IGN)) is None:  # who started us decides what becomes of it
        return None
    pid, [(orders, to_orders), (answers, to_answers)] = forked
    if pid == 0:
        os.close(to_orders)  # else it would wait for itself
        _serve(calls, source, orders, to_answers, us)
    os.close(orders)
    os.close(to_answers)
    return Second(pid, to_orders, answers)


def _held() -> int:
    """Bytes of memory that we hold; 0: the system doesn't tell. getrusage(2) tells of who started us, too."""
    try:
        with open("/proc/self/statm", "rb") as file:  # proc(5)
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _serve(calls: Calls, source: Source, orders: int, answers: int, us: int) -> NoReturn:
    """Be the other process, until there are no more orders.

    It is killed with the run; where the system can't do that it ends with the file that it is at. As long
    as it lives it holds the job's lock: in the next run nothing of this one happens any more.
    """
    try:
        kernel.die_with_parent()
        while (order := _receive(orders)) is not None:
            _send(answers, [_bring(calls, source, each) if os.getppid() == us else None for each in order])
    finally:
        os._exit(0)


def _pack(put: verbs.Put) -> tuple[object, ...]:
    assert put.origin is not None
    path, stamp = put.origin.path, put.origin.stamp
    told = stamp.ino, stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.mode
    return path, told, put.path, put.mode, put.mtime, put.syncs


def _bring(calls: Calls, source: Source, packed: Any) -> bytes | None:
    """The digest of what is there now; None: nothing is."""
    path, told, place, mode, mtime, syncs = packed
    stamp = Stamp(*told)
    try:
        data = source.read_plain(path, stamp)
    except SourceError:
        return None
    if data is None or source.keys:
        source.keys.clear()
        return None
    made = calls.put(verbs.Put(place, mode, mtime, stamp.size, syncs, lambda: None), data)
    if not made:
        return digest_of(data)
    if made[0][0] is not verbs.OpenNew:
        calls.by_verb[verbs.Remove](verbs.Remove(place))
    return None


def _send(fd: int, message: list[Any]) -> None:
    packed = marshal.dumps(message)
    data = memoryview(len(packed).to_bytes(_LENGTH) + packed)
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        raise Gone from None


def _receive(fd: int) -> Any:
    """The next message; None: there is none any more."""
    head = _read(fd, _LENGTH)
    packed = _read(fd, int.from_bytes(head)) if head else None
    return marshal.loads(packed) if packed else None  # noqa: S302 - what we have packed ourselves


def _read(fd: int, length: int) -> bytes | None:
    """Of a message that is torn, nothing."""
    parts: list[bytes] = []
    while length and (part := os.read(fd, length)):
        parts.append(part)
        length -= len(part)
    return None if length else b"".join(parts)
