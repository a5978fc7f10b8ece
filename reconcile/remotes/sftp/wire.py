"""SFTP version 3 as bytes: requests out, replies in. No I/O, no state but half a packet.

What may live here: the packet layouts of draft-ietf-secsh-filexfer-02 and of the
extensions in OpenSSH's ``PROTOCOL`` file, as far as they are used. Whatever a
server sends is either a well-formed reply or a :class:`ProtocolError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from reconcile.core.errors import ProtocolError
from reconcile.remotes.words import one_line

VERSION = 3
MAX_PACKET = (
    256 * 1024 + 1024
)  # OpenSSH sends at most 256 KiB (SFTP_MAX_MSG_LENGTH), the draft asks for 34000
MAX_HANDLE = 256  # draft, section 6.3
MAX_TIME = 0xFFFFFFFF  # times are unsigned seconds in 32 bits: until 2106
SLOW_DISK = 4 * 1024 * 1024  # bytes a second that any disk writes
_MOST_WORDS = 200  # bytes of what is no SFTP that are shown
NO_ID = -1  # of the VERSION reply, the only one without an id

# Packet types, draft section 3.
INIT, VERSION_REPLY = 1, 2
OPEN, CLOSE, READ, WRITE, LSTAT, SETSTAT, FSETSTAT = 3, 4, 5, 6, 7, 9, 10
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(11, 21)
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED, EXTENDED_REPLY = 101, 102, 103, 104, 105, 200, 201

# Status codes, draft section 7.
FX_OK, FX_EOF, FX_NO_SUCH_FILE, FX_PERMISSION_DENIED, FX_FAILURE, FX_BAD_MESSAGE = range(6)
FX_OP_UNSUPPORTED = 8

# Attribute flags, draft section 5.
_SIZE, _OWNER, _PERMISSIONS, _TIMES, _EXTENDED = 1, 2, 4, 8, 0x80000000
_KNOWN_FLAGS = _SIZE | _OWNER | _PERMISSIONS | _TIMES | _EXTENDED

# Draft, section 6.3. With CREAT and EXCL: never over something that is there.
_READ, _WRITE = 0x01, 0x02
_NEW_FILE = _WRITE | 0x08 | 0x20
_TRUNCATE = 0x10

_READ_ONLY = 1  # SSH2_FXE_STATVFS_ST_RDONLY

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_PAIR = struct.Struct(">II")
HEAD = struct.Struct(">IBI")  # length, type, id
_CODE_OK = bytes(4)


class Status(NamedTuple):
    """How a request ended: one of the ``FX_`` codes, and the server's own words."""

    code: int
    message: str


class Handle(NamedTuple):
    """An open file or directory on the server."""

    handle: bytes


class Data(NamedTuple):
    """Answer to READ: what is there, or less of it."""

    data: bytes


class Attrs(NamedTuple):
    """What the server says of a path. ``mode`` with the type bits; 0 for what the server did not tell."""

    size: int
    mode: int
    mtime: int
    gid: int = 0
    uid: int = 0


class Names(NamedTuple):
    """Answer to READDIR, READLINK and REALPATH: raw names with their attributes."""

    names: tuple[tuple[bytes, Attrs], ...]


class Extended(NamedTuple):
    """Answer to an extended request, still packed."""

    data: bytes


class Version(NamedTuple):
    """The server's answer to INIT."""

    version: int
    extensions: dict[bytes, bytes]


class Limits(NamedTuple):
    """``limits@openssh.com``: bytes, and a number of handles; 0 where there is no limit."""

    packet: int
    read: int
    write: int
    handles: int


class Space(NamedTuple):
    """What is left of a file system for an unprivileged user, from ``statvfs@openssh.com``."""

    bytes: int
    out_of_inodes: bool
    read_only: bool


Reply: TypeAlias = Status | Handle | Data | Attrs | Names | Extended | Version

OK = Status(FX_OK, "")


class Request(NamedTuple):
    """A request without its id, and the one type of reply that answers it, failures aside.

    ``patience``: seconds that the server may be silent over it, beyond the usual.
    ``lane``: the channel it goes over, where there are several; a handle is known on its own only.
    """

    kind: int
    body: bytes
    expects: type[Reply] = Status
    patience: float = 0.0
    lane: int = 0


def init() -> bytes:
    """The first packet of a session: it has no id."""
    return struct.pack(">IBI", 5, INIT, VERSION)


