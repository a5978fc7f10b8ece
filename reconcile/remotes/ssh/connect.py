"""From a target to an open SFTP channel by paramiko: find, dial, negotiate, check the host, prove ourselves.

What may live here: that story, and what to tell the user where it ends early. The other way is ``client``.
Round trips: one each for TCP, the versions, the key exchange, the proof (one
more per key refused) and the channel. The request for SFTP travels with what is
said first on the channel.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from reconcile.core.errors import TurnedAway, Unreachable
from reconcile.remotes.ssh import known_hosts
from reconcile.remotes.ssh.common import nothing_in_common
from reconcile.remotes.ssh.config import find_settings
from reconcile.remotes.ssh.lines import PARAMIKO, no_channel, no_subsystem
from reconcile.remotes.ssh.settings import Settings, Strict
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.remotes.ssh.tcp import dial
from reconcile.remotes.words import one_line

if TYPE_CHECKING:  # paramiko takes its time to import: meanwhile the server starts up
    from concurrent.futures import Future

    import paramiko

    from reconcile.remotes.ssh.secret import Secrets
    from reconcile.remotes.ssh.transport import Transport

T = TypeVar("T")

_LOOK_UP = 0.2  # seconds: a signal that comes just before a wait begins is heard only after it
# What sshd says instead of its version when it is busy.
_NOT_NOW = (b"MaxStartups", b"Not allowed at this time")
_NO_SSH = (b"HTTP/", b"220", b"<", b"* OK", b"+OK")  # web, FTP, SMTP, IMAP, POP: those won't learn it

CALLS = 4  # to a server that hangs up after it has refused some keys, while there are others: MaxAuthTries
KEEPALIVE = 30  # seconds of silence, so that no router in between forgets the connection
PATIENCE = 60.0  # seconds for which a connection may take no data


class Arrival(threading.Event):
    """Something has come on one of several channels."""

    def clear(self) -> None:
        """A channel has been read to its end: that says nothing of the others."""

    def wait_once(self, seconds: float) -> None:
        """Until it is set, or for so long. What came since is to be looked for after this."""
        self.wait(seconds)
        super().clear()


class Channel:
    """See ``lines.Channel``. The server's answer and our first bytes cross on the way."""

    def __init__(self, channel: paramiko.Channel, transport: Transport, where: str) -> None:
        from reconcile.remotes.ssh.library import paramiko
        from reconcile.remotes.ssh.packets import send_some

        self._broken = (paramiko.SSHException, EOFError)  # what is raised in the middle of a dying connection
        self._send_some = send_some
        self._channel = channel
        self._transport = transport
        self._awaited = transport.packets.awaited
        self._where = where
        self._heard = False
        self.settimeout = channel.settimeout
        self.close = channel.close

    def send(self, data: memoryview, *, wait: bool) -> int:
        """Send what is taken now, with ``wait`` some at least; returns how many bytes.

        Raises OSError or TimeoutError, Unreachable without SFTP.
        """
        try:
            return self._send_some(self._channel, data, wait=wait)
        except OSError:
            self._check_granted()
            raise
        except self._broken as error:
            raise ConnectionError(one_line(str(error)) or "it took no more data") from error

    def recv(self, nbytes: int) -> bytes:
        """Up to ``nbytes``, empty at the end; raises OSError or TimeoutError, Unreachable without SFTP."""
        self._awaited.set()
        try:
            data: bytes = self._channel.recv(nbytes)
        except self._broken as error:  # it also sends: how much more it can take
            raise ConnectionError(one_line(str(error)) or "it took no more data") from error
        finally:
            self._awaited.clear()
        if not data:
            self._check_granted()
        self._heard = True
        return data

    def recv_ready(self) -> bool:
        """Whether ``recv`` would return at once."""
        channel = self._channel
        return channel.recv_ready() or bool(channel.eof_received) or channel.closed

    @property
    def window(self) -> int:
        """Bytes that the server takes right now: all that it ever does at a time, if nothing is under way."""
        return int(self._channel.out_window_size)

    def tell(self, arrival: Arrival) -> None:
        """Have ``arrival`` set when something comes, or nothing more."""
        self._channel.in_buffer.set_event(arrival)

    def _check_granted(self) -> None:
        """A channel that ends before it said a word, on a connection that lives, was refused."""
        if not self._heard and self._transport.is_active():
            raise no_subsystem(self._where) from None


