"""The pump, against a server that is a function: what it is sent decides what it answers."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from reconcile.core.errors import ConnectionLost, Interrupted, ProtocolError
from reconcile.core.job import Stop
from reconcile.remotes.sftp import channel as sftp_channel
from reconcile.remotes.sftp import session as pump
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.tree.steps import Batch, Burst, Farewell, Fill, Notable, Recipe, Room
from reconcile.remotes.tree.verbs import OK, Lstat, Opendir, OpenNew, Put, Remove, Status, Sync, Verb, Write

Answer = Callable[[int, int, bytes], bytes]


def status(ident: int, code: int = 0) -> bytes:
    body = struct.pack(">II", ident, code) + struct.pack(">I3sI", 3, b"say", 0)
    return struct.pack(">IB", len(body) + 1, wire.STATUS) + body


def echo(ident: int, _kind: int, body: bytes) -> bytes:
    """REMOVE of "4" fails with code 4, and so on."""
    return status(ident, int(body[-1:] or b"0") if body[-1:].isdigit() else 0)


class ScriptedChannel:
    """A channel to a server that answers each request as soon as it is read."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[int, int, bytes]] = []
        self.held: list[bytes] = []
        self.sizes: list[int] = []
        self.closed = False
        self._in = b""

    def send(self, data: memoryview, /, *, wait: bool) -> int:  # noqa: ARG002 — takes all at once
        self.sizes.append(len(data))
        self._in += data
        while len(self._in) >= 4 and len(self._in) >= 4 + (length := struct.unpack_from(">I", self._in)[0]):
            body, self._in = self._in[4 : 4 + length], self._in[4 + length :]
            ident = struct.unpack_from(">I", body, 1)[0]
            self.requests.append((ident, body[0], body[5:]))
            self.held.append(self.answer(ident, body[0], body[5:]))
        return len(data)

    def recv(self, _nbytes: int, /) -> bytes:
        self.held = [answer for answer in self.held if answer]
        if not self.held:
            raise TimeoutError
        return self.held.pop(0)

    def recv_ready(self) -> bool:
        return False

    def settimeout(self, timeout: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def start(answer: Answer = echo) -> tuple[Session, ScriptedChannel]:
    channel = ScriptedChannel(answer)
    return Session(channel), channel


def ask(*names: bytes) -> Recipe[list[int]]:
    """One request after the other."""
    codes: list[int] = []
    for name in names:
        reply: Status = yield Remove(name)
        codes.append(reply.code)
    return codes


def test_a_recipe_gets_the_reply_to_each_of_its_requests() -> None:
    session, _ = start()
    assert session.call(ask(b"a", b"4", b"b", b"3")) == [0, 4, 0, 3]


def test_results_of_all_recipes_come_even_if_they_ask_nothing() -> None:
    session, _ = start()
    recipes = [ask(*[b"a"] * count) for count in (0, 3, 0, 0, 1, 2)]
    assert sorted(map(len, session.run(recipes, 2))) == [0, 0, 0, 1, 2, 3]
    assert list(session.run((ask() for _ in range(10)), 3)) == [[]] * 10


def test_recipes_are_started_lazily_and_no_more_than_allowed() -> None:
    session, _ = start()
    started = ended = most = 0

    def recipes() -> Iterator[Recipe[None]]:
        for _ in range(50):
            yield recipe()

    def recipe() -> Recipe[None]:
        nonlocal started, ended, most
        started += 1
        most = max(most, started - ended)
        yield Remove(b"a")
        ended += 1

    assert len(list(session.run(recipes(), 7))) == 50
    assert most == 7


def test_a_list_of_requests_and_recipes_travels_together() -> None:
    session, channel = start()

    def recipe() -> Recipe[list[object]]:
        answers: list[object] = yield [Remove(b"1"), ask(b"2", b"3"), Remove(b"a")]
        nothing: list[object] = yield []
        return answers + nothing

    answers = session.call(recipe())
    assert [answer.code if isinstance(answer, Status) else answer for answer in answers] == [1, [2, 3], 0]
    assert len(channel.sizes) == 2  # one send for the three of them, one for the last


def burst(requests: Iterator[Verb]) -> Recipe[Notable]:
    notable: Notable = yield Burst(requests)
    return notable


def test_a_burst_tells_what_was_no_plain_ok_and_is_not_drawn_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, channel = start()
    monkeypatch.setattr(pump, "OUTSTANDING", 1)  # one request at a time
    closed = False

    def requests() -> Iterator[Verb]:
        nonlocal closed
        try:
            yield Remove(b"a")
            yield Remove(b"4")
            yield Remove(b"never")
        finally:
            closed = True

    ((kind, reply),) = session.call(burst(requests()))
    assert kind is Remove
    assert isinstance(reply, Status)
    assert reply.code == 4
    assert closed
    assert len(channel.requests) == 2
    assert session.call(burst(iter([]))) == []


def test_content_is_drawn_only_as_far_as_the_window_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "OUTSTANDING", 10_000)
    session, channel = start()
    unanswered = most = 0

    def requests() -> Iterator[Verb]:
        nonlocal most
        for index in range(200):
            most = max(most, index - (len(channel.requests) - len(channel.held)))
            yield Write(b"h", 0, bytes(1000))

    assert session.call(burst(requests())) == []
    assert unanswered <= most <= 12
    assert session.traffic.requests == 200
    assert session.traffic.bytes_sent > 200_000


