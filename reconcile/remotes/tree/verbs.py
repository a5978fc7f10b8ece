"""What can be asked of a tree of files, and what comes back.

A recipe yields a *verb*, a *driver* carries it out: over SFTP, on a disk. What may live
here: verbs and answers, as plain as can be. No bytes of any protocol, no SSH, no OS.

Paths are absolute and bytes. Every verb has a ``channel`` it goes over, where there are
several; a handle is known on its own only. Any verb may be answered by a :class:`Status`
that is not OK; what it is answered by else is said with it, a Status OK if nothing is.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, unique
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from reconcile.core.model import Stamp
from reconcile.source.files import Source


@unique
class Code(IntEnum):
    """How a verb ended, as exactly as the driver can tell. Over SFTP nearly all is just FAILED."""

    OK = 0
    EOF = 1  # nothing more to read, or to list
    MISSING = 2  # the path is not there, or what is above it is no directory
    DENIED = 3
    FAILED = 4  # the driver can't say why
    INVALID = 5  # most often a name that is too long, or holds what it must not
    UNSUPPORTED = 6  # nobody can do this there
    EXISTS = 7
    NOT_EMPTY = 8
    OTHER_DISK = 9  # a rename or link from one file system to another
    NO_SPACE = 10  # of bytes or inodes
    QUOTA = 11
    READ_ONLY = 12
    IS_DIRECTORY = 13


# What one driver tells apart and another calls FAILED: for where the reason is found out anyway.
UNCLEAR = frozenset({Code.FAILED, Code.EXISTS, Code.NOT_EMPTY, Code.OTHER_DISK, Code.IS_DIRECTORY})


# Answers.


class Status(Struct, frozen=True, gc=False):
    """How a verb ended, and the words of whoever carried it out. That it went well is said by ``OK``."""

    code: Code
    message: str


OK = Status(Code.OK, "")


class Handle(Struct, frozen=True, gc=False):
    """An open file or directory: the driver's own, no recipe looks into it."""

    handle: Any


class Data(Struct, frozen=True, gc=False):
    """What was read: all that was asked for, or less of it."""

    data: bytes


class Attrs(Struct, frozen=True, gc=False):
    """What is said of a path. ``mode`` with the type bits; 0 for what is not told."""

    size: int
    mode: int
    mtime: int
    gid: int = 0
    uid: int = 0


class Names(Struct, frozen=True, gc=False):
    """Raw names with their attributes."""

    names: tuple[tuple[bytes, Attrs], ...]


class Space(Struct, frozen=True, gc=False):
    """What is left of a file system for an unprivileged user."""

    bytes: int
    out_of_inodes: bool
    read_only: bool


Answer: TypeAlias = Status | Handle | Data | Attrs | Names | Space


# Verbs that look.


class Lstat(Struct, frozen=True, gc=False):
    """Attributes of a path, a link not followed: Attrs."""

    path: bytes
    channel: int = 0


class Stat(Struct, frozen=True, gc=False):
    """Attributes of what a path leads to: Attrs."""

    path: bytes
    channel: int = 0


class Realpath(Struct, frozen=True, gc=False):
    """The canonical absolute path: Names, of one."""

    path: bytes
    channel: int = 0


class Readlink(Struct, frozen=True, gc=False):
    """The target of a symlink: Names, of one."""

    path: bytes
    channel: int = 0


class Statvfs(Struct, frozen=True, gc=False):
    """What is left of the file system of a path: Space."""

    path: bytes
    channel: int = 0


class Opendir(Struct, frozen=True, gc=False):
    """Open a directory for listing: Handle."""

    path: bytes
    channel: int = 0


class Readdir(Struct, frozen=True, gc=False):
    """The next names of a directory: Names; EOF after the last."""

    handle: Any
    channel: int = 0


# Verbs that change names.


class Remove(Struct, frozen=True, gc=False):
    """Remove a file or link."""

    path: bytes
    channel: int = 0


class Mkdir(Struct, frozen=True, gc=False):
    """Make a directory; the umask over there still takes bits from ``mode``."""

    path: bytes
    mode: int
    channel: int = 0


class Rmdir(Struct, frozen=True, gc=False):
    """Remove an empty directory."""

    path: bytes
    channel: int = 0


class Rename(Struct, frozen=True, gc=False):
    """Rename, to where nothing is; whether what is there anyway is replaced has to be tried."""

    old: bytes
    new: bytes
    channel: int = 0


class Replace(Struct, frozen=True, gc=False):
    """Rename over whatever is there, in one step; a directory over an empty one."""

    old: bytes
    new: bytes
    channel: int = 0


