"""A TCP proxy on loopback that delays, counts and cuts. Runs in a process of its own.

As a library: ``with start_proxy(port, rtt=0.02) as proxy: … proxy.port … proxy.cut()``.
As a program, which prints its port and goes on until it is ended::

    python -m tests.support.proxy --listen 0 --to PORT --rtt 0.02

A delay is a queue of (deadline, chunk): every byte arrives rtt/2 later than it
would have, and as many may be under way as the two ends allow. So latency grows
and bandwidth does not shrink. The delay of a connection's TCP handshake is not
imitated.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

CHUNK = 256 * 1024  # bytes taken from a socket at once
UNDER_WAY = 64 * 1024 * 1024  # bytes held per direction before the sender is made to wait
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() drops what is unsent and sends a RST

Direction = Literal["up", "down", "both"]


@dataclass(frozen=True, slots=True)
class Counts:
    """What went through: bytes from the client (``up``) and to it (``down``), connections ever and now."""

    up: int
    down: int
    connections: int
    open: int


class Lane:
    """One direction of one connection."""

    def __init__(self, name: str, source: socket.socket, sink: socket.socket) -> None:
        self.name = name
        self.source = source
        self.sink = sink
        self.queue: deque[tuple[float, memoryview]] = deque()  # (deadline, chunk); an empty chunk is the end
        self.size = 0  # bytes in the queue
        self.blocked = False  # the sink took less than it was given
        self.ended = False  # the source has said its last byte
        self.done = False  # and the sink knows

    def take(self, chunk: bytes, deadline: float) -> None:
        """Put a chunk on its way."""
        self.ended = not chunk
        self.queue.append((deadline, memoryview(chunk)))
        self.size += len(chunk)

    def deliver(self, now: float) -> None:
        """Send what is due, as far as the sink takes it. Raises OSError if it is gone."""
        self.blocked = False
        while self.queue and self.queue[0][0] <= now:
            deadline, chunk = self.queue[0]
            if not chunk:
                self.queue.popleft()
                self.sink.shutdown(socket.SHUT_WR)
                self.done = True
                return
            try:
                sent = self.sink.send(chunk)
            except BlockingIOError:
                sent = 0
            self.size -= sent
            if sent < len(chunk):
                self.queue[0] = (deadline, chunk[sent:])
                self.blocked = True
                return
            self.queue.popleft()


class Relay:
    """The proxy itself: one thread, one loop."""

    def __init__(self, listen: int, to: int, rtt: float) -> None:
        self.listener = socket.create_server(("127.0.0.1", listen), backlog=128)
        self.port: int = self.listener.getsockname()[1]
        self.to = to
        self.delay = rtt / 2  # seconds, each direction
        self.refusing = False
        self.connections = 0
        self.bytes = {"up": 0, "down": 0}
        self.limit: tuple[Direction, int] | None = None  # cut when this many more bytes have passed
        self.pairs: list[tuple[Lane, Lane]] = []

    def run(self, commands: IO[bytes] | None) -> None:
        """Relay until ``commands`` ends; for ever if there is none."""
        while True:
            lanes = [lane for pair in self.pairs for lane in pair]
            bound = UNDER_WAY if self.delay else CHUNK
            reading = {lane.source: lane for lane in lanes if not lane.ended and lane.size < bound}
            writing = {lane.sink: lane for lane in lanes if lane.blocked}
            waiting = [lane.queue[0][0] for lane in lanes if lane.queue and not lane.blocked]
            patience = max(0.0, min(waiting) - time.monotonic()) if waiting else None
            others: list[socket.socket | IO[bytes]] = [self.listener, *([commands] if commands else [])]
            # select() and not epoll: its timeout is good to a microsecond, epoll's to a millisecond.
            readable, writable, _ = select.select([*others, *reading], list(writing), [], patience)

            if commands in readable:
                assert commands is not None
                line = commands.readline()
                if not line:
                    return
                self.obey(json.loads(line))
                continue  # lanes may be gone
            if self.listener in readable:
                self.accept()
            for source in readable:
                if isinstance(source, socket.socket) and source in reading:
                    self.read(reading[source])
            for sink in writable:
                writing[sink].blocked = False
            now = time.monotonic()
            for up, down in list(self.pairs):
                try:
                    for lane in (up, down):
                        if not lane.blocked:
                            lane.deliver(now)
                except OSError:
                    self.drop(up, down)
                    continue
                if up.done and down.done:
                    self.drop(up, down)

    def accept(self) -> None:
        """Take a client and connect it; drop it if we refuse, or if nobody answers behind us."""
        client, _ = self.listener.accept()
        if self.refusing:
            _reset(client)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.to))
        except OSError:
            _reset(client)
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        self.connections += 1
        self.pairs.append((Lane("up", client, server), Lane("down", server, client)))

    def read(self, lane: Lane) -> None:
        """Take what a source has; cut everything if that was the last byte allowed."""
        if not any(lane in pair for pair in self.pairs):
            return  # cut while this turn was going on
        try:
            chunk = lane.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self.drop(*next(pair for pair in self.pairs if lane in pair))
            return
        cut = False
        if self.limit is not None and self.limit[0] in (lane.name, "both"):
            chunk = chunk[: self.limit[1]]
            self.limit = (self.limit[0], self.limit[1] - len(chunk))
            cut = self.limit[1] <= 0
        self.bytes[lane.name] += len(chunk)
        lane.take(chunk, time.monotonic() + self.delay if self.delay else 0.0)
        if cut:
            try:
                lane.sink.setblocking(True)
                lane.deliver(float("inf"))  # the allowed bytes are still passed on
            except OSError:
                pass  # the sink is gone already, which is what a cut looks like
            self.limit = None
            self.cut()

    def obey(self, command: dict[str, object]) -> None:
        """Do what our owner says, and answer with the counts."""
        match command:
            case {"do": "cut"}:
                self.cut()
            case {"do": "cut-after", "bytes": int(count), "direction": "up" | "down" | "both" as direction}:
                self.limit = (direction, count)
            case {"do": "refuse", "on": bool(on)}:
                self.refusing = on
            case {"do": "rtt", "seconds": float(rtt)}:
                self.delay = rtt / 2
            case {"do": "count"}:
                pass
            case _:
                raise ValueError(f"unknown command {command}")
        say({**self.bytes, "connections": self.connections, "open": len(self.pairs)})

    def cut(self) -> None:
        """Reset all connections. Bytes that are still delayed are lost, as on a broken line."""
        for pair in list(self.pairs):
            self.drop(*pair)

    def drop(self, up: Lane, down: Lane) -> None:
        """End one connection; abruptly, unless both sides have ended."""
        self.pairs.remove((up, down))
        for end in (up.source, down.source):
            if up.done and down.done:
                end.close()
            else:
                _reset(end)


class Proxy:
    """A proxy process and how to command it. Ends with the ``with`` block, or with us."""

    def __init__(self, to: int, rtt: float = 0.0) -> None:
        """``to``: port on loopback. ``rtt``: added round-trip time in seconds."""
        command = [
            sys.executable,
            "-m",
            "tests.support.proxy",
            "--to",
            str(to),
            "--rtt",
            str(rtt),
            "--control",
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        self.port = int(self._line())

    def cut(self) -> Counts:
        """Reset all connections now."""
        return self._command(do="cut")

    def cut_after(self, count: int, direction: Direction = "up") -> Counts:
        """Let ``count`` more bytes through, then reset all connections. Happens once."""
        return self._command(do="cut-after", bytes=count, direction=direction)

    def refuse(self, on: bool = True) -> Counts:
        """Reset new connections, or take them again."""
        return self._command(do="refuse", on=on)

    def set_rtt(self, seconds: float) -> Counts:
        """Change the added round-trip time for bytes that come from now on."""
        return self._command(do="rtt", seconds=float(seconds))

    def counts(self) -> Counts:
        """What went through so far."""
        return self._command(do="count")

    def close(self) -> None:
        """End the process and with it all connections."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _command(self, **command: object) -> Counts:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return Counts(**json.loads(self._line()))

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the proxy ended with status {self._process.wait()}")
        return line


def start_proxy(to: int, rtt: float = 0.0) -> Proxy:
    """Start a proxy to a port on loopback, with ``rtt`` seconds of added round-trip time."""
    return Proxy(to, rtt)


def say(fact: object) -> None:
    """One line of JSON on stdout, at once."""
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


def _reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.close()


def main() -> None:
    """The program: print the port, then relay."""
    parser = argparse.ArgumentParser(description="A TCP proxy on loopback that delays, counts and cuts.")
    parser.add_argument("--listen", type=int, default=0, help="port to listen on; 0 is a free one")
    parser.add_argument("--to", type=int, required=True, help="port to connect to")
    parser.add_argument("--rtt", type=float, default=0.0, help="seconds of round-trip time to add")
    parser.add_argument(
        "--control", action="store_true", help="take commands as JSON lines from stdin, end with it"
    )
    options = parser.parse_args()
    relay = Relay(options.listen, options.to, options.rtt)
    say(relay.port)
    if options.control:
        with open(0, "rb", buffering=0) as commands:  # select() would not see what Python has read ahead
            relay.run(commands)
    else:
        relay.run(None)


if __name__ == "__main__":
    main()
