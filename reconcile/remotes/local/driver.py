"""The driver of a folder of this machine: what a recipe asks for is done at once, one recipe after the other.

But for content, which waits a little: where there are many small files, another process brings
some of them (``second``). What may live here: running recipes, and what an error of the system
means to them. What the verbs do is in ``calls``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from reconcile.core.job import Stop
from reconcile.core.model import Stats
from reconcile.remotes.local.calls import Calls
from reconcile.remotes.local.codes import status_of
from reconcile.remotes.local.second import Gone, Order, Second, start_second
from reconcile.remotes.local.ways import Ways
from reconcile.remotes.tree import verbs
from reconcile.remotes.tree.steps import Batch, Burst, Farewell, Fill, Notable, Recipe, Room
from reconcile.remotes.tree.verbs import Status

T = TypeVar("T")

DRAIN = 5.0  # seconds that a file under way gets to end after a stop was requested
BLOCK = 1024 * 1024  # bytes of content in one Write
TOGETHER = 64  # recipes that would be under way, if there were any use in it
AHEAD = 32  # Fills that are ready, so that two processes have enough to do
A_LITTLE = 2  # pieces of a large file that are brought before the second process is looked after
WORTH = 8  # of them for which it is worth to start the second one
NAP = 0.2  # seconds: so soon it is seen that a stop was requested
HANDLES = 256  # open at a time; systems grant a process 1024, or 256
CAN = frozenset({verbs.Replace, verbs.HardLink, verbs.SetLink, verbs.Share, verbs.Sync, verbs.Statvfs})
_WAITS: Final = object()  # what a recipe has come to that is not at its end


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
        self._large: deque[tuple[Recipe[Any], Burst]] = deque()  # recipes that have come to content
        self._begun = False  # some of the first of them was brought
        self._small: deque[Order] = deque()  # the same, of many files
        self._second: Second | None = None
        self._dismissed: list[Second] = []

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
        """Run recipes one after the other, but for their small files. Once ``stop`` is requested no more are
        drawn; what goes on for too long then raises Interrupted."""
        if stop is not None and stop.requested:
            return
        self._ways.let_go()
        self._stop, self._give_up_at = stop, 0.0
        try:
            yield from self._run(iter(recipes))
        finally:
            self._stop = None
            self._dismiss()
            self._large.clear()
            self._begun = False
            self._small.clear()
            self._calls.let_go()

    def _run(self, drawn: Iterator[Recipe[Any]]) -> Iterator[Any]:
        may_share = self._check is None  # else it has to be sure before each file that the turn is still ours
        while True:
            while len(self._small) + len(self._large) < AHEAD and not self._is_stopped:
                if (recipe := next(drawn, None)) is None:
                    break
                if (result := self._finish(recipe, waits=True)) is not _WAITS:
                    yield result
                elif self._second is not None:
                    self._order()
                elif may_share and len(self._small) >= WORTH:
                    may_share = False
                    self._share()
            if self._is_stopped:  # what was not begun is left
                self._small.clear()
                while len(self._large) > self._begun:
                    self._large.pop()
            if not (self._small or self._large or self._second_has_some):
                return
            if (brought := self._bring_some()) is None:
                continue
            recipe, answer = brought
            if (result := self._finish(recipe, answer, waits=True)) is not _WAITS:
                yield result

    @property
    def _is_stopped(self) -> bool:
        return self._stop is not None and bool(self._stop.requested)

    @property
    def _second_has_some(self) -> bool:
        return self._second is not None and bool(self._second.ordered)

    def _share(self) -> None:
        """Start a second process, if that is of use."""
        origin = self._small[0][1].puts[0].origin
        if origin is not None:
            self._second = start_second(self._calls, origin.source)

    def _bring_some(self) -> tuple[Recipe[Any], object] | None:
        """What the second process has brought, or what is brought here, of large files first; and for whom.

        None: of a large one there is some left.
        """
        self._order()
        if (brought := self._take()) is not None:
            self._order()
            recipe, fill, digests = brought
            return recipe, [*map(self._settle, fill.puts, digests)]
        if self._large:
            recipe, burst = self._large[0]
            notable = self._bring(burst, A_LITTLE)
            self._begun = notable is None
            return None if notable is None else (self._large.popleft()[0], notable)
        recipe, fill = self._small.popleft()
        return recipe, [self._put(put) for put in fill.puts]

    def _order(self) -> None:
        """Give the second process enough to do."""
        while self._small and self._second is not None and self._second.has_room:
            recipe, fill = self._small.popleft()
            for put in fill.puts:
                if put.origin is not None:
                    put.origin.about_to_send()
            try:
                self._second.order(recipe, fill)
            except Gone:
                self._go_on_alone()

    def _take(self) -> tuple[Recipe[Any], Fill, list[bytes | None]] | None:
        """What the second process has answered; which is waited for if there is nothing else to do."""
        if self._second is None or not self._second.ordered:
            return None
        waits = not (self._small or self._large)
        while not self._second.has_answered(NAP if waits else 0):
            if not waits:
                return None
            if self._is_stopped:
                self._hurry()
            if self._second.is_stopped:
                self._go_on_alone()
                return None
        try:
            return self._second.take()
        except Gone:
            self._go_on_alone()
            return None

    def _go_on_alone(self) -> None:
        """The second process is of no use any more: what it had got is done here, from the beginning."""
        ordered = self._dismiss()
        self._dismissed.pop().wait()  # else it may yet make what is about to be removed
        for _, fill in ordered:
            for put in fill.puts:
                self._do(verbs.Remove(put.path))
        self._small.extendleft(reversed(ordered))

    def _dismiss(self) -> Sequence[Order]:
        """Have no second process any more. What it has not answered."""
        if (second := self._second) is None:
            return ()
        self._second = None
        self._dismissed.append(second)
        second.end()
        return second.ordered

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
        while self._dismissed:
            self._dismissed.pop().wait()
        self._calls.let_go()
        self._ways.close()

    def _finish(self, recipe: Recipe[Any], answer: object = None, *, waits: bool = False) -> Any:
        """Run a recipe to its end. One that ``waits`` only until it comes to content."""
        does = self._does
        send = recipe.send
        try:
            while True:
                step = send(answer)
                do = does.get(type(step))
                if do is None:
                    if waits and type(step) is Fill:
                        self._small.append((recipe, step))
                        return _WAITS
                    if waits and type(step) is Burst:
                        self._large.append((recipe, step))
                        return _WAITS
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

    def _bring(self, burst: Burst, most: int = 0) -> Notable | None:
        """Content, piece by piece: never more of it in memory. After a refusal the rest is left.

        None: it may be no more than ``most`` pieces at a time, and there are some left.
        """
        notable = burst.notable
        for number, verb in enumerate(burst.all if isinstance(burst, Batch) else burst.verbs or (), 1):
            answer = self._do(verb)
            if type(verb) is verbs.Write:
                self._brought += len(verb.data)
                if self._is_stopped:
                    self._hurry()
            if answer is not verbs.OK:
                notable.append((type(verb), answer))
                if type(answer) is Status and not isinstance(burst, Batch):
                    break
            if number == most:
                return None
        burst.stop()
        return notable

    def _put(self, put: verbs.Put) -> Notable:
        """A small file, which is read first: then there is nothing of it where it can't be read."""
        if self._is_stopped:
            self._hurry()
        if (data := put.read()) is None:
            return []
        self._asked += 1
        if self._check is not None:
            self._mind()
        self._brought += len(data)
        notable = self._calls.put(put, data)
        return notable if notable and notable[0][0] is verbs.OpenNew else self._look(put, notable)

    def _settle(self, put: verbs.Put, digest: bytes | None) -> Notable:
        """What the second process has made of a small file; what it could not bring is brought here."""
        if digest is None or put.origin is None:
            return self._put(put)
        self._asked += 1
        self._brought += put.size
        put.origin.brought(digest)
        return self._look(put, []) if put.then else []

    def _look(self, put: verbs.Put, notable: Notable) -> Notable:
        """Ask what is to be asked once it is closed."""
        for verb in put.then:
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
