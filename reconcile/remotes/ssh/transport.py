"""paramiko's SSH as both of our ends use it: quiet, few round trips, AES-GCM first.

What may live here: what reaches into paramiko's transport and its authentication.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence

from reconcile.remotes.ssh.common import Mismatch
from reconcile.remotes.ssh.inbox import Inbox
from reconcile.remotes.ssh.library import (
    MSG_CHANNEL_WINDOW_ADJUST,
    AuthHandler,
    cMSG_CHANNEL_REQUEST,
    cMSG_USERAUTH_REQUEST,
    paramiko,
)
from reconcile.remotes.ssh.packets import Packets, Stream
from reconcile.remotes.ssh.tcp import HELLO
from reconcile.remotes.words import one_line

_CURVE, _OLD_CURVE = "curve25519-sha256", "curve25519-sha256@libssh.org"
_NO_METHODS = ("ext-info-", "kex-strict-")  # among those to exchange keys
_MOST_QUESTIONS = 16  # at once, in a dialogue
_TICK = 0.1  # seconds after which a wait looks up: is the server still there?


def _take_more(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """The other end takes more: told to whoever waits for one of several channels."""
    channel._window_adjust(message)  # type: ignore[attr-defined]
    arrival: threading.Event | None = channel.get_transport().arrival  # type: ignore[attr-defined]
    if arrival is not None:
        arrival.set()


def _with_alias(methods: Mapping[str, object]) -> dict[str, object]:
    return {**methods, **({_CURVE: methods[_OLD_CURVE]} if _OLD_CURVE in methods else {})}


def _next_to_it(names: Sequence[str]) -> tuple[str, ...]:
    """``names`` with the alias before its older name."""
    pairs = ((_CURVE, name) if name == _OLD_CURVE else (name,) for name in names if name != _CURVE)
    return tuple(name for pair in pairs for name in pair)


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
    # RFC 8731 gave a name of its own to what libssh had begun; some servers know only that.
    _kex_info = _with_alias(paramiko.Transport._kex_info)  # type: ignore[attr-defined]
    _preferred_kex = _next_to_it(paramiko.Transport._preferred_kex)  # type: ignore[attr-defined]
    _PROTO_ID, _CLIENT_ID = HELLO.decode().strip().split("-", 2)[1:]  # what it tells the other end

    def __init__(self, connected: socket.socket, *, greeted: bool = False) -> None:
        self.stream = Stream(connected, HELLO if greeted else b"")
        super().__init__(self.stream)
        self.hang_up: Callable[[], None] | None = None  # ends what leads there, if the way is not direct
        self.packets = self.packetizer = Packets(self.stream)
        options = self.get_security_options()
        options.ciphers = tuple(sorted(options.ciphers, key=lambda name: "gcm" not in name))
        self.mismatch: Mismatch | None = None  # why no way of talking was found
        self.key_exchange = ""  # that was agreed on
        self.farewell = ""  # what the other end said when it hung up
        self.arrival: threading.Event | None = None  # set when a channel takes more

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Host key algorithms to ask for. paramiko's own adds certificates, which nobody here checks."""
        return tuple(self.get_security_options().key_types)

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        message.get_int()  # a code, which says less
        self.farewell = message.get_binary().decode(errors="backslashreplace")

    def close(self) -> None:
        """Hang up. May be called twice."""
        super().close()
        if self.hang_up is not None:
            self.hang_up()

    @property
    def agreed(self) -> dict[str, str]:
        """What the two ends agreed on, once they have."""
        inner = vars(self)
        key = inner.get("host_key_type") or ""
        return {
            "key exchange": self.key_exchange,
            "host key": key,
            "cipher": inner.get("local_cipher", ""),
            "MAC": inner.get("local_mac", ""),
            "compression": inner.get("local_compression", ""),
        }

    def _parse_kex_init(self, message: paramiko.Message) -> None:
        try:
            super()._parse_kex_init(message)  # type: ignore[misc]
        except paramiko.ssh_exception.IncompatiblePeer:
            message.rewind()
            offered = super()._really_parse_kex_init(message)  # type: ignore[misc]
            self.mismatch = self._find_mismatch(offered)
            raise
        message.rewind()
        offered = super()._really_parse_kex_init(message)  # type: ignore[misc]
        ways = self.get_security_options().kex
        self.key_exchange = next((name for name in ways if name in offered["kex_algo_list"]), "")

    def _find_mismatch(self, offered: Mapping[str, Sequence[str]]) -> Mismatch | None:
        """What the other end offers where none of it is ours."""
        options = self.get_security_options()
        for setting, what, theirs, ours in (
            ("KexAlgorithms", "ways to exchange keys", "kex_algo_list", options.kex),
            ("HostKeyAlgorithms", "types of host key", "server_key_algo_list", options.key_types),
            ("Ciphers", "ciphers", "server_encrypt_algo_list", options.ciphers),
            ("MACs", "MACs", "server_mac_algo_list", options.digests),
        ):
            names = [name for name in offered[theirs] if name and not name.startswith(_NO_METHODS)]
            if not set(names) & set(ours):
                return Mismatch(setting, what, tuple(names), tuple(ours))
        return None

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
        self.partly = False  # the last attempt was accepted, and the server wants another proof
        self.unsigned = (
            False  # the last attempt was not made: its key does not sign, as an agent may refuse to
        )
        self.would_take = False  # the key that was asked about last
        self._doubted: tuple[str, bytes] | None = None  # type and content of a key to ask about
        self._asks = False  # about it, now
        self._asked = False  # for the service
        self._waits = False  # the first attempt waits for the answer
        transport.auth_handler = self

    def wait(self, answered: threading.Event, seconds_left: Callable[[], float]) -> bool:
        """Until an attempt is answered. False: it was not in time, or the server hung up.

        ``seconds_left`` is asked again and again: while the user is typing time stands still.
        """
        while not answered.wait(_TICK):
            if seconds_left() <= 0 or not self.transport.is_active():
                return False
        return self.transport.is_active()

    def may(self, method: str) -> bool:
        """Whether ``method`` is worth trying, as far as the server has said."""
        return self.allowed is None or method in self.allowed

    def ask_about(self, user: str, kind: str, public: bytes, answered: threading.Event) -> None:
        """Whether the server would take a key, before anybody takes the trouble to prove it: RFC 4252, 7."""
        self.auth_event, self.auth_method, self.username = answered, "publickey", user
        self.would_take = False
        self._doubted = kind, public
        self._request_auth()

    def _request_auth(self) -> None:
        if not self._asked:
            # An RSA key must wait: which signatures the server takes comes just before its answer.
            # Set before asking, as the answer is read by another thread, and may be by the time we go on.
            self._asked = True
            self._waits = waits = "rsa" in self._kind()
            super()._request_auth()  # type: ignore[misc]
            if waits:
                return
        self._send_attempt()

    def _kind(self) -> str:
        """The type of the key that is at stake."""
        if self._doubted is not None:
            return self._doubted[0]
        return "" if self.private_key is None else str(self.private_key.get_name())

    def _parse_service_accept(self, _message: paramiko.Message) -> None:
        if not self._waits:
            return
        self._waits = False
        try:
            self._send_attempt()
        except (
            paramiko.SSHException,
            OSError,
            EOFError,
        ):  # an agent won't sign: not the line's fault
            self.unsigned = True
            if self.auth_event is not None:
                self.auth_event.set()

    def _send_attempt(self) -> None:
        if self._doubted is not None:
            self._send_question(*self._doubted)
            self._doubted = None
            return
        answer = paramiko.Message()
        answer.add_string("ssh-userauth")
        answer.rewind()
        super()._parse_service_accept(answer)  # type: ignore[misc]

    def _send_question(self, kind: str, public: bytes) -> None:
        self._asks = True
        message = paramiko.Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        message.add_string(self.username or "")
        message.add_string("ssh-connection")
        message.add_string("publickey")
        message.add_boolean(False)
        message.add_string(self._finalize_pubkey_algorithm(kind))  # type: ignore[attr-defined]
        message.add_string(public)
        self.transport._send_message(message)  # type: ignore[attr-defined]

    def _parse_userauth_info_request(self, message: paramiko.Message) -> None:
        if self._asks and self.auth_event is not None:  # "I would" has the same number
            self._asks, self.would_take = False, True
            self.auth_event.set()
            return
        for _ in range(3):  # title, instructions, language
            message.get_binary()
        if (count := message.get_int()) > _MOST_QUESTIONS:  # paramiko would make room for all of them
            raise paramiko.SSHException(f"it asks {count} questions at once")
        message.rewind()
        super()._parse_userauth_info_request(message)  # type: ignore[misc]

    def _parse_userauth_failure(self, message: paramiko.Message) -> None:
        self._asks = False
        self.allowed = tuple(map(one_line, message.get_list()))
        self.partly = message.get_boolean()
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
    with channel.lock:  # it may have been closed by now; nothing came, as nothing was asked for
        channel.in_buffer = inbox = Inbox()  # type: ignore[assignment]  # all that is used of the other
        if channel.closed or channel.eof_received:
            inbox.close()
    channel._event_pending()  # type: ignore[attr-defined]
    channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]
