"""What comes on a channel is read whole and in turn, by whoever waits for it."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.remotes.ssh.inbox import Inbox
from reconcile.remotes.ssh.library import PipeTimeout

PIECES = st.lists(st.binary(max_size=20) | st.integers(60_000, 70_000).map(bytes), max_size=8)


@given(PIECES, st.integers(1, 100_000))
def test_all_that_was_fed_is_read_in_turn_and_then_the_end(pieces: list[bytes], size: int) -> None:
    inbox = Inbox()
    for piece in pieces:
        inbox.feed(piece)
    inbox.close()
    read: list[bytes] = []
    while data := inbox.read(size, 0.0):
        assert len(data) <= size
        read.append(data)
    assert b"".join(read) == b"".join(pieces)
    assert inbox.read_ready()  # the end can be read
    assert inbox.read(size, None) == b""  # again and again


def test_nothing_in_time_is_told() -> None:
    inbox = Inbox()
    assert not inbox.read_ready()
    for seconds in (0.0, 0.01, -1.0):
        with pytest.raises(PipeTimeout):
            inbox.read(10, seconds)
    inbox.feed(b"late")
    assert inbox.read(10, 0.0) == b"late"
    inbox.feed(b"")  # says nothing, and is no end
    assert not inbox.read_ready()


@pytest.mark.parametrize("what", [b"something", b""])
def test_who_waits_is_woken(what: bytes) -> None:
    inbox, came = Inbox(), list[bytes]()
    reader = threading.Thread(target=lambda: came.append(inbox.read(100)))
    reader.start()
    if what:
        inbox.feed(what)
    else:
        inbox.close()
    reader.join(10)
    assert came == [what]


def test_an_event_tells_of_all_that_comes_and_of_what_is_here() -> None:
    inbox = Inbox()
    for what in (b"x", b""):
        arrival = threading.Event()
        inbox.set_event(arrival)
        assert not arrival.is_set()
        if what:
            inbox.feed(what)
        else:
            inbox.close()
        assert arrival.is_set()
        assert inbox.read(1) == what
    arrival = threading.Event()
    inbox.set_event(arrival)
    assert arrival.is_set()
