"""The pump: many requests in flight on one SFTP channel, each with exactly one checked reply.

What may live here: sending, receiving, and resuming whoever got an answer. What
the requests are about is the recipes' business (``steps``).

One thread, beside paramiko's own. Requests are sent many at a time, as the cost
is per packet and per system call.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from reconcile.errors import ConnectionLost, ProtocolError
from reconcile.model import Stop, Traffic
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.steps import Batch, Burst, Deliver, Recipe, Step
from reconcile.remotes.sftp.wire import HEAD, OK, Request, Status

T = TypeVar("T")

DRAIN = 5.0  # seconds that what is under way gets to end after a stop was requested
SILENCE = 60.0  # seconds without a byte, while requests are outstanding
TICK = 1.0  # seconds after which a wait looks up: was the run asked to stop?
AT_ONCE = 256 * 1024  # bytes of requests that are sent at once: more costs less, but the server waits
RECEIVE = 256 * 1024
OUTSTANDING = 2 * 1024 * 1024  # bytes of unanswered bursts; sshd grants a channel as much


class Channel(Protocol):
    """What is needed of a paramiko channel."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of ``data``; raises OSError or TimeoutError."""

    def recv(self, nbytes: int, /) -> bytes:
        """Up to ``nbytes``, empty at the end; raises OSError or TimeoutError."""

    def recv_ready(self) -> bool:
        """Whether ``recv`` would return at once."""

    def settimeout(self, timeout: float, /) -> None:
        """Seconds until ``sendall`` and ``recv`` raise TimeoutError."""

    def close(self) -> None:
        """Close; may be called twice."""


def _gather(count: int, resume: Deliver) -> Iterator[Deliver]:
    """Takers for ``count`` results; the last one to come resumes with the list of them."""
    results: list[Any] = [None] * count
    left = count

    def taker(index: int) -> Deliver:
        def take(value: object) -> None:
            nonlocal left
            results[index] = value
            left -= 1
            if not left:
                resume(results)

        return take

    return map(taker, range(count))


class _Task:
    """A recipe under way: resumed with each answer. Its result goes to ``deliver``, or to ``end``."""

    __slots__ = ("begin", "deliver", "end", "recipe")

    def __init__(
        self,
        recipe: Recipe[Any],
        begin: Callable[[Step, _Task], None],
        deliver: Deliver | None,
        end: Callable[[_Task, Any], None] | None = None,
    ) -> None:
        self.recipe = recipe
        self.begin = begin
        self.deliver = deliver
        self.end = end

    def resume(self, answer: object) -> None:
        """Go on until the recipe asks for something else, or ends."""
        try:
            step = self.recipe.send(answer)
        except StopIteration as stop:
            if self.deliver is not None:
                self.deliver(stop.value)
            elif self.end is not None:
                self.end(self, stop.value)
        else:
            self.begin(step, self)


