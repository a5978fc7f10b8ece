"""SSH packets: what is read as one is what was sent, and is acknowledged at once."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import paramiko
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
)

from reconcile.remotes.ssh import library as ssh
from reconcile.remotes.ssh import packets as packet_layer
from reconcile.remotes.ssh.packets import Packets, Stream

Sent: TypeAlias = tuple[int, int, bytes | int]  # kind, channel, and what is in it
KEY, IV, BLOCK, TAG = bytes(16), bytes(12), 16, 16
LAST = MSG_GLOBAL_REQUEST


@contextmanager
def streams() -> Iterator[tuple[Stream, Stream]]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
    here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with Stream(here) as ours, Stream(there) as theirs:
        ours.settimeout(10)
        theirs.settimeout(10)
        yield ours, theirs


@contextmanager
def packets() -> Iterator[tuple[Packets, Packets]]:
    """One end sends, the other reads, with AES-GCM."""
    with streams() as (ours, theirs):
        sender, reader = Packets(ours), Packets(theirs)
        cipher: Any = AESGCM(KEY)  # the stubs know of ciphers without AEAD only
        sender.set_outbound_cipher(cipher, BLOCK, cipher, TAG, b"", aead=True, iv_out=IV)
        reader.set_inbound_cipher(cipher, BLOCK, cipher, TAG, b"", aead=True, iv_in=IV)
        yield sender, reader


def packet(kind: int, channel: int, what: bytes | int) -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(bytes([kind]))
    message.add_int(channel)
    if isinstance(what, int):
        message.add_int(what)
    else:
        message.add_string(what)
    return message


needs_gcm = pytest.mark.skipif(not ssh.takes_runs(), reason="this version of paramiko has no AES-GCM")

CHANNELS = st.integers(0, 2)
SENT = st.one_of(
    st.tuples(st.just(MSG_CHANNEL_DATA), CHANNELS, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just(MSG_CHANNEL_WINDOW_ADJUST), CHANNELS, st.integers(0, 1 << 20)),
    st.tuples(st.sampled_from([MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE]), CHANNELS, st.just(b"")),
)


@needs_gcm
@given(st.lists(SENT, max_size=40))
def test_packets_that_are_read_as_one_say_the_same(sent: list[Sent]) -> None:
    """Data comes whole and in turn, and all of it before what followed it; no byte of room is lost."""
    with packets() as (sender, reader):
        for each in (*sent, (LAST, 0, b"")):
            sender.send_message(packet(*each))
        read: list[Sent] = []
        while (each := parse(*reader.read_message()))[0] != LAST:
            read.append(each)
    assert told(read) == told(sent)


def parse(kind: int, message: paramiko.Message) -> Sent:
    channel = message.get_int()
    return kind, channel, message.get_int() if kind == MSG_CHANNEL_WINDOW_ADJUST else message.get_binary()


def told(sent: list[Sent]) -> tuple[object, ...]:
    """All but data and room, in turn; these by channel, and by how much else was told."""
    story: list[tuple[int, int]] = []
    data: dict[tuple[int, int], bytes] = defaultdict(bytes)
    room: dict[tuple[int, int], int] = defaultdict(int)
    for kind, channel, what in sent:
        if isinstance(what, int):
            room[len(story), channel] += what
        elif kind == MSG_CHANNEL_DATA:
            data[len(story), channel] += what
        else:
            story.append((kind, channel))
    return story, dict(data), dict(room)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="the system does not tell, nor can be told")
def test_what_comes_is_acknowledged_at_once() -> None:
    """Also once it looks like a conversation, when the system would let that travel with an answer."""
    with streams() as (ours, theirs):
        for _ in range(20):
            theirs.sendall(b"question")
            assert ours.recv(100) == b"question"
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
            ours.sendall(b"answer")
            assert theirs.recv(100) == b"answer"


# Another paramiko


@needs_gcm
def test_what_is_used_of_paramiko_s_packets_is_looked_for_first() -> None:
    """Else a version without it fails in the middle of a run, as one that knew no AES-GCM did."""
    source = Path(packet_layer.__file__).read_text()
    used = set(re.findall(r"\{PRIVATE\}(\w+)", source))
    assert used == set(ssh._FOR_RUNS)
    assert ssh.takes_runs()
    assert not ssh.missing()


@needs_gcm
def test_without_runs_packets_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_layer, "RUNS", False)
    with packets() as (sender, reader):
        pieces = [memoryview(b"one"), memoryview(b"two")]
        sender.send_message(packet_layer.Run(1, pieces))
        kinds = [reader.read_message() for _ in pieces]
    assert [kind for kind, _ in kinds] == [MSG_CHANNEL_DATA] * 2
    assert [message.asbytes()[8:] for _, message in kinds] == [b"one", b"two"]


def test_a_paramiko_that_we_do_not_know_is_named() -> None:
    program = (
        "import paramiko; del paramiko.Channel._wait_for_send_window\n"
        "from reconcile.core.errors import ReconcileError\n"
        "try: import reconcile.remotes.ssh.auth\n"
        "except ReconcileError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "has no Channel._wait_for_send_window" in done.stdout
    assert "pip install 'paramiko>=3.4,<6'" in done.stdout


@needs_gcm
@pytest.mark.parametrize("size", [1, 40_000, packet_layer._READ_AHEAD - 64, packet_layer._READ_AHEAD - 32])
def test_a_packet_of_any_size_comes_whole(size: int) -> None:
    """Cut anywhere on its way, as large as all that is read ahead, or larger: that one paramiko reads."""
    sent = [bytes([each]) * size for each in range(3)]
    with packets() as (sender, reader):

        def send() -> None:
            for each in sent:
                sender.send_message(packet(MSG_CHANNEL_DATA, 1, each))

        sending = threading.Thread(target=send)
        sending.start()
        read = b""
        while len(read) < 3 * size:
            kind, channel, data = parse(*reader.read_message())
            assert (kind, channel) == (MSG_CHANNEL_DATA, 1)
            assert isinstance(data, bytes)
            read += data
        sending.join()
    assert read == b"".join(sent)


@needs_gcm
@pytest.mark.parametrize("here", [True, False])
def test_an_end_in_the_middle_of_a_packet_is_an_end(here: bool) -> None:
    """Whoever it was that hung up."""
    with packets() as (sender, reader):
        theirs, ours = sender._stream, reader._stream
        ours.settimeout(0.1)
        theirs.sendall((100).to_bytes(4) + b"half of it")
        if here:
            threading.Timer(0.3, reader.close).start()
        else:
            theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            reader.read_message()