class Connection:
    """See ``lines.Connection``."""

    transport_name = PARAMIKO

    def __init__(self, transport: Transport, settings: Settings, timeout: float, why: str) -> None:
        self.transport = transport
        self.settings = settings
        self.server_version: str = transport.remote_version
        self.where = str(settings)
        self.why = why
        self._timeout = timeout
        self._arrival = Arrival()
        self.channel = self.open_channel()

    @property
    def agreed(self) -> Mapping[str, str]:
        """What the two ends agreed on."""
        return self.transport.agreed

    def open_channel(self) -> Channel:
        """One more SFTP channel; raises Unreachable if the server grants none."""
        from reconcile.remotes.ssh.library import paramiko
        from reconcile.remotes.ssh.transport import request_sftp

        try:
            channel = self.transport.open_session(timeout=self._timeout)
            request_sftp(channel)
        except (paramiko.SSHException, OSError, EOFError) as error:
            detail = error.text if isinstance(error, paramiko.ChannelException) else str(error)
            raise no_channel(self.where, detail or "it hung up") from None
        return Channel(channel, self.transport, self.where)

    @property
    def has_only_lost_its_channel(self) -> bool:
        """Whether the first channel has ended, and the connection lives."""
        return self.channel.recv_ready() and self.transport.is_active()

    def renew_channel(self) -> Channel:
        """Another in the place of the first."""
        self.channel.close()
        self.channel = self.open_channel()
        return self.channel

    def ask_for_more(self, count: int, greet: Callable[[Channel], T]) -> list[Future[T | None]]:
        """Up to ``count`` more, asked for at once and in the background: what ``greet`` makes of each.

        None stands for one that is refused. They are to be waited for together with the first: see ``wait``.
        """
        from concurrent.futures import ThreadPoolExecutor

        def ask() -> T | None:
            try:
                channel = self.open_channel()
                channel.tell(self._arrival)
                return greet(channel)
            except Unreachable:
                return None

        self.channel.tell(self._arrival)
        self.transport.arrival = self._arrival
        self.transport.packets.awaited.set()
        pool = ThreadPoolExecutor(count)
        asked = [pool.submit(ask) for _ in range(count)]
        pool.shutdown(wait=False)
        return asked

    def wait(self, seconds: float) -> None:
        """Until something may have come on one of several channels, or for so long."""
        awaited = self.transport.packets.awaited
        awaited.set()
        self._arrival.wait_once(seconds)
        awaited.clear()

    def close(self) -> None:
        """Hang up. May be called twice."""
        self.transport.close()


def connect(
    target: SshTarget,
    login: Login,
    say: Callable[[str], None],
    patience: float = PATIENCE,
    secrets: Secrets | None = None,
    settings: Settings | None = None,
    why: str = "",
) -> Connection:
    """See ``reach.reach``. ``settings`` are found by the target where they are not given."""
    settings = settings or find_settings(target, login, say)
    if secrets is None:
        from reconcile.remotes.ssh.secret import Secrets

        secrets = Secrets(login)
    try:
        for _ in range(CALLS - 1):
            refused = len(secrets.refused)
            try:
                return _connect(target, settings, login, say, patience, secrets, why)
            except TurnedAway:
                if (more := len(secrets.refused) - refused) <= 0:
                    raise
            say(
                f"{settings}, hung up after it had refused {more} of our keys: called once more, to try "
                "others. To spare that name the right one: --identity, or IdentityFile in your SSH config."
            )
        return _connect(target, settings, login, say, patience, secrets, why)
    except Unreachable as error:
        if settings.reservation:
            raise type(error)(f"{error}{settings.reservation}") from None
        raise


