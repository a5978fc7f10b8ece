"""The embedded SFTP server, for trying things out, for the demo and for tests. Not for production.

What may live here: listening, who may come in, and the ``serve`` command. What is
said on a channel is in ``session``, what it does to files in ``files``.
"""

from __future__ import annotations

import hmac
import io
import os
import secrets
import shlex
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reconcile.core.errors import UsageError
from reconcile.remotes.ssh import known_hosts
from reconcile.remotes.ssh.library import paramiko
from reconcile.remotes.ssh.tcp import tune
from reconcile.remotes.ssh.transport import Transport
from reconcile.serve.files import Files
from reconcile.serve.session import Session

LOOPBACK = "127.0.0.1"
PASSWORD_VARIABLE = "RECONCILE_PASSWORD"  # noqa: S105 - a name, suggested to the user


class _Door(paramiko.ServerInterface):
    """Who may come in, and that they may do SFTP only."""

    def __init__(self, user: str | None, password: str | None, keys: frozenset[bytes]) -> None:
        self._user = user
        self._password = password
        self._keys = keys

    def get_allowed_auths(self, _username: str) -> str:
        """The ways in."""
        return ",".join(["publickey"] * bool(self._keys) + ["password"] * (self._password is not None))

    def check_auth_password(self, username: str, password: str | bytes) -> int:
        """Let in with the password, compared in constant time; bytes are no UTF-8, so never right."""
        given = password if isinstance(password, bytes) else password.encode()
        right = self._password is not None and hmac.compare_digest(given, self._password.encode())
        return self._verdict(username, right)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Let in with one of the authorized keys; paramiko checks the signature."""
        return self._verdict(username, key.asbytes() in self._keys)

    def _verdict(self, username: str, right: bool) -> int:
        known = self._user is None or hmac.compare_digest(username.encode(), self._user.encode())
        return paramiko.common.AUTH_SUCCESSFUL if right and known else paramiko.common.AUTH_FAILED

    def check_channel_request(self, kind: str, _chanid: int) -> int:
        """Sessions only."""
        if kind == "session":
            return paramiko.common.OPEN_SUCCEEDED
        return paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class Server:
    """An SFTP server that shows ``root`` and nothing else, in threads of its own.

    ``port`` 0 takes a free one. ``user`` None lets any name in. Without a password
    and keys a random password is made: see ``password``. ``authorized_keys`` and
    ``host_key_file`` are files; the latter is made if missing, and without one the
    key lasts as long as the server. ``interface`` and ``session`` may be subclasses of
    :class:`Files` and :class:`Session` that do wrong on purpose; ``banner`` is another name for it.
    Raises UsageError.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        host: str = LOOPBACK,
        port: int = 0,
        user: str | None = None,
        password: str | None = None,
        authorized_keys: str | os.PathLike[str] | None = None,
        host_key_file: str | os.PathLike[str] | None = None,
        interface: type[Files] = Files,
        session: type[Session] = Session,
        banner: str | None = None,
    ) -> None:
        self.root = os.path.realpath(root)
        if not os.path.isdir(self.root):
            raise UsageError(f"{os.fspath(root)} is not a directory")
        keys = frozenset[bytes]() if authorized_keys is None else _read_authorized(os.fspath(authorized_keys))
        if password is None and authorized_keys is None:
            password = secrets.token_urlsafe(12)
        self.user = user
        self.password = password
        self.host = host
        self._door = _Door(user, password, keys)
        self._host_key = _host_key(None if host_key_file is None else os.fspath(host_key_file))
        self._interface = interface
        self._session = session
        self._banner = banner
        self._sessions: set[Transport] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._listener = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            raise UsageError(f"can't listen on {host}, port {port}: {error.strerror}") from None
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"sftp-{self.port}", daemon=True)

    @property
    def host_key(self) -> tuple[str, str]:
        """Type and base64 of the public host key, as known_hosts has them."""
        return self._host_key.get_name(), self._host_key.get_base64()

    @property
    def host_key_fingerprint(self) -> str:
        """The same to compare by eye."""
        return known_hosts.fingerprint(self._host_key.asbytes())

    def start(self) -> Self:
        """Serve in the background until :meth:`close`."""
        self._thread.start()
        return self

    def close(self) -> None:
        """End all sessions and listen no more. May be called twice."""
        with self._lock:
            self._closing.set()
            sessions = list(self._sessions)
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
        except OSError:
            pass  # not connected, says macOS, and wakes it all the same
        self._listener.close()
        for session in sessions:
            session.close()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self._closing.is_set():
                    return
                continue  # the client was gone already
            tune(sock)
            session = Transport(sock)
            session.add_server_key(self._host_key)
            if self._banner is not None:
                session.local_version = f"SSH-2.0-{self._banner}"
            session.set_subsystem_handler("sftp", self._session, self._interface, self.root)
            with self._lock:
                if self._closing.is_set():
                    session.sock.close()
                    return
                self._sessions = {other for other in self._sessions if other.is_active()} | {session}
            session.start_server(event=threading.Event(), server=self._door)
            if self._closing.is_set():  # while it started
                session.close()


