"""What the SFTP shim can do wrong, each fault at one exact request, and once.

A test writes a list of faults to a file; each session of the shim takes the first
that nobody has committed yet. Once committed it is taken off the list, so that
the next session is served well, or commits the next. Standard library only: the
shim runs without site-packages.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

GARBAGE = bytes(range(7, 251, 3))  # as a packet: far too long, of a type that there is not
OVERLONG = (0x7FFFFFFF).to_bytes(4, "big") + b"\x65" + bytes(60)
VERSION, STATUS = 2, 101

Do = Literal["kill", "cut", "close", "drop", "answer", "never", "garbage", "overlong", "slow", "full"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong at one request.

    ``kill``: SIGKILL to the process whose id is in ``pid_file``. ``cut``: the SSH
    connection breaks. ``close``: the server ends in good order. ``drop``: the work
    is done, the reply never comes. ``answer``: ``status`` without any work done.
    ``never``: neither work nor answer. ``garbage``, ``overlong``: such bytes for an
    answer. ``slow``: from here on every request takes ``delay`` seconds. ``full``: as
    a disk that fills up does on a server that looks at no count: this WRITE is cut short
    and acknowledged, all that follow are refused.

    A ``kill`` with a ``delay`` lets the requests run that the dead client had
    queued, each after so many seconds; without one they are forgotten.
    """

    do: Do
    at: int = 1  # which of the requests that match, from 1 on; INIT is not counted
    kind: str | None = None  # of these requests only, as the shim names them
    path: str | None = None  # of requests that hold these bytes only
    when: Literal["before", "after"] = "before"  # the request is carried out; of kill, cut, close
    status: int = 4  # SSH_FX_FAILURE
    pid_file: str = ""
    delay: float = 0.0  # seconds


def write_faults(file: Path, *faults: Fault) -> None:
    """Make these what goes wrong next; none: nothing does."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps([asdict(fault) for fault in faults]))
    fresh.replace(file)


def read_faults(file: Path) -> list[Fault]:
    """What still waits to go wrong."""
    try:
        return [Fault(**fault) for fault in json.loads(file.read_text())]
    except FileNotFoundError:
        return []


@contextmanager
def _alone_with(file: Path) -> Iterator[None]:
    """No other session takes a fault meanwhile."""
    with open(file.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Saboteur:
    """Commits one fault. The shim asks it what to pass on of each packet.

    ``say`` sends bytes to the client, ``hang_up`` ends the session without another
    word, ``hurry`` passes on at once what was allowed so far.
    """

    def __init__(
        self,
        fault: Fault,
        file: Path,
        say: Callable[[bytes], None],
        hang_up: Callable[[], None],
        hurry: Callable[[], None],
    ) -> None:
        self.fault = fault
        self.committed = False
        self._file = file
        self._say = say
        self._hang_up = hang_up
        self._hurry = hurry
        self._left = fault.at
        self._awaited: bytes | None = None  # id of the request whose reply is not for the client
        self._mute = False  # nothing is passed on any more
        self._pause = 0.0
        self._is_full = False

    def request(self, name: str, packet: memoryview) -> bytes:
        """What the server shall see of a request."""
        if self._mute:
            return b""
        whole = bytes(packet)
        if self._pause:
            self._hurry()
            time.sleep(self._pause)
        if self._is_full and name == "WRITE":
            self._say(_status(whole[5:9], 4, b"No space left on device"))
            return b""
        if self.committed or not self._is_meant(name, whole):
            return whole
        self._left -= 1
        if self._left or not self._take():
            return whole
        self.committed = True
        return self._commit(whole)

    def reply(self, packet: memoryview) -> bytes:
        """What the client shall see of a reply."""
        has_id = packet[4] != VERSION
        if self._awaited is not None and has_id and packet[5:9] == self._awaited:
            self._awaited = None
            if self.fault.do != "drop":
                self._strike()
            return b""
        return b"" if self._mute and self._awaited is None else bytes(packet)

    def _is_meant(self, name: str, packet: bytes) -> bool:
        fault = self.fault
        if name == "INIT" or (fault.kind is not None and fault.kind != name):
            return False
        return fault.path is None or os.fsencode(fault.path) in packet

    def _take(self) -> bool:
        """Take the fault off the list; False if another session was faster."""
        with _alone_with(self._file):  # a client may have several sessions at a time
            faults = read_faults(self._file)
            if self.fault not in faults:
                self._left = 0
                self.committed = True
                return False
            faults.remove(self.fault)
            write_faults(self._file, *faults)
            return True

    def _commit(self, packet: bytes) -> bytes:
        fault = self.fault
        match fault.do:
            case "slow":
                self._pause = fault.delay
                return packet
            case "kill" if fault.delay:
                time.sleep(20 * fault.delay)  # the client fills its window meanwhile
                self._pause = fault.delay
                end_client(fault.pid_file)
                return packet
            case "kill" | "cut" | "close" if fault.when == "before":
                self._strike()
                return b""
            case "kill" | "cut" | "close":
                self._mute = True
                self._awaited = packet[5:9]
                return packet
            case "drop":
                self._awaited = packet[5:9]
                return packet
            case "full":
                self._is_full = True
                return _half(packet)
            case "answer":
                self._say(_status(packet[5:9], fault.status))
            case "garbage":
                self._say(GARBAGE)
            case "overlong":
                self._say(OVERLONG)
            case "never":
                pass
        return b""

    def _strike(self) -> None:
        self._mute = True
        if self.fault.do == "kill":
            end_client(self.fault.pid_file)
        elif self.fault.do == "cut":
            _end_connection()
        self._hang_up()


def end_client(pid_file: str) -> None:
    """Kill the client at once."""
    try:
        os.kill(int(Path(pid_file).read_text()), signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended by itself


def _end_connection() -> None:
    """Kill the sshd that serves this connection: the client sees a broken line, not the end of a channel."""
    pid = os.getppid()
    while pid > 1:
        status = Path(f"/proc/{pid}/stat").read_text()
        name, rest = status.partition("(")[2].rpartition(")")[::2]
        if name.startswith("sshd"):
            os.kill(pid, signal.SIGKILL)
            return
        pid = int(rest.split()[1])


def _half(packet: bytes) -> bytes:
    """A WRITE with half of its data."""
    data = 13 + int.from_bytes(packet[9:13], "big") + 8  # where its length is
    length = int.from_bytes(packet[data : data + 4], "big") // 2
    body = packet[4:data] + length.to_bytes(4, "big") + packet[data + 4 : data + 4 + length]
    return len(body).to_bytes(4, "big") + body


def _status(number: bytes, code: int, text: bytes = b"as the test wanted it") -> bytes:
    body = bytes([STATUS]) + number + code.to_bytes(4, "big") + len(text).to_bytes(4, "big") + text + bytes(4)
    return len(body).to_bytes(4, "big") + body