class HardLink(Struct, frozen=True, gc=False):
    """Give a file a second name, links not followed; fails if anything is there."""

    old: bytes
    new: bytes
    channel: int = 0


class Symlink(Struct, frozen=True, gc=False):
    """Make ``path`` a symlink to ``target``; fails if anything is there."""

    target: bytes
    path: bytes
    channel: int = 0


# Verbs that set modes and times, either or both: a mode in its 0o7777 bits, a time in seconds.


class Set(Struct, frozen=True, gc=False):
    """Set them by path; follows a link."""

    path: bytes
    mode: int | None
    mtime: int | None
    channel: int = 0


class SetLink(Struct, frozen=True, gc=False):
    """The same; a link is not followed."""

    path: bytes
    mode: int | None
    mtime: int | None
    channel: int = 0


class SetHandle(Struct, frozen=True, gc=False):
    """The same of an open file."""

    handle: Any
    mode: int | None
    mtime: int | None
    channel: int = 0


# Verbs for content.


class OpenNew(Struct, frozen=True, gc=False):
    """Make a file and open it for writing; fails if anything is there, a link too: Handle.

    ``truncate`` for servers that know no other way to make a file: one that takes no
    heed of the rest would empty what is there.
    """

    path: bytes
    mode: int | None
    channel: int = 0
    truncate: bool = False


class OpenAgain(Struct, frozen=True, gc=False):
    """Open a file that is there for writing, over another channel: Handle."""

    path: bytes
    channel: int = 0


class OpenToRead(Struct, frozen=True, gc=False):
    """Open a file that is there for reading; follows a link: Handle."""

    path: bytes
    channel: int = 0


class Read(Struct, frozen=True, gc=False):
    """Up to ``length`` bytes from ``offset`` on: Data; EOF behind the end."""

    handle: Any
    offset: int
    length: int
    channel: int = 0


class Write(Struct, frozen=True, gc=False):
    """Write ``data`` at ``offset`` bytes from the beginning, all of it."""

    handle: Any
    offset: int
    data: bytes
    channel: int = 0


class Share(Struct, frozen=True, gc=False):
    """Have an open new file hold the first ``size`` bytes of a file of this machine, whose blocks they share:
    nothing is copied. ``source``: a descriptor of it."""

    handle: Any
    source: int
    size: int
    channel: int = 0


class Copy(Struct, frozen=True, gc=False):
    """Have an open file hold ``size`` bytes of another one that is open for reading, over the same channel:
    those from ``offset`` on, at the same place."""

    source: Any
    handle: Any
    offset: int
    size: int
    channel: int = 0


class Sync(Struct, frozen=True, gc=False):
    """Bring an open file of ``size`` bytes to the disk."""

    handle: Any
    size: int
    channel: int = 0


class Close(Struct, frozen=True, gc=False):
    """Close a file or directory."""

    handle: Any
    channel: int = 0


class Origin(Protocol):
    """Where the content of a ``Put`` is here, for who may bring it without ``read``."""

    source: Source
    path: str

    @property
    def stamp(self) -> Stamp:
        """What the file there has to show."""

    def about_to_send(self) -> None:
        """All of it is going to be sent. ``read`` says so itself, but not a second time."""

    def brought(self, digest: bytes) -> None:
        """All of it was read, and has this digest."""


class Put(Struct, frozen=True, gc=False):
    """A small file of ours, whole: ``OpenNew``, ``Write``, ``SetHandle``, ``Sync``, ``Close``, and then what
    ``then`` says. Asked for several at a time: see ``steps.Fill``.

    ``read`` is called when the content can be sent. None: there is none, and the file is left empty, if it
    was made before. If there is an ``origin``, a driver may bring it from there.
    """

    path: bytes
    mode: int | None  # to be made with, and to be set
    mtime: int | None
    size: int
    syncs: bool
    read: Callable[[], bytes | None]
    then: tuple[Verb, ...] = ()
    channel: int = 0
    truncate: bool = False
    origin: Origin | None = None


Verb: TypeAlias = (
    Lstat
    | Stat
    | Realpath
    | Readlink
    | Statvfs
    | Opendir
    | Readdir
    | Remove
    | Mkdir
    | Rmdir
    | Rename
    | Replace
    | HardLink
    | Symlink
    | Set
    | SetLink
    | SetHandle
    | OpenNew
    | OpenAgain
    | OpenToRead
    | Read
    | Write
    | Share
    | Copy
    | Sync
    | Close
)