def test_large_files_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconcile.remotes.sftp.session.TURN", 4000)
    live, most = set[int](), 0

    def content(number: int, pieces: int) -> Iterator[Verb]:
        nonlocal most
        live.add(number)
        most = max(most, len(live))
        for _ in range(pieces):
            yield Write(b"h", 0, b"x" * 1000)
        live.remove(number)

    def send(number: int, pieces: int) -> Recipe[int]:
        yield Burst(content(number, pieces))
        return number

    session, _ = start()
    sizes = {0: 1000, **dict.fromkeys(range(1, 100), 5), 100: 1000}
    ended = list(session.run((send(number, pieces) for number, pieces in sizes.items()), 1000))
    assert sorted(ended) == sorted(sizes)
    assert set(ended[-2:]) == {0, 100}
    assert 1 < most <= 16  # each holds a file open


def test_small_requests_are_packed_into_full_packets() -> None:
    session, channel = start()
    list(session.run((ask(b"x" * 100) for _ in range(1000)), 1000))
    assert len(channel.sizes) < 10
    assert sum(channel.sizes) == session.traffic.bytes_sent


def never(ident: int, kind: int, body: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (never, "said nothing"),
        (lambda ident, _kind, _body: status(ident + 7), "not open"),
        (lambda ident, _kind, _body: status(ident) * 2, "not open"),
        (lambda ident, _kind, _body: struct.pack(">IBI", 5, 201, ident), "Extended"),
        (lambda _ident, _kind, _body: b"SSH-2.0 no SFTP at all", "SFTP should begin"),
    ],
)
def test_a_server_that_does_not_keep_to_the_protocol_ends_the_run(answer: Answer, error: str) -> None:
    session, _ = start(answer)
    with pytest.raises(ConnectionLost if answer is never else ProtocolError, match=error):
        list(session.run([ask(b"a", b"b")], 1))


def late(channel: ScriptedChannel, ticks: int) -> None:
    """Let the server be silent for that many ticks, each time it is listened to."""
    left, answer = ticks, channel.recv

    def recv(nbytes: int) -> bytes:
        nonlocal left
        left -= 1
        if left >= 0:
            raise TimeoutError
        left = ticks
        return answer(nbytes)

    channel.recv = recv  # type: ignore[method-assign]


