"""The driver of a folder of this machine: what a recipe asks for is done at once, one recipe after the other.

What may live here: running recipes, and what an error of the system means to them. What the
verbs do is in ``calls``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from reconcile.core.job import Stop
from reconcile.core.model import Stats
from reconcile.remotes.local.calls import Calls
from reconcile.remotes.local.codes import status_of
from reconcile.remotes.local.ways import Ways
from reconcile.remotes.tree import verbs
from reconcile.remotes.tree.steps import Batch, Burst, Farewell, Fill, Notable, Recipe, Room
from reconcile.remotes.tree.verbs import Status

T = TypeVar("T")

DRAIN = 5.0  # seconds that a file under way gets to end after a stop was requested
BLOCK = 1024 * 1024  # bytes of content in one Write
TOGETHER = 64  # recipes that would be under way, if there were any use in it
HANDLES = 256  # open at a time; systems grant a process 1024, or 256
CAN = frozenset({verbs.Replace, verbs.HardLink, verbs.SetLink, verbs.Share, verbs.Sync, verbs.Statvfs})


class Disk:
    """See ``Driver``. ``tops``: DEST, and our folder if that is elsewhere."""

    at_a_time = TOGETHER
    channels = 1

    def __init__(self, tops: Sequence[bytes]) -> None:
        self._ways = Ways(tops)
        self._calls = Calls(self._ways)
        self._does = self._calls.by_verb
        self._stop: Stop | None = None
        self._give_up_at = 0.0
        self._check: Callable[[], None] | None = None
        self._beat: Callable[[], Recipe[None] | None] | None = None
        self._asked = 0
        self._brought = 0  # bytes

    @property
    def traffic(self) -> Stats:
        """How much was asked for, and how much content brought. Nothing goes over a line."""
        return Stats(self._asked, self._brought, 0)

    def call(self, recipe: Recipe[T]) -> T:
        """Run one recipe to its end."""
        self._ways.let_go()
        result: T = self._finish(recipe)
        return result

    def run(self, recipes: Iterable[Recipe[T]], in_flight: int, stop: Stop | None = None) -> Iterator[T]:  # noqa: ARG002
        """Run recipes one after the other. Once ``stop`` is requested no more are drawn; one that goes on for
        too long then raises Interrupted."""
        if stop is not None and stop.requested:
            return
        self._ways.let_go()
        self._stop, self._give_up_at = stop, 0.0
        try:
            for recipe in recipes:
                yield self._finish(recipe)
                if stop is not None and stop.requested:
                    return
        finally:
            self._stop = None
            self._calls.let_go()

    def aside(self, recipe: Recipe[None]) -> None:
        """Run it: nothing is gained by waiting."""
        self._finish(recipe)

    def mind(self, check: Callable[[], None], beat: Callable[[], Recipe[None] | None]) -> None:
        """From now on ``check`` before each verb; a ``beat`` is run between two of them."""
        self._check, self._beat = check, beat

    def _mind(self) -> None:
        """Before a verb."""
        if self._check is not None and self._beat is not None:
            self._check()
            if (beat := self._beat()) is not None:
                self._finish(beat)
                self._check()

    def ask_for_channels(self, sizes: Iterable[int], most: int | None = None) -> int:  # noqa: ARG002
        """There is one way to a disk, whatever is coming."""
        return 0

    def take_channels(self, *, wait: bool) -> bool:  # noqa: ARG002 - there is nothing to wait for
        """Nothing new."""
        return False

    def open_all_channels(self) -> int:
        """The one that there is."""
        return 1

    def close(self) -> None:
        """Let go of DEST."""
        self._calls.let_go()
        self._ways.close()

    def _finish(self, recipe: Recipe[Any]) -> Any:
        does, answer = self._does, None
        send = recipe.send
        try:
            while True:
                step = send(answer)
                do = does.get(type(step))
                if do is None:
                    answer = self._do_more(step)
                    continue
                self._asked += 1
                if self._check is not None:
                    self._mind()
                try:
                    answer = do(step)
                except OSError as error:
                    answer = status_of(error)
        except StopIteration as end:
            return end.value

    def _do_more(self, step: Any) -> object:
        """What is no single verb."""
        if isinstance(step, Burst):
            return self._bring(step)
        if isinstance(step, Fill):
            return [self._put(put) for put in step.puts]
        if isinstance(step, Farewell):
            self._do(step.verb)
        elif not isinstance(step, Room):
            return [self._do(each) for each in step]
        return None

    def _do(self, step: Any) -> Any:
        do = self._does.get(type(step))
        if do is None:
            return self._bring(step) if isinstance(step, Burst) else self._finish(step)
        self._asked += 1
        if self._check is not None:
            self._mind()
        try:
            return do(step)
        except OSError as error:
            return status_of(error)

    def _bring(self, burst: Burst) -> object:
        """Content, piece by piece: never more of it in memory. After a refusal the rest is left."""
        notable = burst.notable
        for verb in burst.all if isinstance(burst, Batch) else burst.verbs or ():
            answer = self._do(verb)
            if type(verb) is verbs.Write:
                self._brought += len(verb.data)
                if self._stop is not None and self._stop.requested:
                    self._hurry()
            if answer is not verbs.OK:
                notable.append((type(verb), answer))
                if type(answer) is Status and not isinstance(burst, Batch):
                    break
        burst.stop()
        return notable

    def _put(self, put: verbs.Put) -> Notable:
        """A small file, which is read first: then there is nothing of it where it can't be read."""
        if self._stop is not None and self._stop.requested:
            self._hurry()
        if (data := put.read()) is None:
            return []
        self._asked += 1
        if self._check is not None:
            self._mind()
        self._brought += len(data)
        notable = self._calls.put(put, data)
        for verb in put.then if not notable or notable[0][0] is not verbs.OpenNew else ():
            answer = self._do(verb)
            if answer is not verbs.OK:
                notable.append((type(verb), answer))
        return notable

    def _hurry(self) -> None:
        """A stop was requested: what is under way may take a little longer."""
        now = time.monotonic()
        self._give_up_at = self._give_up_at or now + DRAIN
        if now > self._give_up_at and self._stop is not None:
            self._stop.check()
