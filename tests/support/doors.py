"""SSH servers that let in, or don't, in odd ways: see ``Door``. None of them has SFTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.server import InteractiveQuery

from reconcile.remotes.ssh.transport import Transport


@dataclass
class Door(paramiko.ServerInterface):
    """Who may come in.

    ``dialogue``: hidden questions with the right answers, asked one after the other.
    ``password``: None: it is taken for wrong, listed or not. With ``wants_both`` the dialogue comes after it.
    """

    allowed: str = "password"
    password: str | None = None
    dialogue: Sequence[tuple[str, str]] = ()
    wants_both: bool = False
    tried: list[str] = field(default_factory=list)  # ways in
    answers: list[str] = field(default_factory=list)  # what was said in the dialogue
    _at: int = 0

    def get_allowed_auths(self, _username: str) -> str:
        return self.allowed

    def check_auth_none(self, _username: str) -> int:
        return AUTH_FAILED

    def check_auth_password(self, _username: str, password: str) -> int:
        self.tried.append("password")
        if password != self.password:
            return AUTH_FAILED
        if self.wants_both:
            self.allowed = "keyboard-interactive"
            return AUTH_PARTIALLY_SUCCESSFUL
        return AUTH_SUCCESSFUL

    def check_auth_interactive(self, _username: str, _submethods: str | bytes) -> int | InteractiveQuery:
        self.tried.append("dialogue")
        self._at = 0
        return self._ask() if self.dialogue else AUTH_FAILED

    def check_auth_interactive_response(self, responses: list[str]) -> int | InteractiveQuery:
        self.answers += responses
        if responses != [self.dialogue[self._at][1]]:
            return AUTH_FAILED
        self._at += 1
        return self._ask() if self._at < len(self.dialogue) else AUTH_SUCCESSFUL

    def _ask(self) -> InteractiveQuery:
        return InteractiveQuery("", "", (self.dialogue[self._at][0], False))

    def check_channel_request(self, _kind: str, _chanid: int) -> int:
        return OPEN_SUCCEEDED


@contextmanager
def doorkeeper(door: paramiko.ServerInterface) -> Iterator[int]:
    """Serves one connection after the other; yields the port."""
    key = paramiko.ECDSAKey.generate()
    transports: list[Transport] = []

    def serve(sock: socket.socket) -> None:
        transport = Transport(sock)
        transport.add_server_key(key)
        transport.start_server(event=threading.Event(), server=door)
        transports.append(transport)

    with answering(serve) as port:
        yield port
    for transport in transports:
        transport.close()


@contextmanager
def dribbling(path: Path, said: bytes) -> Iterator[None]:
    """A socket at ``path`` that takes a call and says a byte of ``said`` now and then."""
    done = threading.Event()

    def answer() -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with sock, suppress(OSError):
            for byte in said:
                sock.send(bytes([byte]))
                if done.wait(0.02):
                    return
            done.wait()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def dropping_first(port: int) -> Iterator[int]:
    """Hangs up on the first call, as a host may that is busy, and passes the others on to ``port``."""
    calls = 0
    ends: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def pass_on(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def answer(sock: socket.socket) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            sock.close()
            return
        there = socket.create_connection(("127.0.0.1", port))
        ends.extend((sock, there))
        for pair in ((sock, there), (there, sock)):
            threads.append(threading.Thread(target=pass_on, args=pair))
            threads[-1].start()

    with answering(answer) as front:
        yield front
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for end in ends:
        end.close()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that does ``answer`` to each connection; yields the port."""

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            answer(sock)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