def test_a_server_may_be_silent_for_a_while_and_for_longer_over_what_takes_long() -> None:
    def sync(size: int) -> Recipe[int]:
        reply: Status = yield Sync(b"handle", size)
        return reply.code

    session, channel = start(lambda ident, _kind, _body: status(ident))
    late(channel, int(pump.SILENCE) - 1)
    assert session.call(ask(b"a", b"b", b"c")) == [0, 0, 0]
    late(channel, 2)
    large = 120 * wire.SLOW_DISK
    assert session.call(sync(large)) == 0
    with pytest.raises(ConnectionLost, match="said nothing for 60 s"):
        session.call(sync(0))


class Dribbling(ScriptedChannel):
    """What it says comes a few bytes at a time, each second."""

    def __init__(self, answer: Answer, rate: int, now: list[float]) -> None:
        super().__init__(answer)
        self.rate = rate
        self.now = now

    def recv(self, _nbytes: int, /) -> bytes:
        self.now[0] += 1.0
        said = b"".join(self.held)
        self.held = [said[self.rate :]]
        return said[: self.rate]


@pytest.mark.parametrize("rate", [1, 100, 250])
def test_who_dribbles_answers_nothing(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    now = [0.0]
    monkeypatch.setattr(pump, "time", SimpleNamespace(monotonic=lambda: now[0]))
    names = struct.pack(">I", 1) + struct.pack(">I", 250_000) + bytes(250_000 + 4)
    said = struct.pack(">IBI", len(names) + 5, wire.NAME, 1) + names
    session = Session(Dribbling(lambda _ident, _kind, _body: said, rate, now))
    with pytest.raises(ConnectionLost, match="said nothing"):
        session.call(ask(b"a"))
    assert 60 <= now[0] <= 130


def test_a_slow_line_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pump, "time", SimpleNamespace(monotonic=lambda: now[0]))
    message = bytes(100_000)
    said = struct.pack(">IBIII", len(message) + 17, wire.STATUS, 1, 4, len(message)) + message + bytes(4)
    session = Session(Dribbling(lambda _ident, _kind, _body: said, 600, now))
    assert session.call(ask(b"a")) == [4]
    assert now[0] > 2 * pump.SILENCE


def test_a_run_that_is_asked_to_stop_does_not_wait_for_a_silent_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pump, "DRAIN", -1.0)
    session, _ = start(never)
    stop = Stop()

    def recipes() -> Iterator[Recipe[list[int]]]:
        yield ask(b"a")
        stop.requested = signal.SIGTERM

    with pytest.raises(Interrupted):
        list(session.run(recipes(), 5, stop))


def test_ok_is_no_answer_where_a_handle_is_due() -> None:
    session, _ = start()

    def recipe() -> Recipe[object]:
        return (yield Opendir(b"a"))

    with pytest.raises(ProtocolError, match="Status"):
        session.call(recipe())


def test_the_end_of_the_channel_is_a_lost_connection() -> None:
    session, channel = start()
    channel.recv = lambda _nbytes: b""  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost, match="closed"):
        session.call(ask(b"a"))


def test_a_send_that_fails_half_way_ends_the_session_for_good() -> None:
    session, channel = start()

    def fail(data: memoryview, /, *, wait: bool) -> int:
        raise OSError("gone")

    whole = channel.send
    channel.send = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost, match="gone"):
        session.call(ask(b"a"))
    channel.send = whole  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost, match="given up"):
        session.call(ask(b"a"))


class NarrowChannel(ScriptedChannel):
    """The server takes little at a time. Where we wait until it does, there must be nothing to read."""

    def __init__(self, answer: Answer, takes: int) -> None:
        super().__init__(answer)
        self.takes = takes
        self.waits = 0

    def send(self, data: memoryview, /, *, wait: bool) -> int:
        if wait:
            assert not self.recv_ready()
            self.waits += 1
        return super().send(data[: self.takes], wait=wait) if wait else 0

    def recv_ready(self) -> bool:
        return any(self.held)


@pytest.mark.parametrize("takes", [1, 7, 1000])
def test_answers_are_read_while_the_server_takes_no_more(takes: int) -> None:
    channel = NarrowChannel(echo, takes)
    session = Session(channel)
    assert list(session.run((ask(b"a", b"%d" % (n % 6)) for n in range(40)), 8)) == [
        [0, n % 6] for n in range(40)
    ]
    assert channel.waits >= sum(channel.sizes) / takes


