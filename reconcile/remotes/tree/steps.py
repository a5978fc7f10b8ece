"""What a recipe may ask for. A *recipe* is a generator that reads top to bottom like sequential code.

It yields

- a verb, and gets its answer;
- a :class:`Burst`, for content, and gets what was no plain OK;
- a :class:`Fill`, for many small files, and gets the same of each;
- a :class:`Farewell`, and goes on at once;
- a :class:`Room`, and goes on when there is some;
- a list of these and of recipes, and gets the list of what they get, once all is
  there: they travel together.

What may live here: these, and nothing of how they are carried out, which is a driver's business.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from reconcile.remotes.tree.verbs import Answer, Put, Verb

T = TypeVar("T")

Deliver: TypeAlias = Callable[[Any], None]
Notable: TypeAlias = list[tuple[type, Answer]]  # what was no plain OK, with the class of its verb


def _drop(_value: object) -> None:
    """Nobody waits for this any more."""


class Burst:
    """Verbs drawn one by one as the window allows; their data is never all in memory.

    After a status that isn't OK no more are drawn, and the iterator is closed.
    The recipe gets all answers other than OK, each with the class of its verb.
    """

    __slots__ = ("drawn", "failed", "notable", "pending", "resume", "verbs")

    def __init__(self, verbs: Iterator[Verb]) -> None:
        self.drawn = 0  # bytes since it was last its turn
        self.verbs: Iterator[Verb] | None = verbs  # None: all are drawn
        self.notable: Notable = []
        self.failed = False
        self.pending = 0
        self.resume: Deliver = _drop

    def stop(self) -> None:
        """Draw no more; what the iterator holds open is closed."""
        close = getattr(self.verbs, "close", None)
        self.verbs = None
        if close is not None:
            close()


class Batch(Burst):
    """A few verbs that go out at once: the content of a small file. The rest is as with ``Burst``."""

    __slots__ = ("all", "channel", "size")

    def __init__(self, verbs: Sequence[Verb]) -> None:
        super().__init__(iter(()))
        self.verbs = None
        self.all = verbs
        self.channel = 0
        self.size = 0  # bytes that have not been answered
        self.pending = len(verbs)


class Fill:
    """Small new files that go in step over one channel: all are opened, then all are filled and closed.

    The recipe gets, for each in its order, what was no plain OK, with the class of the verb that ``Put``
    stands for; of one that could not be opened that alone.
    """

    __slots__ = ("channel", "puts")

    def __init__(self, puts: Sequence[Put], channel: int) -> None:
        self.puts = puts
        self.channel = channel


class Farewell:
    """A verb whose answer changes nothing: it is not waited for, and nobody hears of it."""

    __slots__ = ("verb",)

    def __init__(self, verb: Verb) -> None:
        self.verb = verb


class Room:
    """Waits until the server takes more over a channel: what comes next is read when it can be sent."""

    __slots__ = ("channel",)

    def __init__(self, channel: int) -> None:
        self.channel = channel


Step: TypeAlias = "Verb | Burst | Fill | Farewell | Room | Sequence[Verb | Burst | Recipe[Any]]"
Recipe: TypeAlias = Generator[Step, Any, T]
