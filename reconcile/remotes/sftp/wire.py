"""SFTP version 3 as bytes: requests out, replies in. No I/O, no state but half a packet.

What may live here: the packet layouts of draft-ietf-secsh-filexfer-02 and of the
extensions in OpenSSH's ``PROTOCOL`` file, as far as they are used. Whatever a
server sends is either a well-formed reply or a :class:`ProtocolError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeAlias

from msgspec import Struct

from reconcile.core.errors import ProtocolError
from reconcile.remotes.tree.verbs import (
    OK,
    Answer,
    Attrs,
    Close,
    Code,
    Copy,
    Data,
    Handle,
    HardLink,
    Lstat,
    Mkdir,
    Names,
    OpenAgain,
    Opendir,
    OpenNew,
    OpenToRead,
    Read,
    Readdir,
    Readlink,
    Realpath,
    Remove,
    Rename,
    Replace,
    Rmdir,
    Set,
    SetHandle,
    SetLink,
    Space,
    Stat,
    Status,
    Statvfs,
    Symlink,
    Sync,
    Verb,
    Write,
)
from reconcile.remotes.words import one_line

VERSION = 3
MAX_PACKET = (
    256 * 1024 + 1024
)  # OpenSSH sends at most 256 KiB (SFTP_MAX_MSG_LENGTH), the draft asks for 34000
MAX_HANDLE = 256  # draft, section 6.3
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
_CODES = {
    FX_OK: Code.OK,
    FX_EOF: Code.EOF,
    FX_NO_SUCH_FILE: Code.MISSING,
    FX_PERMISSION_DENIED: Code.DENIED,
    FX_BAD_MESSAGE: Code.INVALID,  # what OpenSSH makes of ENAMETOOLONG and EINVAL
    FX_OP_UNSUPPORTED: Code.UNSUPPORTED,
}

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
_TRIPLE = struct.Struct(">III")
_QUAD = struct.Struct(">IIII")
_WHERE = struct.Struct(">QI")  # offset and length
HEAD = struct.Struct(">IBI")  # length, type, id
_HEAD_AND_SIZE = struct.Struct(">IBII")  # the same, and the length of the first string
_NO_ATTRIBUTES = bytes(4)
_PATH, _HANDLE = attrgetter("path"), attrgetter("handle")
_CODE_OK = bytes(4)


class Extended(Struct, frozen=True):
    """Answer to an extended request, still packed."""

    data: bytes


class Version(Struct, frozen=True):
    """The server's answer to INIT."""

    version: int
    extensions: dict[bytes, bytes]


class Limits(Struct, frozen=True):
    """``limits@openssh.com``: bytes, and a number of handles; 0 where there is no limit."""

    packet: int
    read: int
    write: int
    handles: int


Reply: TypeAlias = Answer | Extended | Limits | Version


class AskLimits(Struct, frozen=True):
    """A verb of SFTP's alone, as it is the channel that has them (``limits@openssh.com``): Limits."""

    channel: int = 0


def init() -> bytes:
    """The first packet of a session: it has no id."""
    return struct.pack(">IBI", 5, INIT, VERSION)


Encoder: TypeAlias = Callable[[list[bytes], int, Any], int]


def encode(verb: Verb | AskLimits, ident: int) -> bytes:
    """The packet of one request."""
    out: list[bytes] = []
    ENCODERS[type(verb)][0](out, ident, verb)
    return b"".join(out)


# An encoder adds the packet to what is to be sent, in as many pieces as is least work, and returns its size.


def _string(value: bytes) -> bytes:
    return _U32.pack(len(value)) + value


def _attributes(mode: int | None, mtime: int | None) -> bytes:
    """Both or either; the access time becomes the modification time, SFTP sends them together."""
    if mtime is None:
        return _NO_ATTRIBUTES if mode is None else _PAIR.pack(_PERMISSIONS, mode)
    if mode is None:
        return _TRIPLE.pack(_TIMES, mtime, mtime)
    return _QUAD.pack(_PERMISSIONS | _TIMES, mode, mtime, mtime)


def _one(kind: int, get: Callable[[Any], bytes]) -> Encoder:
    """Of a path or a handle."""

    def encode(out: list[bytes], ident: int, verb: object) -> int:
        name = get(verb)
        size = len(name)
        out += _HEAD_AND_SIZE.pack(size + 9, kind, ident, size), name
        return size + 13

    return encode


