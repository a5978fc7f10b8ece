"""The pump: many requests in flight, each with exactly one checked reply.

What may live here: sending, receiving, and resuming whoever got an answer. What
the requests are about is the recipes' business (``steps``).

One thread, beside paramiko's own. Requests are sent many at a time, as the cost
is per packet and per system call. Most of them go over one channel; content may be
spread over several, since a server grants each so many bytes a round trip.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from reconcile.core.errors import ConnectionLost, ProtocolError
from reconcile.core.job import Stop
from reconcile.core.model import Stats
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.channel import Channel, SftpChannel, extensions_of
from reconcile.remotes.sftp.filling import Filling, content_of
from reconcile.remotes.sftp.wire import ENCODERS
from reconcile.remotes.tree.steps import Batch, Burst, Deliver, Farewell, Fill, Recipe, Room, Step
from reconcile.remotes.tree.verbs import OK, Code, OpenNew, Status, Sync, Verb

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

DRAIN = 5.0  # seconds that what is under way gets to end after a stop was requested
SILENCE = 60.0  # seconds without an answer, while requests are outstanding
SLOWEST = 512  # bytes a second of an answer that is on its way
TICK = 1.0  # seconds after which a wait looks up: was the run asked to stop?
AT_ONCE = 256 * 1024  # bytes of requests that are sent at once: more costs less, but the server waits
BACKLOG = 512 * 1024  # bytes of small files that the server has yet to answer, if it is near
BURSTS = 768 * 1024  # the same of large files
PER_SECOND = 100 * 1024 * 1024  # more of both for each second of a round trip, once as much was answered
TURN = 32 * 1024 * 1024  # bytes of a large file, after which it is the turn of others
IN_TURN = 16  # files that take turns
OUTSTANDING = 2 * 1024 * 1024  # bytes of unanswered bursts at most; sshd grants a channel as much


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


def _unpacked(reply: wire.Reply, verb: type, expects: type) -> wire.Reply:
    if isinstance(reply, wire.Extended) and (unpacked := wire.unpack(reply, expects)) is not None:
        return unpacked
    raise ProtocolError(f"the server answered a request to {verb.__name__} with {type(reply).__name__}")


def _ignore(_reply: object) -> None:
    """Nobody waits for it."""


def _no_beat() -> None:
    """There is nothing to be renewed."""


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
    """SFTP over one channel or more. One ``run`` or ``call`` at a time.

    Every method raises ConnectionLost when a channel ends, stays silent for
    too long or (ProtocolError) sends what is no SFTP v3.
    """

    def __init__(self, channel: Channel, silence: float = SILENCE) -> None:
        self._first = SftpChannel(channel, silence)
        self._channels = [self._first]
        self._wait: Callable[[float], None] | None = None  # until something may have come on one of several
        self._silence = silence
        self._tick = min(TICK, silence)
        self._waited = 0.0  # seconds since the server last answered or took something, waited for in vain
        self._idle = 0.0  # seconds of them that the last look at what came has to count
        self._taken = 0  # bytes that it had taken by then
        self._slow: dict[int, float] = {}  # seconds more that a request may take, by its id
        self._waiting: dict[int, tuple[Deliver | Burst | Filling, type, type, int]] = {}
        self._stale: set[int] = set()  # ids of requests whose recipe was given up
        self._bursts: deque[Burst] = deque()
        self._outstanding = 0
        self._answered = 0  # bytes of content
        self._requests = 0
        self._greeting: wire.Reply | None = None  # that came along with other answers
        self._beat: Callable[[], Recipe[None] | None] = _no_beat
        self._aside: list[Recipe[None]] = []  # what is asked along with the next that is
        self.round_trip = math.inf  # seconds: the shortest that an answer took so far

    @property
    def traffic(self) -> Stats:
        """What went over the channels, SSH's own overhead left out."""
        return Stats(
            self._requests,
            sum(channel.sent for channel in self._channels),
            sum(channel.received for channel in self._channels),
        )

    @property
    def channels(self) -> int:
        """How many channels there are for content."""
        return len(self._channels)

    def handshake(self, patience: float = 0.0) -> dict[bytes, bytes]:
        """Comes first, once: see ``SftpChannel.greet``."""
        return self._first.greet(patience)

    def handshake_and_call(self, recipe: Recipe[T], patience: float = 0.0) -> tuple[dict[bytes, bytes], T]:
        """The same with the first recipe along with it, for servers that take requests meanwhile."""
        self._first.queue_greeting()
        self._slow[wire.NO_ID] = patience
        result = self.call(recipe)
        return extensions_of(self._greeting), result

    def widen(self, coming: Iterable[Future[SftpChannel | None]], wait: Callable[[float], None]) -> None:
        """More channels, for content, once they are there. None stands for one that is done without.

        ``wait`` returns when something may have come on any of the channels, or after so many seconds.
        """
        for channel in self._channels:
            channel.flush()
        granted = [each.result() for each in coming]
        self._channels += [channel for channel in granted if channel is not None]
        for channel in self._channels:
            channel.check = self._first.check
        self._wait = wait if len(self._channels) > 1 else None

    def call(self, recipe: Recipe[T]) -> T:
        """Run one recipe to its end."""
        (result,) = self.run([recipe], 1)
        return result

    def aside(self, recipe: Recipe[None]) -> None:
        """Run it along with what is asked next: that takes as many round trips as it does anyway."""
        self._aside.append(recipe)

    def mind(self, check: Callable[[], None], beat: Callable[[], Recipe[None] | None]) -> None:
        """From now on ``check`` before anything is sent, and run a ``beat`` whenever there is one."""
        self._beat = beat
        for channel in self._channels:
            channel.check = check

    def run(self, recipes: Iterable[Recipe[T]], in_flight: int, stop: Stop | None = None) -> Iterator[T]:
        """Run recipes, at most ``in_flight`` at a time; results come as they are ready.

        Recipes are drawn lazily. An exception in a recipe is a bug: it ends the
        run, and the others are closed where they stand. Once ``stop`` is requested
        no more are drawn; if those under way don't end in time, Interrupted is raised.
        """
        if self._waiting:
            raise RuntimeError("a session does one run at a time")
        drawn = iter(recipes)
        began: float | None = time.monotonic()
        before = self._requests
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
                        if self._aside and self._waiting:
                            self._begin_aside(live)
                self._draw()
                while results:
                    yield results.popleft()
                if live:
                    self._begin_beat(live)
                    ready = self._ready() or self._await()
                    replies = self._receive(ready) if ready is not None else []
                    now, asked = time.monotonic(), self._requests
                    if began is not None and replies and replies[-1][0] > before:
                        self.round_trip = min(self.round_trip, now - began)
                        began = None
                    self._accept(replies)
                    if next(iter(self._waiting), 0) > asked:  # nothing of before is still to be answered
                        began, before = now, asked
        finally:
            self._give_up()
            for task in live:
                task.recipe.close()

    def _begin_beat(self, live: set[_Task]) -> None:
        if (beat := self._beat()) is not None:
            self._aside.append(beat)
            self._begin_aside(live)

    def _begin_aside(self, live: set[_Task]) -> None:
        for recipe in self._aside:
            live.add(task := _Task(recipe, self._begin, None, lambda task, _: live.discard(task)))
            task.resume(None)
        self._aside.clear()

    def _give_up(self) -> None:
        """Forget what is under way; replies to it are dropped when they come."""
        self._stale.update(self._waiting)
        self._waiting.clear()
        self._outstanding = 0
        while self._bursts:
            self._bursts.popleft().stop()
        for channel in self._channels:
            channel.turn.clear()
            channel.unanswered = 0

    def _begin(self, step: Any, task: _Task) -> None:
        """Send what a recipe asked for, which is a ``Step``."""
        if type(step) in ENCODERS:
            self._post(step, task.resume)
        elif isinstance(step, Burst):
            self._begin_burst(step, task.resume)
        elif isinstance(step, Fill):
            self._begin_fill(Filling(step, task.resume))
        elif isinstance(step, Room):
            self._channels[step.channel].turn.append(task.resume)
        elif isinstance(step, Farewell):
            self._post(step.verb, _ignore)
            task.resume(None)
        elif step:
            for item, take in zip(step, _gather(len(step), task.resume), strict=True):
                if type(item) in ENCODERS:
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
            verbs, burst.all = burst.all, ()  # once sent, content needs no memory
            self._post_all(verbs, burst)
        else:
            self._bursts.append(burst)

    def _begin_fill(self, filling: Filling) -> None:
        """Open all the files; their content is read once that is answered, and it can be sent."""
        encode, expects = ENCODERS[OpenNew]
        channel, waiting = self._channels[filling.channel], self._waiting
        for place, put in enumerate(filling.puts):
            self._requests += 1
            ident = self._requests & 0xFFFFFFFF
            waiting[ident] = filling, OpenNew, expects, place
            channel.size += encode(channel.out, ident, put)  # it says all that an OpenNew does
        if channel.size >= AT_ONCE:
            channel.flush()
        if not filling.left:
            filling.resume([])

    def _fill(self, filling: Filling) -> None:
        """Send the content of those that are open."""
        channel, waiting = self._channels[filling.channel], self._waiting
        for place, (put, handle) in enumerate(zip(filling.puts, filling.handles, strict=True)):
            if handle is None:
                continue
            before = channel.size
            for verb in content_of(put, handle):
                kind = type(verb)
                encode, expects = ENCODERS[kind]
                self._requests += 1
                ident = self._requests & 0xFFFFFFFF
                if kind is Sync:
                    self._slow[ident] = put.size / wire.SLOW_DISK
                waiting[ident] = filling, kind, expects, place
                channel.size += encode(channel.out, ident, verb)
                filling.left += 1
            filling.size += channel.size - before
            if channel.size >= AT_ONCE:
                channel.flush()
        channel.unanswered += filling.size
        if not filling.left:
            filling.resume(filling.answers)

    def _go_on(self, filling: Filling, kind: type) -> None:
        """All that was sent of it is answered, the last to a ``kind``."""
        channel = self._channels[filling.channel]
        if kind is OpenNew:
            channel.turn.append(lambda _: self._fill(filling))
            return
        channel.unanswered -= filling.size
        self._answered += filling.size
        filling.resume(filling.answers)

    def _draw(self) -> None:
        """Send content, many small files and file after file, until there is no room, or for so long."""
        until = time.monotonic() + TICK  # content may be slow to come, or be held up on purpose
        for channel in self._channels:
            while channel.turn and self._has_room(channel):
                channel.turn.popleft()(None)
                if time.monotonic() > until:
                    return
        most = self._burst_room()
        while self._bursts and self._outstanding < most and time.monotonic() < until:
            burst = self._bursts[0]
            if burst.failed:
                burst.stop()
            verb = next(burst.verbs, None) if burst.verbs else None
            if verb is not None:
                burst.pending += 1
                burst.drawn += self._post(verb, burst)
                if burst.drawn >= TURN:
                    self._leave_the_turn(burst)
                continue
            self._bursts.popleft()
            burst.verbs = None
            if not burst.pending:
                burst.resume(burst.notable)

    def _leave_the_turn(self, burst: Burst) -> None:
        """Let others go on that are not so large. Only some, as each holds its file open here."""
        burst.drawn = 0
        self._bursts.popleft()
        self._bursts.insert(IN_TURN - 1, burst)

    def _post(self, verb: Verb, owner: Deliver | Burst) -> int:
        """Add a verb to what is sent; returns its size. What is drawn of a burst counts as outstanding."""
        kind = type(verb)
        encode, expects = ENCODERS[kind]
        channel = self._channels[verb.channel]
        self._requests += 1
        ident = self._requests & 0xFFFFFFFF
        if isinstance(verb, Sync):
            self._slow[ident] = verb.size / wire.SLOW_DISK
        size = encode(channel.out, ident, verb)
        weight = size if isinstance(owner, Burst) else 0
        self._waiting[ident] = owner, kind, expects, weight
        self._outstanding += weight
        channel.size += size
        if channel.size >= AT_ONCE:
            channel.flush()
        return size

    def _post_all(self, verbs: Sequence[Verb], owner: Batch) -> None:
        """The same for several that go together."""
        owner.channel = verbs[0].channel
        channel = self._channels[owner.channel]
        before = channel.size
        waiting, out = self._waiting, channel.out
        for verb in verbs:
            kind = type(verb)
            encode, expects = ENCODERS[kind]
            self._requests += 1
            ident = self._requests & 0xFFFFFFFF
            if isinstance(verb, Sync):
                self._slow[ident] = verb.size / wire.SLOW_DISK
            waiting[ident] = owner, kind, expects, 0
            channel.size += encode(out, ident, verb)
        owner.size = channel.size - before
        channel.unanswered += owner.size
        if channel.size >= AT_ONCE:
            channel.flush()

    def _accept(self, replies: Iterable[tuple[int, wire.Reply]]) -> None:
        """Hand each reply to whoever waits for it."""
        waiting, slow = self._waiting, self._slow
        for ident, reply in replies:
            slot = waiting.pop(ident, None)
            if slow:
                slow.pop(ident, None)
            if slot is None:
                self._put_aside(ident, reply)
                continue
            owner, kind, expects, weight = slot
            if type(reply) is not expects and (type(reply) is not Status or reply.code == Code.OK):
                reply = _unpacked(reply, kind, expects)
            if isinstance(owner, Filling):
                owner.take(weight, kind, reply)
                if not owner.left:
                    self._go_on(owner, kind)
                continue
            if not isinstance(owner, Burst):
                owner(reply)
                continue
            self._outstanding -= weight
            self._answered += weight
            owner.pending -= 1
            if reply is not OK:
                owner.notable.append((kind, reply))  # type: ignore[arg-type]  # all else was sorted out above
                owner.failed = owner.failed or type(reply) is Status
            if not owner.pending and owner.verbs is None:
                if isinstance(owner, Batch):
                    self._channels[owner.channel].unanswered -= owner.size
                    self._answered += owner.size
                owner.resume(owner.notable)

    def _put_aside(self, ident: int, reply: wire.Reply) -> None:
        """A reply nobody waits for: the greeting, one to a request whose recipe was given up, or to none."""
        if ident == wire.NO_ID and self._greeting is None:
            self._greeting = reply
            return
        if ident not in self._stale:
            raise ProtocolError(f"the server answered request {ident}, which is not open")
        self._stale.discard(ident)

    def _await(self) -> SftpChannel | None:
        """Send what waits until something comes: the channel on which it does.

        What the server does not take yet keeps nobody from reading its answers. None:
        nothing came, but now it takes more, or a tick is over.
        """
        until = time.monotonic() + self._tick
        while True:
            for channel in self._channels:
                channel.flush()
            if (ready := self._ready()) is not None:
                return ready
            if any(channel.turn and self._has_room(channel) for channel in self._channels):
                return None
            if self._wait is not None:
                if (left := until - time.monotonic()) <= 0:
                    self._bear(self._tick)
                    return None
                began = time.monotonic()
                self._wait(left)
                self._idle += time.monotonic() - began
            elif self._first.stuck:
                self._first.push()
            else:
                return self._first

    def _has_room(self, channel: SftpChannel) -> bool:
        """Whether more small files may go over a channel.

        OpenSSH's server reads 16 KiB for each request that it carries out, however small,
        and copies all that it has not come to whenever that grows: seconds for some MiB.
        """
        return not channel.stuck and channel.unanswered < BACKLOG + self._under_way()

    def _burst_room(self) -> float:
        """How many bytes of large files may wait for their answers.

        sshd too copies all it holds whenever that grows, by a packet at a time: a tenth of a second up to
        2 MiB. Where it is near, that pays only for what takes long, so it is more the more was sent.
        """
        for_each = BURSTS + self._under_way() + self._answered / 64
        return min(for_each, OUTSTANDING) * len(self._channels)

    def _under_way(self) -> float:
        """How many bytes of a channel wait for nothing but the way, as far as answers show that they flow.

        What comes as one gush piles up where it arrives.
        """
        return min(PER_SECOND * self.round_trip, self._answered / len(self._channels))

    def _ready(self) -> SftpChannel | None:
        """A channel on which something has come."""
        for channel in self._channels:
            if channel.pipe.recv_ready():
                return channel
        return None

    def _receive(self, channel: SftpChannel) -> list[tuple[int, wire.Reply]]:
        """What the server says next; empty if it was silent for a moment, but not yet for too long."""
        began, before = time.monotonic(), channel.received
        replies = channel.receive(self._tick)
        if replies:
            self._waited = self._idle = 0.0
            return replies
        if replies is None:
            self._bear(self._tick)
        else:
            took = time.monotonic() - began + self._idle
            self._bear(took - (channel.received - before) / SLOWEST)
        return []

    def _bear(self, seconds: float) -> None:
        """So much more time without an answer: too long, unless the server takes what we send.

        What comes in part counts for no more than the time that a slow line takes for it, else a server
        that says a byte now and then would hold us for ever.
        """
        self._idle = 0.0
        self._waited += max(seconds, 0.0)
        if (taken := self.traffic.bytes_sent) > self._taken:
            self._taken, self._waited = taken, 0.0
        elif self._waited >= self._silence + sum(self._slow.values()):
            raise ConnectionLost(f"the server said nothing for {self._waited:.0f} s")