def encode(request: Request, ident: int) -> bytes:
    """The packet of one request."""
    return HEAD.pack(len(request.body) + 5, request.kind, ident) + request.body


def _string(value: bytes) -> bytes:
    return _U32.pack(len(value)) + value


def _attributes(mode: int | None, mtime: int | None) -> bytes:
    """Both or either; the access time becomes the modification time, SFTP sends them together."""
    if mtime is None:
        return _U32.pack(0) if mode is None else _PAIR.pack(_PERMISSIONS, mode)
    if mode is None:
        return struct.pack(">III", _TIMES, mtime, mtime)
    return struct.pack(">IIII", _PERMISSIONS | _TIMES, mode, mtime, mtime)


def open_new(path: bytes, mode: int | None, lane: int = 0, *, truncate: bool = False) -> Request:
    """Make a file and open it for writing; fails if anything is there, a link too.

    ``truncate`` for servers that know no other way to make a file: one that takes no
    heed of the rest would empty what is there.
    """
    flags = _U32.pack(_NEW_FILE | _TRUNCATE if truncate else _NEW_FILE)
    body = b"%b%b%b" % (_string(path), flags, _attributes(mode, None))
    return Request(OPEN, body, Handle, 0.0, lane)


def open_again(path: bytes, lane: int) -> Request:
    """Open a file that is there for writing, over another channel."""
    body = b"%b%b%b" % (_string(path), _U32.pack(_WRITE), _attributes(None, None))
    return Request(OPEN, body, Handle, lane=lane)


def open_to_read(path: bytes) -> Request:
    """Open a file that is there for reading; follows a link."""
    body = b"%b%b%b" % (_string(path), _U32.pack(_READ), _attributes(None, None))
    return Request(OPEN, body, Handle)


def read(handle: bytes, offset: int, length: int) -> Request:
    """Up to ``length`` bytes from ``offset`` on; a status EOF behind the end."""
    return Request(READ, b"%b%b%b" % (_string(handle), _U64.pack(offset), _U32.pack(length)), Data)


def write(handle: bytes, offset: int, data: bytes, lane: int = 0) -> Request:
    """Write ``data`` at ``offset`` bytes from the beginning."""
    size, where = _U32.pack(len(data)), _U64.pack(offset)
    body = b"%b%b%b%b%b" % (_U32.pack(len(handle)), handle, where, size, data)
    return Request(WRITE, body, Status, 0.0, lane)


def close(handle: bytes, lane: int = 0) -> Request:
    """Close a file or directory."""
    return Request(CLOSE, _string(handle), Status, 0.0, lane)


def fsetstat(handle: bytes, mode: int | None, mtime: int | None, lane: int = 0) -> Request:
    """Set mode and/or times of an open file."""
    return Request(FSETSTAT, _string(handle) + _attributes(mode, mtime), Status, 0.0, lane)


def setstat(path: bytes, mode: int | None, mtime: int | None, lane: int = 0) -> Request:
    """Set mode and/or times; follows a link."""
    return Request(SETSTAT, _string(path) + _attributes(mode, mtime), Status, 0.0, lane)


def lstat(path: bytes, lane: int = 0) -> Request:
    """Attributes of a path, a link not followed."""
    return Request(LSTAT, _string(path), Attrs, 0.0, lane)


def stat(path: bytes) -> Request:
    """Attributes of what a path leads to."""
    return Request(STAT, _string(path), Attrs)


def opendir(path: bytes) -> Request:
    """Open a directory for listing."""
    return Request(OPENDIR, _string(path), Handle)


def readdir(handle: bytes) -> Request:
    """The next names of a directory; a status EOF after the last."""
    return Request(READDIR, _string(handle), Names)


def remove(path: bytes) -> Request:
    """Remove a file or link."""
    return Request(REMOVE, _string(path))


def mkdir(path: bytes, mode: int, lane: int = 0) -> Request:
    """Make a directory; the server's umask still takes bits from ``mode``."""
    return Request(MKDIR, _string(path) + _attributes(mode, None), Status, 0.0, lane)


def rmdir(path: bytes) -> Request:
    """Remove an empty directory."""
    return Request(RMDIR, _string(path))


def realpath(path: bytes) -> Request:
    """The canonical absolute path."""
    return Request(REALPATH, _string(path), Names)


def readlink(path: bytes) -> Request:
    """The target of a symlink."""
    return Request(READLINK, _string(path), Names)


