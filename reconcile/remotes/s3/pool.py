"""Many requests at a time: threads that ask, and one that hands out what is to be asked.

What may live here: how many, and what becomes of those under way when something breaks, or the run is to end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from reconcile.core.errors import ConnectionLost, Interrupted
from reconcile.core.job import Stop

T = TypeVar("T")

OVER = "it is not asked for anything any more: what it was asked for is over"
DRAIN = 5.0  # seconds that what is under way gets to end after a stop was requested
_LOOK_UP = 0.2  # seconds between two looks at whether one was


class Pool:
    """``size`` threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, task: Callable[..., T], *args: Any) -> Future[T]:
        """Begin a task once a thread has time. Raises ConnectionLost where nobody waits for any any more."""
        with self._lock:
            if self._is_closed:
                raise ConnectionLost(OVER)
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.size, "s3")
            return self._threads.submit(task, *args)

    def run(self, tasks: Iterable[Callable[[], T]], stop: Stop | None = None) -> Iterator[T]:
        """What they return, as they end. Tasks are drawn as there is room for them, in this thread.

        Once ``stop`` is requested none is drawn any more; what goes on for too long then raises Interrupted.
        Where one loses its connection those under way come to their end first: what they did is known then,
        and those that wait for a thread are not begun any more.
        """
        done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()
        under_way = 0
        broken: BaseException | None = None
        give_up = 0.0
        left = iter(tasks)
        drawn: Callable[[], T] | None = None

        def work(task: Callable[[], T]) -> None:
            try:
                done.put((task(), None) if broken is None else (None, broken))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                done.put((None, error))

        while True:
            is_stopped = stop is not None and bool(stop.requested)
            while broken is None and not is_stopped and under_way < self.size + 2:
                drawn = next(left, None)
                if drawn is None:
                    break
                self.submit(work, drawn)
                under_way += 1
                is_stopped = stop is not None and bool(stop.requested)
            if not under_way:
                break
            try:
                result, error = done.get(timeout=_LOOK_UP)
            except Empty:
                if stop is not None and stop.requested:
                    give_up = give_up or time.monotonic() + DRAIN
                    if time.monotonic() > give_up:
                        raise Interrupted(stop.requested) from None
                continue
            under_way -= 1
            if error is None:
                yield result  # type: ignore[misc]  # it is there, as there is no error
            elif broken is None or isinstance(broken, ConnectionLost) > isinstance(error, ConnectionLost):
                broken = error
        if broken is not None:
            raise broken

    def close(self) -> None:
        """Nobody waits for what is under way any more, and nothing else is begun."""
        with self._lock:
            self._is_closed = True
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)


class Room:
    """So many bytes of memory, which threads take and give back. What is larger than all waits for all."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._changed = threading.Condition()

    def take(self, size: int, stop: Stop | None = None) -> bool:
        """Wait for them. False: a stop was requested meanwhile."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._left >= min(size, self._size), _LOOK_UP):
                if stop is not None and stop.requested:
                    return False
            self._left -= size
        return True

    def give(self, size: int) -> None:
        """Let others have them."""
        with self._changed:
            self._left += size
            self._changed.notify_all()
