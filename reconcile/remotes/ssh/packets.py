"""SSH packets, a run of them at a time.

What may live here: what reaches into paramiko's packet layer. It spends more time
on each packet, on its copies and on its system call, than it takes to encrypt it.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from reconcile.remotes.ssh.library import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_WINDOW_ADJUST,
    PRIVATE,
    Packetizer,
    paramiko,
    takes_runs,
)

_READ_AHEAD = 256 * 1024
_LULL = 0.005  # seconds for which what comes may lie about while nobody waits for it
_MOST_PACKET = 256 * 1024  # bytes, as OpenSSH has it; 35,000 at least, RFC 4253, section 6.1
_MOST_GREETING = 64 * 1024  # bytes; a server may say something before its version, RFC 4253, section 4.2
_MOST_ROOM = 0xFFFFFFFF  # bytes that a channel may be granted, RFC 4254, section 5.2
# Until a session begins, sshd sends nothing small before all it sent is acknowledged, which a system puts
# off for 40 ms to let it travel with an answer. Linux forgets that it was told not to, so it is told
# each time: tcp(7).
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
RUNS = takes_runs()  # several packets at a time
_DATA = struct.Struct(">BBII")  # length of the padding, type, channel, length of the data


class Stream(socket.socket):
    """A connected socket that reads ahead: paramiko reads each packet in two or three small pieces.

    ``said`` was sent before; when it is sent first once more, it isn't.
    """

    def __init__(self, connected: socket.socket, said: bytes = b"") -> None:
        super().__init__(fileno=connected.detach())
        self._said = said
        self._quick_ack = None if self.family == socket.AF_UNIX else _QUICKACK  # a process may be in between
        self._ahead = memoryview(bytearray(_READ_AHEAD))
        self._at = self._end = 0  # of what is read ahead
        self.greeting = b""  # the first bytes that came
        self.patience: float | None = None  # seconds for which it may take no data; None: for ever
        self._stuck_since: float | None = None

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Up to ``size`` bytes, read ahead or now."""
        if self._at >= self._end:
            self._read_on(flags)
        data = bytes(self._ahead[self._at : min(self._at + size, self._end)])
        self._at += len(data)
        return data

    def _read_on(self, flags: int = 0) -> None:
        """Take what has come, or what comes next."""
        rest = self._end - self._at
        self._ahead[:rest] = self._ahead[self._at : self._end]
        self._at, self._end = 0, rest
        self._end += self.recv_into(self._ahead[rest:], 0, flags)
        self.greeting = self.greeting or bytes(self._ahead[: min(self._end, 256)])
        if self._quick_ack is not None:
            self.setsockopt(socket.IPPROTO_TCP, self._quick_ack, 1)

    def _packet_ends(self, tag_size: int) -> int:
        return self._at + 4 + int.from_bytes(self._ahead[self._at : min(self._at + 4, self._end)]) + tag_size

    def await_packet(self, tag_size: int) -> None:
        """Read on if no SSH packet is here as a whole: in vain if nothing comes for a tick, or no more.

        Raises OSError for a connection that broke.
        """
        end = self._packet_ends(tag_size)
        if end <= self._end or end - self._at > len(self._ahead):  # which is for paramiko to say
            return
        try:
            self._read_on()
        except TimeoutError:
            return
        except OSError:
            if self.fileno() >= 0:  # else it was closed by us
                raise

    def take_packet(self, tag_size: int) -> memoryview | None:
        """The next SSH packet, if it is here as a whole: its length in the clear, the rest, and its tag.

        It is gone with the next packet that is awaited.
        """
        here, after = self._at, self._packet_ends(tag_size)
        if after > self._end:
            return None
        self._at = after
        return self._ahead[here:after]

    def send(self, *data: Any) -> int:
        """Send some of ``data``. paramiko tries again after each timeout, for ever."""
        said, self._said = self._said, b""
        if said and data[0] == said:
            return len(said)
        try:
            count = super().send(*data)
        except TimeoutError:
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if self.patience is not None and now - self._stuck_since > self.patience:
                raise BrokenPipeError("the other end takes no data") from None
            raise
        self._stuck_since = None
        return count


