"""Bytes of local files, and of nothing but the files that were scanned.

Between the scan and the read anybody may swap a file, or a folder above it, for
a link or a FIFO. So a file is opened below the descriptor of SRC without
following a link and without blocking, and has to show the stamp of the scan
before its first byte is read and again after its last.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from stat import S_ISREG
from types import TracebackType
from typing import Self

import xxhash

from reconcile.errors import Refused
from reconcile.model import Entry, Kind, Links, Problem, Reason, Stage, Stamp
from reconcile.rows import narrow

PIECE = 1 << 20  # bytes read at once
HELD = 50  # directories held open on the way to a file, and one more
_CLOSED = -1
_KEY, _KEY_WITHIN = b"PRIVATE KEY", 1 << 16  # bytes looked at
_PRIVATE_KEY = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----", re.MULTILINE)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class SourceError(Exception):
    """A file can't be read as it was scanned: VANISHED, CHANGED, UNREADABLE or SPECIAL."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Source:
    """SRC, held open. All paths are relative to it. Raises Refused if it isn't there."""

    def __init__(self, root: str, links: Links = Links.KEEP) -> None:
        self._follow = links is Links.FOLLOW
        self._flags = _FILE if self._follow else _FILE | os.O_NOFOLLOW
        self.keys: set[str] = set()  # files that were read and are private keys
        self._way = Way(open_root(root), follow=self._follow)

    def open(self, path: str, stamp: Stamp) -> int:
        """A descriptor of the file, which is the one that was stamped. The caller closes it.

        Raises SourceError.
        """
        fd = self._open(path)
        try:
            self.check(fd, path, stamp)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def stamp(self, path: str) -> Stamp:
        """What a file that changed since the scan shows now, to try it once more. Raises SourceError."""
        fd = self._open(path)
        try:
            info = os.fstat(fd)
        finally:
            os.close(fd)
        if not S_ISREG(info.st_mode):
            raise SourceError(Reason.SPECIAL, "is no regular file any more; the next run looks at it again")
        return Stamp(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_mode)

    def check(self, fd: int, path: str, stamp: Stamp) -> None:  # noqa: ARG002 — the path is for wrappers in tests
        """Raise SourceError unless the open file still has the stamp.

        An inode number or ctime of 0 in the stamp was left out on purpose and
        is not compared.
        """
        try:
            info = os.fstat(fd)
        except OSError as error:
            raise _source_error(error) from error
        if (
            info.st_mtime_ns == stamp.mtime_ns
            and info.st_size == stamp.size
            and info.st_mode == stamp.mode
            and (info.st_ctime_ns == stamp.ctime_ns or not stamp.ctime_ns)
            and (info.st_ino == stamp.ino or not stamp.ino)
        ):
            return
        if not S_ISREG(info.st_mode):
            raise SourceError(Reason.SPECIAL, "is no regular file any more; the next run looks at it again")
        seen = Stamp(
            info.st_ino if stamp.ino else 0,
            info.st_size,
            narrow(info.st_mtime_ns),
            narrow(info.st_ctime_ns) if stamp.ctime_ns else 0,
            info.st_mode,
        )
        if seen != stamp:
            raise SourceError(Reason.CHANGED, "changed since it was scanned; the next run looks at it again")

    def readlink(self, path: str) -> str:
        """The target of a symbolic link. Raises SourceError."""
        directory, _, name = path.rpartition("/")
        try:
            return os.readlink(name, dir_fd=self._way.to(directory))
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise SourceError(Reason.CHANGED, "is no symbolic link any more") from error
            raise _source_error(error) from error

    def pieces(self, path: str, stamp: Stamp, size: int = PIECE) -> Iterator[bytes]:
        """The content of the file that was stamped, ``size`` bytes at a time or less.

        Raises SourceError, also after the last of it: only then it is sure.
        """
        fd = self.open(path, stamp)
        left = stamp.size
        try:
            while left and (piece := os.read(fd, min(left, size))):
                if left == stamp.size and is_private_key(piece):
                    self.keys.add(path)
                left -= len(piece)
                yield piece
            self.check(fd, path, stamp)
        except OSError as error:
            raise _source_error(error) from error
        finally:
            os.close(fd)
        if left:
            raise SourceError(Reason.CHANGED, "became shorter while it was read")

    def read(self, path: str, stamp: Stamp) -> bytes:
        """All of a small file. Raises SourceError."""
        return b"".join(self.pieces(path, stamp))

    def digest(self, path: str, stamp: Stamp) -> bytes:
        """The xxh3-128 of the content, 16 bytes. Raises SourceError."""
        hasher = new_hash()
        for piece in self.pieces(path, stamp):
            hasher.update(piece)
        return hasher.digest()

    def names(self, directory: str) -> list[str]:
        """What is in a directory now; nothing if it can't be listed."""
        try:
            return os.listdir(self._way.to(directory))
        except OSError:
            return []

    def look(self, path: str) -> os.stat_result | None:
        """What is there now, links not followed. None: nothing, or nothing that can be looked at."""
        directory, _, name = path.rpartition("/")
        try:
            return os.stat(name or ".", dir_fd=self._way.to(directory), follow_symlinks=False)
        except OSError:
            return None

    def close(self) -> None:
        """Let go of SRC."""
        self._way.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: str) -> int:
        """A descriptor of whatever is there now, with no link on the way to it."""
        directory, _, name = path.rpartition("/")
        try:
            return os.open(name, self._flags, dir_fd=self._way.to(directory))
        except OSError as error:
            raise _source_error(error) from error


