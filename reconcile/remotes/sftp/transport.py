"""paramiko's SSH as both of our ends use it: quiet, few round trips, AES-GCM first.

What may live here: what reaches into paramiko's transport and its authentication.
"""

from __future__ import annotations

import socket
import threading

from reconcile.remotes.sftp.dial import HELLO
from reconcile.remotes.sftp.packets import Packets, Stream
from reconcile.remotes.sftp.ssh import MSG_CHANNEL_WINDOW_ADJUST, AuthHandler, cMSG_CHANNEL_REQUEST, paramiko


def _take_more(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """The other end takes more: told to whoever waits for one of several channels."""
    channel._window_adjust(message)  # type: ignore[attr-defined]
    arrival: threading.Event | None = channel.get_transport().arrival  # type: ignore[attr-defined]
    if arrival is not None:
        arrival.set()


class Transport(paramiko.Transport):
    """A transport that never writes to stderr, leaves no timer behind and prefers AES-GCM.

    Only the order of ciphers differs from paramiko's: with its own it picks CTR
    and HMAC, at twice the CPU. Post-quantum key exchange stays first where both
    ends have it, then curve25519: one round trip either way.
    """

    _channel_handler_table = {  # noqa: RUF012 - as paramiko has it
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_WINDOW_ADJUST: _take_more,
    }
    _PROTO_ID, _CLIENT_ID = HELLO.decode().strip().split("-", 2)[1:]  # what it tells the other end

    def __init__(self, connected: socket.socket, *, greeted: bool = False) -> None:
        self.stream = Stream(connected, HELLO if greeted else b"")
        super().__init__(self.stream)
        self.packets = self.packetizer = Packets(self.stream)
        options = self.get_security_options()
        options.ciphers = tuple(sorted(options.ciphers, key=lambda name: "gcm" not in name))
        self.arrival: threading.Event | None = None  # set when a channel takes more

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
