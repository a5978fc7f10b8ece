"""paramiko's SSH as both of our ends use it: quick to import, quiet, few round trips, AES-GCM first.

What may live here: whatever has to reach into paramiko, and its import, which
all others do from here.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from typing import Any

if "paramiko" not in sys.modules and "invoke" not in sys.modules:
    # paramiko asks for `invoke` to run the commands of `Match exec`, which we never do, and copes with its
    # absence. It drags in asyncio and unittest.mock: a third of the time the import takes.
    sys.modules["invoke"] = None  # type: ignore[assignment]
    try:
        import paramiko
    finally:
        del sys.modules["invoke"]
import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import MSG_CHANNEL_DATA, cMSG_CHANNEL_REQUEST
from paramiko.packet import Packetizer

__all__ = ["Auth", "Transport", "paramiko", "request_sftp"]

_READ_AHEAD = 64 * 1024
_PRIVATE = "_Packetizer__"

# Without a handler of its own, the standard library prints paramiko's errors, tracebacks too, on stderr.
_logger = logging.getLogger("paramiko")
_logger.addHandler(logging.NullHandler())
if _logger.level == logging.NOTSET:
    _logger.setLevel(logging.CRITICAL + 1)


class Stream(socket.socket):
    """A connected socket that reads ahead: paramiko reads each packet in two or three small pieces."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(fileno=connected.detach())
        self._ahead = b""
        self._at = 0
        self.greeting = b""  # the first bytes that came
        self.patience: float | None = None  # seconds for which it may take no data; None: for ever
        self._stuck_since: float | None = None

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self._at >= len(self._ahead):
            self._ahead = super().recv(max(size, _READ_AHEAD), flags)
            self._at = 0
            self.greeting = self.greeting or self._ahead[:256]
        data = self._ahead[self._at : self._at + size]
        self._at += len(data)
        return data

    def take_packet(self, tag_size: int) -> bytes | None:
        """The next SSH packet, if it is here as a whole: its length in the clear, the rest, and its tag."""
        here = self._at
        after = here + 4 + int.from_bytes(self._ahead[here : here + 4]) + tag_size
        if after > len(self._ahead):
            return None
        self._at = after
        return self._ahead[here:after]

    def send(self, *data: Any) -> int:
        """Send some of ``data``. paramiko tries again after each timeout, for ever."""
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