class Run:
    """Data for one channel, in the pieces of which each becomes a packet."""

    __slots__ = ("channel", "pieces")

    def __init__(self, channel: int, pieces: Sequence[memoryview]) -> None:
        self.channel = channel
        self.pieces = pieces

    def messages(self) -> Iterator[paramiko.Message]:
        """The pieces as paramiko knows them."""
        for piece in self.pieces:
            message = paramiko.Message()
            message.add_byte(bytes([MSG_CHANNEL_DATA]))
            message.add_int(self.channel)
            message.add_string(bytes(piece))
            yield message


class Arrived(paramiko.Message):
    """Data that came for a channel, as paramiko knows it, and not copied again."""

    def __init__(self, channel: bytes, data: bytes) -> None:
        super().__init__(channel)
        self._data = data

    def get_binary(self) -> bytes:
        """All of it."""
        return self._data


class Packets(Packetizer):
    """Reads and writes a run of packets as one, where they are AES-GCM and channel data.

    A server answers many small requests with as many small packets, and what we send
    are many large ones.

    Who reads takes turns with who sends, and each turn has its price. So where the
    reading end says when it waits (``awaited``), packets are left to pile up until then.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._stream = stream
        self._greeted = 0  # bytes
        self._next: deque[tuple[int, paramiko.Message]] = deque()  # read already
        self.awaited = threading.Event()
        self.awaited.set()

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """``n`` bytes. Who announces more than a packet can have may be anybody: no key was checked yet."""
        if n > _MOST_PACKET:
            raise paramiko.SSHException(f"a packet of {n} bytes was announced")
        data: bytes = super().read_all(n, check_rekey)
        return data

    def _read_timeout(self, timeout: float) -> bytes:
        """Some of what comes before the first packet. There is no end to a line that has none."""
        data: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self._greeted += len(data)
        if self._greeted > _MOST_GREETING:
            raise paramiko.SSHException("it talks without end")
        return data

    def read_message(self) -> tuple[int, paramiko.Message]:
        """The type and content of the next packet, or of several that say the same as one."""
        inner = vars(self)  # paramiko keeps all of it private
        plain = RUNS and inner[f"{PRIVATE}aead_in"] and not inner[f"{PRIVATE}compress_engine_in"]
        if plain and not self._next and not self.need_rekey():
            self.awaited.wait(_LULL)
            self._stream.await_packet(inner[f"{PRIVATE}mac_size_in"])
            self._read_run(inner)
        if self._next:
            return self._next.popleft()
        kind, message = super().read_message()
        return kind, message

    def _read_run(self, inner: dict[str, Any]) -> None:
        """Packets that are here as a whole, up to the first that is about something else than data.

        What comes for a channel becomes one message, and how much more it takes becomes one: which
        of them came before the other changes nothing.
        """
        stream = self._stream
        decrypt = inner[f"{PRIVATE}block_engine_in"].decrypt
        tag_size = inner[f"{PRIVATE}mac_size_in"]
        fixed, counter = (iv := inner[f"{PRIVATE}iv_in"])[:4], int.from_bytes(iv[4:])
        data: dict[bytes, list[memoryview]] = {}  # by channel
        room: dict[bytes, int] = {}
        size = count = 0
        other: tuple[int, paramiko.Message] | None = None
        while other is None and (packet := stream.take_packet(tag_size)) is not None:
            plain = decrypt(fixed + counter.to_bytes(8), packet[4:], packet[:4])  # RFC 5647, section 7
            counter += 1
            count += 1
            size += len(packet)
            end = len(plain) - plain[0]
            kind, channel = plain[1], plain[2:6]
            if kind == MSG_CHANNEL_DATA:
                data.setdefault(channel, []).append(memoryview(plain)[10:end])
            elif kind == MSG_CHANNEL_WINDOW_ADJUST:
                room[channel] = room.get(channel, 0) + int.from_bytes(plain[6:10])
            else:
                message = paramiko.Message(plain[2:end])
                message.seqno = inner[f"{PRIVATE}sequence_number_in"] + count - 1 & 0xFFFFFFFF
                other = kind, message
        if not count:
            return
        inner[f"{PRIVATE}iv_in"] = fixed + counter.to_bytes(8)
        self._account(inner, count, size)
        for channel, pieces in data.items():
            self._next.append((MSG_CHANNEL_DATA, Arrived(channel, b"".join(pieces))))
        for channel, more in room.items():
            message = paramiko.Message(channel + min(more, _MOST_ROOM).to_bytes(4))
            self._next.append((MSG_CHANNEL_WINDOW_ADJUST, message))
        if other is not None:
            self._next.append(other)

    def _account(self, inner: dict[str, Any], count: int, size: int) -> None:
        """What paramiko counts of what came."""
        inner[f"{PRIVATE}sequence_number_in"] = inner[f"{PRIVATE}sequence_number_in"] + count & 0xFFFFFFFF
        inner[f"{PRIVATE}received_packets"] += count
        inner[f"{PRIVATE}received_bytes"] += size
        self._renew_keys(inner[f"{PRIVATE}received_packets"], inner[f"{PRIVATE}received_bytes"])

    def _renew_keys(self, packets: int, size: int) -> None:
        """New keys after as many packets and bytes as paramiko takes."""
        if (packets >= self.REKEY_PACKETS or size >= self.REKEY_BYTES) and not self.need_rekey():
            self._trigger_rekey()  # type: ignore[attr-defined]

    def send_message(self, data: paramiko.Message | Run) -> None:
        """Encrypt and send a message, or a whole run with one system call."""
        inner = vars(self)
        if not isinstance(data, Run):
            super().send_message(data)
        elif RUNS and inner[f"{PRIVATE}aead_out"] and inner[f"{PRIVATE}compress_engine_out"] is None:
            with inner[f"{PRIVATE}write_lock"]:
                self._send_run(inner, data)
        else:
            for message in data.messages():
                super().send_message(message)

    def _send_run(self, inner: dict[str, Any], run: Run) -> None:
        encrypt = inner[f"{PRIVATE}block_engine_out"].encrypt
        block = inner[f"{PRIVATE}block_size_out"]
        fixed, counter = (iv := inner[f"{PRIVATE}iv_out"])[:4], int.from_bytes(iv[4:])
        noise = os.urandom(block + 3)
        sealed: list[bytes] = []
        for piece in run.pieces:
            size = _DATA.size + len(piece)
            padding = 4 + (-size - 4) % block  # at least four bytes, RFC 4253, section 6
            head = (size + padding).to_bytes(4)
            what = _DATA.pack(padding, MSG_CHANNEL_DATA, run.channel, len(piece))
            plain = b"".join((what, piece, noise[:padding]))
            sealed += head, encrypt(fixed + counter.to_bytes(8), plain, head)  # RFC 5647, section 7
            counter += 1
        out = b"".join(sealed)
        count = len(run.pieces)
        inner[f"{PRIVATE}iv_out"] = fixed + counter.to_bytes(8)
        inner[f"{PRIVATE}sequence_number_out"] = inner[f"{PRIVATE}sequence_number_out"] + count & 0xFFFFFFFF
        self.write_all(memoryview(out))
        inner[f"{PRIVATE}sent_packets"] += count
        inner[f"{PRIVATE}sent_bytes"] += len(out)
        self._renew_keys(inner[f"{PRIVATE}sent_packets"], inner[f"{PRIVATE}sent_bytes"])


def send_some(channel: paramiko.Channel, data: memoryview, *, wait: bool) -> int:
    """Send as much of ``data`` as the other end's window takes by now; returns how many bytes.

    With ``wait`` not before it takes some. Raises OSError or TimeoutError.
    """
    inner: Any = channel  # more of it than paramiko tells
    pieces: list[memoryview] = []
    sent = 0
    if wait and not inner.out_window_size:
        inner.transport.packetizer.awaited.set()  # the word that it takes more
    with inner.lock:
        while sent < len(data) and (inner.out_window_size or (wait and not pieces)):
            size = inner._wait_for_send_window(len(data) - sent)
            if not size:
                raise OSError("the channel was closed")
            pieces.append(data[sent : sent + size])
            sent += size
        if not sent and inner.closed:
            raise OSError("the channel was closed")
    if pieces:
        inner.transport._send_user_message(Run(inner.remote_chanid, pieces))
    return sent