def serve(
    root: str,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    user: str | None = None,
    password_env: str | None = None,
    authorized_keys: str | None = None,
    state: str | None,
    say: Callable[[str], None],
) -> None:
    """Serve ``root`` until SIGINT or SIGTERM. Must run in the main thread.

    The host key is kept in the folder ``state``, if there is one. ``say`` is told how to connect;
    without credentials it is told a random password. Raises UsageError.
    """
    password = None
    if password_env is not None:
        password = os.environ.get(password_env, "").rstrip("\r\n")  # as the other end takes it
        if not password:
            raise UsageError(f"--password-env {password_env}: that variable is not set, or empty")
    server = Server(
        root,
        host=host,
        port=port,
        user=user or "reconcile",
        password=password,
        authorized_keys=authorized_keys,
        host_key_file=None if state is None else os.path.join(state, "serve_host_key"),
    )
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with server:
            for line in _introduce(server, made=password is None and authorized_keys is None):
                say(line)
            ended.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    say("stopped")


def _introduce(server: Server, *, made: bool) -> Iterable[str]:
    everywhere = server.host in ("", "0.0.0.0", "::")  # noqa: S104 - asked about, not bound to
    name = socket.gethostname() if everywhere else server.host
    url = f"sftp://{server.user}@{f'[{name}]' if ':' in name else name}:{server.port}/"
    yield f"serving {server.root} at {url} (for trying things out, not for production; Ctrl-C ends it)"
    if not _is_loopback(server.host):
        yield f"WARNING: others can reach {server.host}, and whoever logs in can change {server.root}"
    yield f"host key: {server.host_key[0]} {server.host_key_fingerprint}"
    way = "" if server.password is None else f" --password-env {PASSWORD_VARIABLE}"
    given = ""
    if made:
        yield f"password: {server.password}"
        given = f"{PASSWORD_VARIABLE}={shlex.quote(server.password or '')} "
    yield f"for example: {given}reconcile run SRC {url}{way} --accept-new-host-key"


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _read_authorized(path: str) -> frozenset[bytes]:
    """The keys of an authorized_keys file. Lines with options are left out: we could not honour them."""
    keys = set()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key = known_hosts.parse_key(line.split())
                if key is not None:
                    keys.add(key[1])
    except OSError as error:
        raise UsageError(f"can't read the authorized keys in {path}: {error.strerror}") from None
    if not keys:
        raise UsageError(f"{path} has no key that could be used; lines with options are not supported")
    return frozenset(keys)


def _host_key(path: str | None) -> paramiko.PKey:
    """The server's key from ``path``, made if there is none; without a path one for this time only."""
    try:
        if path is None:
            return _load_key(_make_key())
        try:
            with open(path, encoding="ascii") as file:
                return _load_key(file.read())
        except FileNotFoundError:
            pass
        folder = os.path.dirname(path)
        os.makedirs(folder or ".", mode=0o700, exist_ok=True)
        fd, fresh = tempfile.mkstemp(dir=folder)  # 0600
        with open(fd, "w", encoding="ascii") as file:
            file.write(_make_key())
        try:
            os.link(fresh, path)  # whole, and the first of two servers started at once wins
        except FileExistsError:
            pass
        finally:
            os.unlink(fresh)
        with open(path, encoding="ascii") as file:
            return _load_key(file.read())
    except (OSError, ValueError, paramiko.SSHException) as error:
        raise UsageError(
            f"can't use the host key {path}: {error}. Remove it, and a new one is made."
        ) from None


def _make_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()


def _load_key(text: str) -> paramiko.PKey:
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text))