class Packets(Packetizer):
    """Reads a run of packets that have arrived as one, where they are AES-GCM and channel data.

    A server answers many small requests with as many small packets, at whose
    reading paramiko spends more time than it takes to decrypt them.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._stream = stream
        self._next: tuple[int, paramiko.Message] | None = None  # read already, behind a run of data

    def read_message(self) -> tuple[int, paramiko.Message]:
        """The type and content of the next packet, or of several that say the same as one."""
        inner = vars(self)  # paramiko keeps all of it private
        plain = inner.get(f"{_PRIVATE}aead_in") and not inner[f"{_PRIVATE}compress_engine_in"]
        if plain and self._next is None and not self.need_rekey():
            data = self._read_run(inner)
            if data is not None:
                return MSG_CHANNEL_DATA, data
        if self._next is not None:
            following, self._next = self._next, None
            return following
        kind, message = super().read_message()
        return kind, message

    def _read_run(self, inner: dict[str, Any]) -> paramiko.Message | None:
        """Packets that are here as a whole: the data of one channel, up to the first of another kind.

        That one becomes the next message; None where it comes first, or none is whole.
        """
        stream = self._stream
        decrypt = inner[f"{_PRIVATE}block_engine_in"].decrypt
        tag_size = inner[f"{_PRIVATE}mac_size_in"]
        fixed, counter = (iv := inner[f"{_PRIVATE}iv_in"])[:4], int.from_bytes(iv[4:])
        channel: bytes | None = None
        pieces: list[bytes] = []
        size = count = 0
        while (packet := stream.take_packet(tag_size)) is not None:
            plain = decrypt(fixed + counter.to_bytes(8), packet[4:], packet[:4])  # RFC 5647, section 7
            counter += 1
            count += 1
            size += len(packet)
            end = len(plain) - plain[0]
            if plain[1] == MSG_CHANNEL_DATA and (channel is None or plain[2:6] == channel):
                channel = plain[2:6]
                pieces.append(plain[10:end])
                continue
            following = paramiko.Message(plain[2:end])
            following.seqno = inner[f"{_PRIVATE}sequence_number_in"] + count - 1 & 0xFFFFFFFF
            self._next = plain[1], following
            break
        if not count:
            return None
        inner[f"{_PRIVATE}iv_in"] = fixed + counter.to_bytes(8)
        self._account(inner, count, size)
        if channel is None:
            return None
        data = b"".join(pieces)
        return paramiko.Message(channel + len(data).to_bytes(4) + data)

    def _account(self, inner: dict[str, Any], count: int, size: int) -> None:
        """What paramiko counts, and new keys after as many packets and bytes as it takes."""
        inner[f"{_PRIVATE}sequence_number_in"] = inner[f"{_PRIVATE}sequence_number_in"] + count & 0xFFFFFFFF
        inner[f"{_PRIVATE}received_packets"] += count
        inner[f"{_PRIVATE}received_bytes"] += size
        many = inner[f"{_PRIVATE}received_packets"] >= self.REKEY_PACKETS
        if many or inner[f"{_PRIVATE}received_bytes"] >= self.REKEY_BYTES:
            self._trigger_rekey()  # type: ignore[attr-defined]


class Transport(paramiko.Transport):
    """A transport that never writes to stderr, leaves no timer behind and prefers AES-GCM.

    Only the order of ciphers differs from paramiko's: with its own it picks CTR
    and HMAC, at twice the CPU. Post-quantum key exchange stays first where both
    ends have it, then curve25519: one round trip either way.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.stream = Stream(connected)
        super().__init__(self.stream)
        self.packetizer = Packets(self.stream)
        options = self.get_security_options()
        options.ciphers = tuple(sorted(options.ciphers, key=lambda name: "gcm" not in name))

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Host key algorithms to ask for. paramiko's own adds certificates, which nobody here checks."""
        return tuple(self.get_security_options().key_types)

    def run(self) -> None:
        """The reading thread. What goes wrong in it is the waiting thread's to tell."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - a defect of paramiko's, and a traceback of a thread helps nobody
            self.saved_exception = error
            self.active = False
            self.packetizer.close()
        finally:
            # Its timer is no daemon: after a failed handshake the process would hang about for 15 s.
            self.packetizer.complete_handshake()
            if self.completion_event is not None:
                self.completion_event.set()


class Auth(AuthHandler):
    """The client's side of authentication, one round trip shorter, and it knows what the server allows.

    paramiko asks for the userauth service before every attempt and waits for the
    answer, which says nothing: a server that refuses disconnects (RFC 4253,
    section 10). Here the first attempt travels along with the question.
    """

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.allowed: tuple[str, ...] | None = None  # None: it has not said yet
        self._asked = False  # for the service
        self._waits = False  # the first attempt waits for the answer
        transport.auth_handler = self

    def may(self, method: str) -> bool:
        """Whether ``method`` is worth trying, as far as the server has said."""
        return self.allowed is None or method in self.allowed

    def _request_auth(self) -> None:
        if not self._asked:
            # An RSA key must wait: which signatures the server takes comes just before its answer.
            # Set before asking, as the answer is read by another thread.
            self._asked = True
            self._waits = self.private_key is not None and "rsa" in self.private_key.get_name()
            super()._request_auth()  # type: ignore[misc]
            if self._waits:
                return
        self._send_attempt()

    def _parse_service_accept(self, _message: paramiko.Message) -> None:
        if self._waits:
            self._waits = False
            self._send_attempt()

    def _send_attempt(self) -> None:
        answer = paramiko.Message()
        answer.add_string("ssh-userauth")
        answer.rewind()
        super()._parse_service_accept(answer)  # type: ignore[misc]

    def _parse_userauth_failure(self, message: paramiko.Message) -> None:
        self.allowed = tuple(message.get_list())
        message.rewind()
        super()._parse_userauth_failure(message)  # type: ignore[misc]


def request_sftp(channel: paramiko.Channel) -> None:
    """Ask for SFTP on a fresh channel, without waiting for the answer.

    ``channel.event_ready`` tells when it was granted; when refused, the channel is closed.
    """
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("subsystem")
    message.add_boolean(True)
    message.add_string("sftp")
    channel._event_pending()  # type: ignore[attr-defined]
    channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]
