"""What a recipe may ask for. A *recipe* is a generator that reads top to bottom like sequential code.

It yields

- a request, and gets its reply;
- a :class:`Burst`, for content, and gets what was no plain OK;
- a :class:`Farewell`, and goes on at once;
- a :class:`Room`, and goes on when there is some;
- a list of these and of recipes, and gets the list of what they get, once all is
  there: they travel together.

What may live here: these, and nothing of how they are carried out (``session``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.wire import Request

T = TypeVar("T")

Deliver: TypeAlias = Callable[[Any], None]


def _drop(_value: object) -> None:
    """Nobody waits for this any more."""


class Burst:
    """Requests drawn one by one as the window allows; their data is never all in memory.

    After a status that isn't OK no more are drawn, and the iterator is closed.
    The recipe gets all replies other than OK, each with the type of its request.
    """

    __slots__ = ("drawn", "failed", "notable", "pending", "requests", "resume")

    def __init__(self, requests: Iterator[Request]) -> None:
        self.drawn = 0  # bytes since it was last its turn
        self.requests: Iterator[Request] | None = requests  # None: all are drawn
        self.notable: list[tuple[int, wire.Reply]] = []
        self.failed = False
        self.pending = 0
        self.resume: Deliver = _drop

    def stop(self) -> None:
        """Draw no more; what the iterator holds open is closed."""
        close = getattr(self.requests, "close", None)
        self.requests = None
        if close is not None:
            close()


class Batch(Burst):
    """A few requests that go out at once: the content of a small file. The rest is as with ``Burst``."""

    __slots__ = ("all", "lane", "size")

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__(iter(()))
        self.requests = None
        self.all = requests
        self.lane = 0
        self.size = 0  # bytes that have not been answered
        self.pending = len(requests)


class Farewell:
    """A request whose answer changes nothing: it is not waited for, and nobody hears of it."""

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request


class Room:
    """Waits until the server takes more over a lane: what comes next is read when it can be sent."""

    __slots__ = ("lane",)

    def __init__(self, lane: int) -> None:
        self.lane = lane


Step: TypeAlias = "Request | Burst | Farewell | Room | Sequence[Request | Burst | Recipe[Any]]"
Recipe: TypeAlias = Generator[Step, Any, T]