def test_what_the_server_does_not_take_is_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowChannel(ScriptedChannel):
        most = 0

        def send(self, data: memoryview, /, *, wait: bool) -> int:
            self.most = max(self.most, session._first.kept)
            return super().send(data[:5000], wait=wait) if wait else 0

    monkeypatch.setattr(sftp_channel, "MOST_KEPT", 50_000)
    monkeypatch.setattr(pump, "AT_ONCE", 10_000)
    channel = SlowChannel(echo)
    session = Session(channel)
    data = [Write(b"h", 0, bytes(1000)) for _ in range(10)]

    def send() -> Recipe[object]:
        return (yield Batch(data))

    assert list(session.run((send() for _ in range(100)), 100)) == [[]] * 100
    assert 50_000 <= channel.most <= 60_000 + 10 * 1000


def test_an_error_in_a_recipe_closes_the_others_and_leaves_the_session_usable() -> None:
    session, _ = start()
    closed = []

    def patient(number: int) -> Recipe[None]:
        try:
            while True:
                yield Remove(b"a")
        finally:
            closed.append(number)

    def wrong() -> Recipe[None]:
        yield Remove(b"a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(session.run([patient(1), patient(2), wrong()], 3))
    assert sorted(closed) == [1, 2]
    assert session.call(ask(b"4")) == [4]  # replies to the others are dropped as they come


def test_a_run_that_is_not_read_to_its_end_gives_up_its_requests() -> None:
    session, _ = start()
    running = session.run((ask(b"a", b"b") for _ in range(20)), 5)
    assert next(running) == [0, 0]
    running.close()  # type: ignore[attr-defined]
    assert session.call(ask(b"4")) == [4]


def test_handshake() -> None:
    body = struct.pack(">BI", 2, 3) + b"".join(struct.pack(">I", len(s)) + s for s in (b"x@y", b"1"))
    session, channel = start(lambda _ident, _kind, _: struct.pack(">I", len(body)) + body)
    assert session.handshake() == {b"x@y": b"1"}
    assert channel.sizes == [9]

    old = struct.pack(">IBI", 5, 2, 2)
    with pytest.raises(ProtocolError, match="version 2"):
        start(lambda _ident, _kind, _: old)[0].handshake()
    with pytest.raises(ProtocolError, match="did not begin"):
        start(lambda _ident, _kind, _: status(1))[0].handshake()


def test_questions_may_travel_with_the_greeting() -> None:
    def answer(version: int) -> Answer:
        greeting = struct.pack(">IBI", 5, 2, version)
        return lambda ident, kind, body: greeting if kind == wire.INIT else echo(ident, kind, body)

    session, channel = start(answer(3))
    assert session.handshake_and_call(ask(b"4", b"2")) == ({}, [4, 2])
    assert [kind for _, kind, _ in channel.requests] == [wire.INIT, wire.REMOVE, wire.REMOVE]
    assert len(channel.sizes) == 2
    with pytest.raises(ProtocolError, match="version 2"):
        start(answer(2))[0].handshake_and_call(ask(b"4"))
    with pytest.raises(ProtocolError, match="did not begin"):
        start(lambda ident, kind, body: b"" if kind == wire.INIT else echo(ident, kind, body))[
            0
        ].handshake_and_call(ask(b"4"))
    with pytest.raises(ProtocolError, match="not open"):
        start(lambda _ident, _kind, _: struct.pack(">IBI", 5, 2, 3))[0].handshake_and_call(ask(b"4"))


def test_small_files_wait_for_the_server_to_keep_up() -> None:
    waiting: list[int] = []

    class Watched(ScriptedChannel):
        def recv(self, nbytes: int, /) -> bytes:
            waiting.append(len(self.held))
            return super().recv(nbytes)

    def small() -> Recipe[None]:
        yield Room(0)
        yield Batch([Write(b"h", 0, bytes(pump.BACKLOG // 4))])

    session = Session(Watched(echo))
    session.round_trip = 0.0
    assert list(session.run((small() for _ in range(50)), 50)) == [None] * 50
    assert max(waiting) == 4


def test_small_files_are_opened_together_and_then_filled() -> None:
    """Each gets what was no plain OK. Nothing is read before it can be sent, nor of what can't be opened."""
    read: list[bytes] = []

    def answer(ident: int, kind: int, body: bytes) -> bytes:
        name = body[4 : 4 + struct.unpack_from(">I", body)[0]]
        if kind == wire.OPEN:
            if name == b"refused":
                return status(ident, 4)
            return struct.pack(">IBII", len(name) + 9, wire.HANDLE, ident, len(name)) + name
        if kind == wire.LSTAT:
            return status(ident, 2)
        return status(ident, 4 if (name, kind) == (b"full", wire.WRITE) else 0)

    def put(name: bytes, content: bytes | None = b"x") -> Put:
        def reads() -> bytes | None:
            assert sum(kind == wire.OPEN for _, kind, _ in channel.requests) == 5
            read.append(name)
            return content

        return Put(name, 0o644, 7, 1, True, reads, then=(Lstat(name),) if name == b"looked-at" else ())

    def fill(puts: list[Put]) -> Recipe[list[Notable]]:
        answers: list[Notable] = yield Fill(puts, 0)
        return answers

    session, channel = start(answer)
    names = (b"good", b"refused", b"full", b"looked-at")
    good, refused, full, looked_at, unread = session.call(fill([*map(put, names), put(b"unread", None)]))
    assert good == unread == []
    assert [kind for kind, _ in refused] == [OpenNew]
    assert [kind for kind, _ in full] == [Write]
    assert [kind for kind, _ in looked_at] == [Lstat]
    assert read == [b"good", b"full", b"looked-at", b"unread"]
    whole = [wire.WRITE, wire.FSETSTAT, wire.EXTENDED, wire.CLOSE]
    sent = [kind for _, kind, _ in channel.requests]
    assert sent == [wire.OPEN] * 5 + whole * 3 + [wire.LSTAT, wire.CLOSE]
    assert session.call(fill([])) == []
    assert not session._first.unanswered


def test_a_round_trip_is_told_by_answers_to_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pump, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Late(ScriptedChannel):
        def recv(self, nbytes: int, /) -> bytes:
            now[0] += 3.0
            return super().recv(nbytes)

    def leave() -> Recipe[None]:
        yield Farewell(Remove(b"1"))

    session = Session(Late(echo))
    session.call(leave())
    session.call(ask(b"2"))  # after 3 s the answer to the farewell comes, after 6 that to this
    assert session.round_trip == 6.0
    session.call(ask(b"2"))
    assert session.round_trip == 3.0


def test_a_round_trip_is_not_told_short_by_what_is_sent_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked first is on its way while the rest is still made ready."""
    now = [0.0]
    monkeypatch.setattr(pump, "time", SimpleNamespace(monotonic=lambda: now[0]))
    due: list[float] = []

    class Far(ScriptedChannel):
        def send(self, data: memoryview, /, *, wait: bool) -> int:
            before = len(self.requests)
            count = super().send(data, wait=wait)
            due.extend([now[0] + 3.0] * (len(self.requests) - before))
            return count

        def recv(self, nbytes: int, /) -> bytes:
            now[0] = max(now[0], due.pop(0))
            return super().recv(nbytes)

    def slow() -> Recipe[None]:
        now[0] += 2.0
        yield Remove(b"b")

    def begin() -> Recipe[None]:
        yield Remove(b"a")
        yield [Batch([Write(b"h", 0, bytes(pump.AT_ONCE))]), slow()]

    session = Session(Far(echo))
    session.call(begin())
    assert session.round_trip == 3.0


def test_ok_replies_are_one_object() -> None:
    assert wire.Decoder().feed(status(3)) == [(3, OK)]
    assert wire.Decoder().feed(status(3))[0][1] is OK
