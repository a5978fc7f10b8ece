#!/usr/bin/env python3
"""The SFTP shim: stands between sshd and the real sftp-server and sees plain SFTP.

sshd runs it as ``Subsystem sftp``; a TCP proxy sees ciphertext only. It forwards
both directions packet by packet and counts requests and replies by type. Each
session appends two JSON lines to the log: one when it starts, one with its
counts when it has ended::

    shim.py --log FILE --faults FILE SFTP-SERVER [ARGUMENT...]

While the second file lists faults (see ``faults.py``), the first of them is
committed in this session. Runs by itself, standard library only, because it starts once per connection.
Packet layout and numbers: draft-ietf-secsh-filexfer-02, sections 3 and 4.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections import Counter
from collections.abc import Callable

REQUESTS = {
    1: "INIT",
    3: "OPEN",
    4: "CLOSE",
    5: "READ",
    6: "WRITE",
    7: "LSTAT",
    8: "FSTAT",
    9: "SETSTAT",
    10: "FSETSTAT",
    11: "OPENDIR",
    12: "READDIR",
    13: "REMOVE",
    14: "MKDIR",
    15: "RMDIR",
    16: "REALPATH",
    17: "STAT",
    18: "RENAME",
    19: "READLINK",
    20: "SYMLINK",
    200: "EXTENDED",
}
REPLIES = {
    2: "VERSION",
    101: "STATUS",
    102: "HANDLE",
    103: "DATA",
    104: "NAME",
    105: "ATTRS",
    201: "EXTENDED_REPLY",
}
CHUNK = 256 * 1024  # bytes taken from a pipe at once
BACKLOG = 4 * 1024 * 1024  # bytes held for a side that does not read, before we stop reading the other


def request_name(packet: memoryview) -> str:
    """The type of a request; extended ones by the name of the extension."""
    kind = packet[4]
    if kind == 200:
        length = int.from_bytes(packet[9:13], "big")
        return bytes(packet[13 : 13 + length]).decode("utf-8", "replace")
    return REQUESTS.get(kind, str(kind))


def reply_name(packet: memoryview) -> str:
    """The type of a reply."""
    return REPLIES.get(packet[4], str(packet[4]))


class Lane:
    """One direction: bytes in, whole packets through ``look``, bytes out.

    Where ``edit`` is set, what it makes of each packet goes on instead.
    """

    def __init__(self, source: int, sink: int, look: Callable[[memoryview], None]) -> None:
        self.source = source
        self.sink = sink
        self.look = look
        self.edit: Callable[[memoryview], bytes] | None = None
        self.open = True  # the source may still give something
        self.broken = False  # the sink takes nothing any more
        self.bytes = 0
        self.torn = bytearray()  # the beginning of a packet
        self.pending = bytearray()  # whole packets the sink has not taken

    @property
    def done(self) -> bool:
        """Whether all that came has gone on."""
        return not self.open and (self.broken or not self.pending)

    def read(self) -> None:
        """Take what the source has; pass whole packets on."""
        try:
            chunk = os.read(self.source, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.open = False
            self.pending += self.torn  # a torn packet is the receiver's to judge
            return
        self.bytes += len(chunk)
        self.torn += chunk
        end = 0
        with memoryview(self.torn) as view:
            while len(view) - end >= 5:
                size = 4 + int.from_bytes(view[end : end + 4], "big")
                if len(view) - end < size:
                    break
                with view[end : end + size] as packet:
                    self.look(packet)
                    if self.edit is not None:
                        self.pending += self.edit(packet)
                end += size
            if self.edit is None:
                self.pending += view[:end]
        del self.torn[:end]
        self.write()

    def write(self) -> None:
        """Give the sink what it takes."""
        try:
            while self.pending:
                with memoryview(self.pending) as view:
                    sent = os.write(self.sink, view)
                del self.pending[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.broken = True
            self.pending.clear()


def forward(up: Lane, down: Lane) -> None:
    """Forward both lanes until the server has said its last byte."""
    closed = False
    while not down.done:
        if up.done and not closed:
            os.close(up.sink)  # the server sees the end of its input, finishes and exits
            closed = True
        poller = select.poll()
        for lane in (up, down):
            if lane.open and len(lane.pending) < BACKLOG:
                poller.register(lane.source, select.POLLIN)
            if lane.pending:
                poller.register(lane.sink, select.POLLOUT)
        ready = dict(poller.poll())
        for lane in (up, down):
            if lane.sink in ready and lane.pending:
                lane.write()
            if lane.source in ready and lane.open:
                lane.read()


def sabotage(up: Lane, down: Lane, file: str) -> None:
    """Let the first fault of the list happen in this session."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from pathlib import Path  # here, as a session without faults starts faster without

    from tests.support.faults import Saboteur, read_faults

    waiting = read_faults(Path(file))
    if not waiting:
        return

    def say(data: bytes) -> None:
        down.pending += data
        down.write()

    def hang_up() -> None:
        up.open = False

    def hurry() -> None:
        up.write()
        down.read()

    saboteur = Saboteur(waiting[0], Path(file), say, hang_up, hurry)
    up.edit = lambda packet: saboteur.request(request_name(packet), packet)
    down.edit = saboteur.reply


def append(log: str, line: dict[str, object]) -> None:
    """Append one line in one write, so that sessions don't mix."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    """Run one session; returns the server's exit status."""
    if len(arguments) < 5 or (arguments[0], arguments[2]) != ("--log", "--faults"):
        usage = "usage: shim.py --log FILE --faults FILE SFTP-SERVER [ARGUMENT...]"
        print(usage, file=sys.stderr)  # noqa: T201  # it is a program
        return 2
    log, faults, command = arguments[1], arguments[3], arguments[4:]
    append(log, {"event": "start", "pid": os.getpid()})

    to_server, from_server = os.pipe(), os.pipe()
    server = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, to_server[0], 0), (os.POSIX_SPAWN_DUP2, from_server[1], 1)],
        setsigdef=[signal.SIGPIPE],
    )
    os.close(to_server[0])
    os.close(from_server[1])

    requests: Counter[str] = Counter()
    replies: Counter[str] = Counter()

    def on_request(packet: memoryview) -> None:
        requests[request_name(packet)] += 1

    def on_reply(packet: memoryview) -> None:
        replies[reply_name(packet)] += 1

    up = Lane(0, to_server[1], on_request)
    down = Lane(from_server[0], 1, on_reply)
    if os.path.exists(faults):
        sabotage(up, down, faults)
    for descriptor in (0, 1, to_server[1], from_server[0]):
        os.set_blocking(descriptor, False)
    forward(up, down)

    status = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
    counts: dict[str, object] = {
        "requests": requests,
        "replies": replies,
        "sent": up.bytes,
        "received": down.bytes,
    }
    append(log, {"event": "end", "pid": os.getpid(), **counts})
    return max(status, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