class Way:
    """From SRC down to the directory that was used last, held open: the next is mostly near it.

    O_NOFOLLOW is about the last name only, so that each step is taken by itself. Nothing is
    opened by a path: one that a swapped parent leads out of SRC may be a device, and act.
    """

    def __init__(self, root: int, *, follow: bool) -> None:
        self._root = root
        self._flags = _DIRECTORY if follow else _DIRECTORY | os.O_NOFOLLOW
        self._at = ""
        self._steps: list[tuple[str, int]] = []  # the names, and the descriptors; the latter none if too deep

    def to(self, directory: str) -> int:
        """The descriptor of a directory, good until the next call. Raises OSError."""
        if directory != self._at:
            names = directory.split("/") if directory else []
            common = 0
            while common < min(len(names), len(self._steps)) and names[common] == self._steps[common][0]:
                common += 1
            self._back_to(common)
            for name in names[len(self._steps) :]:
                self._step(name)
            self._at = directory
        return self._steps[-1][1] if self._steps else self._root

    def _step(self, name: str) -> None:
        above = self._steps[-1][1] if self._steps else self._root
        self._at = "\0"  # nowhere, should this fail
        fd = os.open(name, self._flags, dir_fd=above)
        if len(self._steps) > HELD:
            parent, _ = self._steps[-1]
            os.close(above)
            self._steps[-1] = parent, _CLOSED
        self._steps.append((name, fd))

    def _back_to(self, depth: int) -> None:
        """Up again, or to the root where the way back is not held."""
        self._at = "\0"
        if depth and self._steps[depth - 1][1] == _CLOSED:
            depth = 0
        while len(self._steps) > depth:
            _, fd = self._steps.pop()
            if fd != _CLOSED:
                os.close(fd)

    def close(self) -> None:
        """Let go of all. May be called twice."""
        self._back_to(0)
        if self._root >= 0:
            os.close(self._root)
            self._root = _CLOSED


def open_root(root: str) -> int:
    """A descriptor of SRC itself, which may be a link. Raises Refused, saying what is there instead."""
    shown = repr(root)[1:-1]
    try:
        return os.open(root, _DIRECTORY)
    except FileNotFoundError:
        what = "does not exist. Check the path, and that the disk it is on is mounted"
    except NotADirectoryError:
        what = "is not a directory. Give the folder that holds what shall be sent"
    except OSError as error:
        what = f"can't be opened: {error.strerror}. Run as a user who may read it, or change its permissions"
    raise Refused(f"The source {shown} {what}. Nothing was done.")


def open_directory(root: int, path: str, *, follow: bool) -> int:
    """A descriptor of the directory ``path`` below ``root``, opened step by step. Raises OSError.

    Unless ``follow``, a link on the way is an error.
    """
    flags = _DIRECTORY if follow else _DIRECTORY | os.O_NOFOLLOW
    fd = os.open(".", _DIRECTORY, dir_fd=root)
    for name in path.split("/") if path else ():
        try:
            deeper = os.open(name, flags, dir_fd=fd)
        finally:
            os.close(fd)
        fd = deeper
    return fd


def is_private_key(start: bytes) -> bool:
    """Whether the content is a private key, or holds one beside its certificate."""
    if start.find(_KEY, 0, _KEY_WITHIN) < 0:
        return start.startswith(b"PuTTY-User-Key-File-")
    return _PRIVATE_KEY.search(start, 0, _KEY_WITHIN) is not None


def new_hash() -> xxhash.xxh3_128:
    """A running xxh3-128, fed with ``update``; its ``digest()`` is what entries hold."""
    return xxhash.xxh3_128()


def digest_of(content: bytes) -> bytes:
    """The xxh3-128 of bytes in memory."""
    return xxhash.xxh3_128_digest(content)


def read_contents(
    source: Source, wanted: Iterable[tuple[str, Entry]]
) -> tuple[dict[str, Entry], list[Problem]]:
    """Fill in the digests of scanned files and the targets of scanned links.

    What can't be read is a problem and missing from the result; directories
    come back as they are.
    """
    filled: dict[str, Entry] = {}
    problems: list[Problem] = []
    for path, entry in wanted:
        try:
            if entry.kind is Kind.FILE:
                assert entry.stamp is not None, "a scanned file has a stamp"
                filled[path] = replace(entry, digest=source.digest(path, entry.stamp))
            elif entry.kind is Kind.SYMLINK:
                filled[path] = replace(entry, link=source.readlink(path))
            else:
                filled[path] = entry
        except SourceError as error:
            problems.append(Problem(path, Stage.HASH, error.reason, error.message))
    return filled, problems


def _source_error(error: OSError) -> SourceError:
    """What an error of the system means for the file."""
    if error.errno == errno.ENOENT:
        return SourceError(Reason.VANISHED, "is gone since it was scanned")
    if error.errno == errno.ENOTDIR:
        return SourceError(Reason.CHANGED, "a folder above it was replaced since it was scanned")
    if error.errno == errno.ELOOP:
        return SourceError(Reason.CHANGED, "became a symbolic link since it was scanned")
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return SourceError(Reason.SPECIAL, "became a FIFO, socket or device since it was scanned")
    return SourceError(Reason.UNREADABLE, f"can't be read: {error.strerror}. Make it readable, or exclude it")