def rename(old: bytes, new: bytes) -> Request:
    """Rename; what happens if ``new`` exists is up to the server."""
    return Request(RENAME, b"%b%b%b%b" % (_U32.pack(len(old)), old, _U32.pack(len(new)), new))


def symlink(target: bytes, path: bytes) -> Request:
    """Make ``path`` a symlink to ``target``.

    The draft has the path first; OpenSSH has it last, and every server follows OpenSSH.
    """
    return Request(SYMLINK, _string(target) + _string(path))


def posix_rename(old: bytes, new: bytes) -> Request:
    """Rename over whatever is there, in one step (``posix-rename@openssh.com``)."""
    return Request(EXTENDED, _string(b"posix-rename@openssh.com") + _string(old) + _string(new))


def hard_link(old: bytes, new: bytes) -> Request:
    """Give a file a second name, links not followed (``hardlink@openssh.com``); fails if ``new`` exists."""
    return Request(EXTENDED, _string(b"hardlink@openssh.com") + _string(old) + _string(new))


def fsync(handle: bytes, size: int, lane: int = 0) -> Request:
    """Bring an open file of ``size`` bytes to the server's disk (``fsync@openssh.com``)."""
    return Request(EXTENDED, _string(b"fsync@openssh.com") + _string(handle), Status, size / SLOW_DISK, lane)


def lsetstat(path: bytes, mode: int | None, mtime: int | None) -> Request:
    """Set mode and/or times without following a link (``lsetstat@openssh.com``)."""
    return Request(EXTENDED, _string(b"lsetstat@openssh.com") + _string(path) + _attributes(mode, mtime))


def limits() -> Request:
    """Ask for the server's limits (``limits@openssh.com``); see :func:`parse_limits`."""
    return Request(EXTENDED, _string(b"limits@openssh.com"), Extended)


def statvfs(path: bytes) -> Request:
    """Ask what is left of the file system (``statvfs@openssh.com``); see :func:`parse_statvfs`."""
    return Request(EXTENDED, _string(b"statvfs@openssh.com") + _string(path), Extended)


def parse_limits(reply: Extended) -> Limits:
    """Unpack the answer to :func:`limits`."""
    return Limits(*_numbers(reply.data, 4))


def parse_statvfs(reply: Extended) -> Space:
    """Unpack the answer to :func:`statvfs`: eleven numbers, as ``struct statvfs`` has them."""
    _bsize, frsize, _blocks, _bfree, bavail, files, _ffree, favail, _fsid, flags, _namemax = _numbers(
        reply.data, 11
    )
    # Some file systems count no inodes, and say 0 of 0.
    return Space(frsize * bavail, bool(files) and not favail, bool(flags & _READ_ONLY))


def _numbers(data: bytes, count: int) -> tuple[int, ...]:
    if len(data) < 8 * count:
        raise ProtocolError(f"the server sent {len(data)} bytes where {8 * count} were due")
    return struct.unpack_from(f">{count}Q", data)