class Session:
    """One SFTP channel. One ``run`` or ``call`` at a time.

    Every method raises ConnectionLost when the channel ends, stays silent for
    too long or (ProtocolError) sends what is no SFTP v3.
    """

    def __init__(self, channel: Channel, silence: float = SILENCE) -> None:
        self._channel = channel
        self._silence = silence
        self._waited = 0.0  # seconds since the server last said something
        self._slow: dict[int, float] = {}  # seconds more that a request may take, by its id
        self._decoder = wire.Decoder()
        self._waiting: dict[int, tuple[Deliver | Burst, int, type[wire.Reply], int]] = {}
        self._stale: set[int] = set()  # ids of requests whose recipe was given up
        self._bursts: deque[Burst] = deque()
        self._outstanding = 0
        self._out: list[bytes] = []
        self._out_size = 0
        self._torn = False
        self._requests = self._bytes_sent = self._bytes_received = 0

    @property
    def traffic(self) -> Traffic:
        """What went over this channel, SSH's own overhead left out."""
        return Traffic(self._requests, self._bytes_sent, self._bytes_received)

    def handshake(self, patience: float = 0.0) -> dict[bytes, bytes]:
        """Agree on version 3; returns the server's extensions. Comes first, once.

        The server gets ``patience`` seconds more than for other answers: it has to start.
        """
        self._send(wire.init())
        self._slow[wire.NO_ID] = patience
        while not (replies := self._decoder.feed(self._receive())):
            pass
        del self._slow[wire.NO_ID]
        (_, reply), *more = replies
        if not isinstance(reply, wire.Version) or more:
            raise ProtocolError("the server did not begin with its SFTP version")
        if reply.version < wire.VERSION:
            raise ProtocolError(f"the server speaks SFTP version {reply.version}; version 3 is needed")
        return reply.extensions

    def call(self, recipe: Recipe[T]) -> T:
        """Run one recipe to its end."""
        (result,) = self.run([recipe], 1)
        return result

    def run(self, recipes: Iterable[Recipe[T]], in_flight: int, stop: Stop | None = None) -> Iterator[T]:
        """Run recipes, at most ``in_flight`` at a time; results come as they are ready.

        Recipes are drawn lazily. An exception in a recipe is a bug: it ends the
        run, and the others are closed where they stand. Once ``stop`` is requested
        no more are drawn; if those under way don't end in time, Interrupted is raised.
        """
        if self._waiting:
            raise RuntimeError("a session does one run at a time")
        drawn = iter(recipes)
        exhausted = False
        give_up_at: float | None = None
        live: set[_Task] = set()
        results: deque[T] = deque()

        def end(task: _Task, result: T) -> None:
            live.discard(task)
            results.append(result)

        try:
            while live or results or not exhausted:
                if stop is not None and stop.requested:
                    exhausted = True
                    give_up_at = give_up_at or time.monotonic() + DRAIN
                    if live and time.monotonic() > give_up_at:
                        stop.check()
                while not exhausted and len(live) + len(results) < in_flight:
                    if (recipe := next(drawn, None)) is None:
                        exhausted = True
                    else:
                        live.add(task := _Task(recipe, self._begin, None, end))
                        task.resume(None)
                self._draw_bursts()
                while results:
                    yield results.popleft()
                if live:
                    if not self._channel.recv_ready():
                        self._flush()
                    self._accept(self._decoder.feed(self._receive()))
        finally:
            self._give_up()
            for task in live:
                task.recipe.close()

    def _give_up(self) -> None:
        """Forget what is under way; replies to it are dropped when they come."""
        self._stale.update(self._waiting)
        self._waiting.clear()
        self._outstanding = 0
        while self._bursts:
            self._bursts.popleft().stop()

    def _begin(self, step: Step, task: _Task) -> None:
        """Send what a recipe asked for."""
        if isinstance(step, Request):
            self._post(step, task.resume)
        elif isinstance(step, Burst):
            self._begin_burst(step, task.resume)
        elif step:
            for item, take in zip(step, _gather(len(step), task.resume), strict=True):
                if isinstance(item, Request):
                    self._post(item, take)
                elif isinstance(item, Burst):
                    self._begin_burst(item, take)
                else:
                    _Task(item, self._begin, take).resume(None)
        else:
            task.resume([])

    def _begin_burst(self, burst: Burst, resume: Deliver) -> None:
        burst.resume = resume
        if isinstance(burst, Batch) and burst.all:
            requests, burst.all = burst.all, ()  # once sent, content needs no memory
            self._post_all(requests, burst)
        else:
            self._bursts.append(burst)

    def _draw_bursts(self) -> None:
        """Send content, file after file, until the window is full."""
        while self._bursts and self._outstanding < OUTSTANDING:
            burst = self._bursts[0]
            if burst.failed:
                burst.stop()
            request = next(burst.requests, None) if burst.requests else None
            if request is not None:
                burst.pending += 1
                self._post(request, burst, len(request.body))
                continue
            self._bursts.popleft()
            burst.requests = None
            if not burst.pending:
                burst.resume(burst.notable)

    def _post(self, request: Request, owner: Deliver | Burst, weight: int = 0) -> None:
        kind, body, expects, patience = request
        self._requests += 1
        ident = self._requests & 0xFFFFFFFF
        if patience:
            self._slow[ident] = patience
        self._waiting[ident] = owner, kind, expects, weight
        self._outstanding += weight
        self._out.append(HEAD.pack(len(body) + 5, kind, ident))
        self._out.append(body)
        self._out_size += HEAD.size + len(body)
        if self._out_size >= AT_ONCE:
            self._flush()

    def _post_all(self, requests: Sequence[Request], owner: Burst) -> None:
        """The same for several that have no weight."""
        waiting, out, pack = self._waiting, self._out, HEAD.pack
        for kind, body, expects, patience in requests:
            self._requests += 1
            ident = self._requests & 0xFFFFFFFF
            if patience:
                self._slow[ident] = patience
            waiting[ident] = owner, kind, expects, 0
            size = len(body)
            out += pack(size + 5, kind, ident), body
            self._out_size += size + 9
        if self._out_size >= AT_ONCE:
            self._flush()

    def _accept(self, replies: Iterable[tuple[int, wire.Reply]]) -> None:
        """Hand each reply to whoever waits for it."""
        waiting, slow = self._waiting, self._slow
        for ident, reply in replies:
            slot = waiting.pop(ident, None)
            if slow:
                slow.pop(ident, None)
            if slot is None:
                self._forget(ident)
                continue
            owner, kind, expects, weight = slot
            if type(reply) is not expects and (type(reply) is not Status or reply.code == wire.FX_OK):
                raise ProtocolError(
                    f"the server answered a request of type {kind} with {type(reply).__name__}"
                )
            if not isinstance(owner, Burst):
                owner(reply)
                continue
            self._outstanding -= weight
            owner.pending -= 1
            if reply is not OK:
                owner.notable.append((kind, reply))
                owner.failed = owner.failed or type(reply) is Status
            if not owner.pending and owner.requests is None:
                owner.resume(owner.notable)

    def _forget(self, ident: int) -> None:
        """A reply nobody waits for: to a request whose recipe was given up, or to none."""
        if ident not in self._stale:
            raise ProtocolError(f"the server answered request {ident}, which is not open")
        self._stale.discard(ident)

    def _flush(self) -> None:
        if self._out_size:
            data = b"".join(self._out)
            self._out = []
            self._out_size = 0
            self._send(data)

    def _send(self, data: bytes) -> None:
        if self._torn:
            raise ConnectionLost("the connection was given up in the middle of a request")
        self._torn = True  # until all is sent: half a request can't be taken back
        try:
            self._channel.settimeout(self._silence)
            self._channel.sendall(data)
        except TimeoutError as error:
            raise ConnectionLost(f"the server took no data for {self._silence:.0f} s") from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke while sending: {error}") from error
        self._torn = False
        self._bytes_sent += len(data)

    def _receive(self) -> bytes:
        """What the server says next; empty if it was silent for a moment, but not yet for too long."""
        tick = min(TICK, self._silence)
        try:
            self._channel.settimeout(tick)
            data = self._channel.recv(RECEIVE)
        except TimeoutError as error:
            self._waited += tick
            if self._waited < self._silence + sum(self._slow.values()):
                return b""
            raise ConnectionLost(f"the server said nothing for {self._waited:.0f} s") from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error}") from error
        if not data:
            raise ConnectionLost("the server closed the connection")
        self._waited = 0.0
        self._bytes_received += len(data)
        return data