def _set(kind: int, get: Callable[[Any], bytes]) -> Encoder:
    """Of mode and times, by path or handle."""

    def encode(out: list[bytes], ident: int, verb: Set | SetHandle) -> int:
        name, attributes = get(verb), _attributes(verb.mode, verb.mtime)
        size = len(name) + len(attributes) + 9
        out += _HEAD_AND_SIZE.pack(size, kind, ident, len(name)), name, attributes
        return size + 4

    return encode


def _rename(out: list[bytes], ident: int, verb: Rename) -> int:
    old, new = verb.old, verb.new
    first, second = len(old), len(new)
    size = first + second + 13
    out += _HEAD_AND_SIZE.pack(size, RENAME, ident, first), old, _U32.pack(second), new
    return size + 4


def _symlink(out: list[bytes], ident: int, verb: Symlink) -> int:
    """The draft has the path first; OpenSSH has it last, and every server follows OpenSSH."""
    body = _string(verb.target) + _string(verb.path)
    out += HEAD.pack(len(body) + 5, SYMLINK, ident), body
    return len(body) + 9


def _open(flags: int) -> Encoder:
    what = _PAIR.pack(flags, 0)

    def encode(out: list[bytes], ident: int, verb: OpenAgain | OpenToRead) -> int:
        path = verb.path
        size = len(path) + 17
        out += _HEAD_AND_SIZE.pack(size, OPEN, ident, len(path)), path, what
        return size + 4

    return encode


def _open_new(out: list[bytes], ident: int, verb: OpenNew) -> int:
    path, mode = verb.path, verb.mode
    flags = _NEW_FILE | _TRUNCATE if verb.truncate else _NEW_FILE
    what = _PAIR.pack(flags, 0) if mode is None else _TRIPLE.pack(flags, _PERMISSIONS, mode)
    size = len(path) + len(what) + 9
    out += _HEAD_AND_SIZE.pack(size, OPEN, ident, len(path)), path, what
    return size + 4


def _mkdir(out: list[bytes], ident: int, verb: Mkdir) -> int:
    path = verb.path
    size = len(path) + 17
    out += _HEAD_AND_SIZE.pack(size, MKDIR, ident, len(path)), path, _PAIR.pack(_PERMISSIONS, verb.mode)
    return size + 4


def _read(out: list[bytes], ident: int, verb: Read) -> int:
    handle = verb.handle
    size = len(handle) + 21
    out += _HEAD_AND_SIZE.pack(size, READ, ident, len(handle)), handle, _WHERE.pack(verb.offset, verb.length)
    return size + 4


def _write(out: list[bytes], ident: int, verb: Write) -> int:
    handle, data = verb.handle, verb.data
    length = len(data)
    size = len(handle) + length + 21
    where = _WHERE.pack(verb.offset, length)
    out += _HEAD_AND_SIZE.pack(size, WRITE, ident, len(handle)), handle, where, data
    return size + 4


def _extended(name: bytes, pack: Callable[[Any], bytes]) -> Encoder:
    name = _string(name)

    def encode(out: list[bytes], ident: int, verb: object) -> int:
        body = pack(verb)
        size = len(name) + len(body) + 5
        out += HEAD.pack(size, EXTENDED, ident), name, body
        return size + 4

    return encode


def _copy_data(verb: Copy) -> bytes:
    """draft-ietf-secsh-filexfer-extensions-00, section 7."""
    where = struct.pack(">QQ", verb.offset, verb.size)
    return _string(verb.source) + where + _string(verb.handle) + where[:8]


def _pack_two(verb: Replace | HardLink) -> bytes:
    return _string(verb.old) + _string(verb.new)