class Decoder:
    """Turns the byte stream of a server into replies. Holds at most one packet's beginning."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False  # something was decoded

    def feed(self, data: bytes) -> list[tuple[int, Reply]]:
        """All replies that ``data`` completes, each with its request's id.

        Raises ProtocolError for anything that is no SFTP v3 reply; the decoder
        is of no use afterwards.
        """
        buffer = self._rest + data if self._rest else data
        here, end = 0, len(buffer)
        replies: list[tuple[int, Reply]] = []
        while end - here >= HEAD.size:
            length, kind, _ = HEAD.unpack_from(buffer, here)
            if not HEAD.size - 4 <= length <= MAX_PACKET:
                raise ProtocolError(_explain_garbage(buffer[here:], length, begun=self._begun))
            after = here + 4 + length
            if after > end:
                break
            if kind == STATUS and length >= 9 and buffer[here + 9 : here + 13] == _CODE_OK:
                here = _take_oks(buffer, here, length, replies)
                continue
            replies.append(_reply(kind, buffer[here + 5 : after]))
            here = after
        self._rest = buffer[here:]
        self._begun = self._begun or bool(replies)
        return replies


def _explain_garbage(data: bytes, length: int, *, begun: bool) -> str:
    """What it may be that is no packet."""
    words = data.lstrip()[:_MOST_WORDS].split(b"\n")[0].strip()
    if begun or not words or b"\0" in words:
        return f"the server announced a packet of {length} bytes, which can't be"
    return (
        f'the server said "{one_line(words.decode("utf-8", "backslashreplace"))}" where SFTP should begin. '
        "Something prints that at each login there (~/.bashrc, /etc/profile, a forced command) and has to be "
        "silent where there is no terminal; or this account may not use SFTP"
    )


def _take_oks(buffer: bytes, here: int, length: int, replies: list[tuple[int, Reply]]) -> int:
    """The OK at ``here``, and all that follow in its likeness; where they end.

    Nearly all replies are such, and what their messages say is nothing.
    """
    size = length + 4
    whole = memoryview(buffer)[here : len(buffer) - (len(buffer) - here) % size]
    for each, kind, ident, code in struct.iter_unpack(f">IBII{size - 13}x", whole):
        if each != length or kind != STATUS or code != FX_OK:
            break
        replies.append((ident, OK))
        here += size
    return here


def _reply(kind: int, payload: bytes) -> tuple[int, Reply]:
    """Decode one packet without its length and type."""
    try:
        if kind == VERSION_REPLY:
            return NO_ID, _version(payload)
        (ident,) = _U32.unpack_from(payload)
        return ident, _DECODE[kind](payload)
    except KeyError:
        raise ProtocolError(f"the server sent a packet of type {kind}, which no request asks for") from None
    except (struct.error, IndexError):
        raise ProtocolError(f"the server sent a torn packet of type {kind}") from None


def _take(payload: bytes, here: int) -> tuple[bytes, int]:
    """The string at ``here`` and where it ends."""
    (length,) = _U32.unpack_from(payload, here)
    after = here + 4 + length
    if after > len(payload):
        raise IndexError
    return payload[here + 4 : after], after


def _version(payload: bytes) -> Version:
    (version,) = _U32.unpack_from(payload)
    extensions = {}
    here = 4
    while here < len(payload):
        name, here = _take(payload, here)
        extensions[name], here = _take(payload, here)
    return Version(version, extensions)


def _status(payload: bytes) -> Status:
    (code,) = _U32.unpack_from(payload, 4)
    message = b""
    if len(payload) > 8:  # older servers send neither message nor language
        message, _ = _take(payload, 8)
    return Status(code, one_line(message.decode("utf-8", "replace")))


def _handle(payload: bytes) -> Handle:
    handle, after = _take(payload, 4)
    if after != len(payload) or len(handle) > MAX_HANDLE:
        raise IndexError
    return Handle(handle)


def _data(payload: bytes) -> Data:
    data, _ = _take(payload, 4)
    return Data(data)


def _take_attrs(payload: bytes, here: int) -> tuple[Attrs, int]:
    (flags,) = _U32.unpack_from(payload, here)
    here += 4
    if flags & ~_KNOWN_FLAGS:
        raise IndexError
    size = uid = gid = mode = mtime = 0
    if flags & _SIZE:
        (size,) = _U64.unpack_from(payload, here)
        here += 8
    if flags & _OWNER:
        uid, gid = _PAIR.unpack_from(payload, here)
        here += 8
    if flags & _PERMISSIONS:
        (mode,) = _U32.unpack_from(payload, here)
        here += 4
    if flags & _TIMES:
        _, mtime = _PAIR.unpack_from(payload, here)
        here += 8
    if flags & _EXTENDED:
        (count,) = _U32.unpack_from(payload, here)
        here += 4
        for _ in range(2 * count):
            _, here = _take(payload, here)
    if here > len(payload):
        raise IndexError
    return Attrs(size, mode, mtime, gid, uid), here


def _names(payload: bytes) -> Names:
    (count,) = _U32.unpack_from(payload, 4)
    names = []
    here = 8
    for _ in range(count):
        name, here = _take(payload, here)
        _, here = _take(payload, here)  # the line for people, as ls -l prints it
        attrs, here = _take_attrs(payload, here)
        names.append((name, attrs))
    return Names(tuple(names))


def _attrs(payload: bytes) -> Attrs:
    return _take_attrs(payload, 4)[0]


def _extended(payload: bytes) -> Extended:
    return Extended(payload[4:])


_DECODE: dict[int, Callable[[bytes], Reply]] = {
    STATUS: _status,
    HANDLE: _handle,
    DATA: _data,
    NAME: _names,
    ATTRS: _attrs,
    EXTENDED_REPLY: _extended,
}