def _connect(
    target: SshTarget,
    settings: Settings,
    login: Login,
    say: Callable[[str], None],
    patience: float,
    secrets: Secrets,
    why: str,
) -> Connection:
    started = time.monotonic() - secrets.paused
    timeout = settings.connect_timeout or login.timeout
    known = known_hosts.look_up(settings, login, secrets.read)
    hang_up: Callable[[], None] | None = None
    if settings.proxy is None:
        sock = dial(settings.host, settings.port, timeout)
    else:
        from reconcile.remotes.ssh.client.way import dial_by_way

        sock, hang_up = dial_by_way(target, settings, login, secrets, say)
    try:
        from reconcile.remotes.ssh.auth import prove
        from reconcile.remotes.ssh.transport import Transport
        from reconcile.remotes.ssh.trust import check

        transport = Transport(sock, greeted=True)
    except BaseException:
        sock.close()
        if hang_up is not None:
            hang_up()
        raise
    transport.hang_up = hang_up

    def seconds_left() -> float:
        return started + secrets.paused + timeout - time.monotonic()

    try:
        transport.use_compression(login.compress)
        negotiate(transport, known, settings, max(seconds_left(), 0.1))
        key = transport.host_key
        assert key is not None  # negotiated
        check(
            known,
            key.get_name(),
            key.asbytes(),
            accept_new=login.accept_new_host_key or settings.strict_host_key == Strict.ACCEPT_NEW,
            say=say,
            confirm=None if settings.strict_host_key == Strict.YES else secrets.confirm,
        )
        prove(transport, settings, login, secrets, seconds_left)
        transport.stream.patience = patience
        transport.set_keepalive(KEEPALIVE)
        return Connection(transport, settings, max(seconds_left(), 0.1), why)
    except BaseException:
        transport.close()
        raise


def negotiate(transport: Transport, known: known_hosts.Known, settings: Settings, seconds: float) -> None:
    """Versions and keys. Raises Unreachable."""
    from paramiko.ssh_exception import IncompatiblePeer

    options = transport.get_security_options()
    options.key_types = known.sort_algorithms(options.key_types)
    transport.banner_timeout = transport.handshake_timeout = seconds + 1  # ours comes first, and tells why
    settled = threading.Event()
    transport.start_client(event=settled)
    give_up = time.monotonic() + seconds
    while not (in_time := settled.wait(_LOOK_UP)) and time.monotonic() < give_up:
        pass
    if in_time and transport.is_active():
        return
    error = transport.get_exception()
    if isinstance(error, IncompatiblePeer):
        raise nothing_in_common(str(settings), transport.mismatch, str(error))
    greeting = transport.stream.greeting
    if not greeting:
        what = "closed the connection without a word" if in_time else f"said nothing in {seconds:.0f} s"
        raise Unreachable(
            f"{settings}, took the call but {what}. It may be no SSH server, or one that turns us away: "
            "too many connections, or a blocked address."
        )
    if not transport.remote_version:
        shown = one_line(greeting.partition(b"\n")[0].decode("ascii", "backslashreplace").strip(), 60)
        if any(words in greeting for words in _NOT_NOW):
            raise Unreachable(f'{settings}, turns us away for now: it said "{shown}".')
        lasting = TurnedAway if greeting.startswith(_NO_SSH) else Unreachable
        raise lasting(f'{settings}, is no SSH server: it said "{shown}". Check the port (--port).')
    reason = f": {one_line(str(error))}" if error is not None and str(error) else ""
    raise Unreachable(
        f"{settings}, broke off while keys were exchanged{reason}."
        if in_time
        else f"{settings}, did not finish the exchange of keys within {seconds:.0f} s."
    )