# The encoder of each verb, and the one type of reply that answers it, failures aside.
ENCODERS: dict[type, tuple[Encoder, type]] = {
    Lstat: (_one(LSTAT, _PATH), Attrs),
    Stat: (_one(STAT, _PATH), Attrs),
    Realpath: (_one(REALPATH, _PATH), Names),
    Readlink: (_one(READLINK, _PATH), Names),
    Opendir: (_one(OPENDIR, _PATH), Handle),
    Readdir: (_one(READDIR, _HANDLE), Names),
    Remove: (_one(REMOVE, _PATH), Status),
    Mkdir: (_mkdir, Status),
    Rmdir: (_one(RMDIR, _PATH), Status),
    Rename: (_rename, Status),
    Symlink: (_symlink, Status),
    Set: (_set(SETSTAT, _PATH), Status),
    SetHandle: (_set(FSETSTAT, _HANDLE), Status),
    OpenNew: (_open_new, Handle),
    OpenAgain: (_open(_WRITE), Handle),
    OpenToRead: (_open(_READ), Handle),
    Read: (_read, Data),
    Write: (_write, Status),
    Close: (_one(CLOSE, _HANDLE), Status),
    # Beyond version 3.
    Replace: (_extended(b"posix-rename@openssh.com", _pack_two), Status),
    HardLink: (_extended(b"hardlink@openssh.com", _pack_two), Status),
    SetLink: (
        _extended(
            b"lsetstat@openssh.com", lambda verb: _string(verb.path) + _attributes(verb.mode, verb.mtime)
        ),
        Status,
    ),
    Copy: (_extended(b"copy-data", _copy_data), Status),
    Sync: (_extended(b"fsync@openssh.com", lambda verb: _string(verb.handle)), Status),
    Statvfs: (_extended(b"statvfs@openssh.com", lambda verb: _string(verb.path)), Space),
    AskLimits: (_extended(b"limits@openssh.com", lambda _: b""), Limits),
}

# The verbs that a server has only if it announces this.
ANNOUNCED = {
    b"posix-rename@openssh.com": Replace,
    b"hardlink@openssh.com": HardLink,
    b"lsetstat@openssh.com": SetLink,
    b"copy-data": Copy,
    b"fsync@openssh.com": Sync,
    b"statvfs@openssh.com": Statvfs,
    b"limits@openssh.com": AskLimits,
}


def unpack(reply: Extended, expects: type) -> Space | Limits | None:
    """What an extended reply holds; None if such a one was not asked for."""
    if expects is Space:
        return _space(reply.data)
    return Limits(*_numbers(reply.data, 4)) if expects is Limits else None


def _space(data: bytes) -> Space:
    """Eleven numbers, as ``struct statvfs`` has them."""
    _bsize, frsize, _blocks, _bfree, bavail, files, _ffree, favail, _fsid, flags, _namemax = _numbers(
        data, 11
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
        self._rest: list[bytes] = []  # in the pieces in which it came
        self._held = 0  # bytes of it
        self._whole = HEAD.size  # bytes that it takes to know more
        self._begun = False  # something was decoded

    def feed(self, data: bytes) -> list[tuple[int, Reply]]:
        """All replies that ``data`` completes, each with its request's id.

        Raises ProtocolError for anything that is no SFTP v3 reply; the decoder
        is of no use afterwards.
        """
        self._rest.append(data)
        self._held += len(data)
        if self._held < self._whole:
            return []
        buffer = b"".join(self._rest) if len(self._rest) > 1 else data
        here, end = 0, len(buffer)
        self._whole = HEAD.size
        replies: list[tuple[int, Reply]] = []
        while end - here >= HEAD.size:
            length, kind, ident = HEAD.unpack_from(buffer, here)
            if not HEAD.size - 4 <= length <= MAX_PACKET:
                raise ProtocolError(_explain_garbage(buffer[here:], length, begun=self._begun))
            after = here + 4 + length
            if after > end:
                self._whole = 4 + length
                break
            if kind == STATUS and length >= 9 and buffer[here + 9 : here + 13] == _CODE_OK:
                here = _take_oks(buffer, here, length, replies)
                continue
            if kind == DATA and length - 9 == int.from_bytes(buffer[here + 9 : here + 13]):
                replies.append((ident, Data(buffer[here + 13 : after])))  # most of what comes: copied once
            else:
                replies.append(_reply(kind, buffer[here + 5 : after]))
            here = after
        self._rest = [buffer[here:]] if here < end else []
        self._held = end - here
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
    return Status(_CODES.get(code, Code.FAILED), one_line(message.decode("utf-8", "replace")))


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


def _extended_reply(payload: bytes) -> Extended:
    return Extended(payload[4:])


_DECODE: dict[int, Callable[[bytes], Reply]] = {
    STATUS: _status,
    HANDLE: _handle,
    DATA: _data,
    NAME: _names,
    ATTRS: _attrs,
    EXTENDED_REPLY: _extended_reply,
}
