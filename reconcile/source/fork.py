"""A second process for a walk, or for half of a large one: a scan is system calls, which threads do in turns.

What may live here: the fork, what may keep us from it, and the way back for what was
found. What a half is, and what is found in it, is the walk's business (``scan``).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import Any, BinaryIO, NoReturn

import msgpack  # type: ignore[import-untyped]

CHUNK = 1 << 20  # bytes sent at once
_MOST_DESCRIPTORS = 1 << 16  # no run has as many


class Half:
    """The other process, and the pipe that it answers through."""

    def __init__(self, pid: int, answers: BinaryIO) -> None:
        self._pid = pid
        self._answers = answers

    def results(self) -> list[Any] | None:
        """What it found, once it is done; None if it died before."""
        try:
            *found, end = msgpack.Unpacker(self._answers, unicode_errors="surrogateescape")
        except ValueError:  # nothing at all, or torn
            return None
        return found if end is None else None

    def end(self) -> None:
        """Let it go, done or not. May be called twice."""
        if self._answers.closed:
            return
        self._answers.close()
        os.kill(self._pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
        os.waitpid(self._pid, 0)


def may_fork() -> bool:
    """Whether a second process would help, and can be had: threads don't survive a fork.

    Whoever started us may have us ignore what becomes of children: then none can be waited for.
    """
    if not hasattr(os, "fork") or signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        return False
    return threading.active_count() == 1 and _cores() > 1


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def fork(pipes: int, heeds: signal.Handlers) -> tuple[int, list[tuple[int, int]]] | None:
    """Be two processes with so many pipes between them. None if there is no other to be had.

    Returns what fork(2) does, and the pipes, to read from and to write to. In the other process a signal
    that ends us is heeded so; the handlers speak for the run, and are never called there.
    """
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    made: list[tuple[int, int]] = []
    try:
        while len(made) < pipes:
            made.append(os.pipe())
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        try:
            pid = os.fork()
            for each in ends if pid == 0 else ():
                if signal.getsignal(each) is not signal.SIG_IGN:
                    signal.signal(each, heeds)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except OSError:
        for fd in chain(*made):
            os.close(fd)
        return None
    return pid, made


def start_half(work: Callable[[], Iterator[object]], root: int) -> Half | None:
    """Run ``work`` in a process of its own, which packs what it yields. None if there is none to be had.

    Of our descriptors it keeps ``root``.
    """
    if (forked := fork(1, signal.SIG_DFL)) is None:
        return None
    pid, [(reader, writer)] = forked
    if pid == 0:
        _be_the_half(work, root, writer)
    os.close(writer)
    return Half(pid, open(reader, "rb", buffering=CHUNK))


def _be_the_half(work: Callable[[], Iterator[object]], root: int, writer: int) -> NoReturn:
    """Work, answer, be gone: whatever goes wrong, nobody hears of it but by the missing end."""
    try:
        # The job's lock among them, which must not outlive the run.
        kept = sorted((2, root, writer, _MOST_DESCRIPTORS))
        for low, high in pairwise(kept):
            os.closerange(low + 1, high)
        pack = msgpack.Packer(unicode_errors="surrogateescape").pack
        with open(writer, "wb", buffering=CHUNK) as answers:
            answers.writelines(pack(item) for item in work())
            answers.write(pack(None))
    finally:
        os._exit(0)
