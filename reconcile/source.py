"""Bytes of local files, and of nothing but the files that were scanned.

Between the scan and the read anybody may swap a file, or a folder above it, for
a link or a FIFO. So a file is opened below the descriptor of SRC without
following a link and without blocking, and has to show the stamp of the scan
before its first byte is read and again after its last.
"""

from __future__ import annotations

import errno
import os
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
_MISSING = (errno.ENOENT, errno.ENOTDIR)
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
        self._root = open_root(root)

    def open(self, path: str, stamp: Stamp) -> int:
        """A descriptor of the file, which is the one that was stamped. The caller closes it.

        Raises SourceError.
        """
        fd = self._open(path, stepwise=not (stamp.ino and stamp.ctime_ns))
        try:
            self.check(fd, path, stamp)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def stamp(self, path: str) -> Stamp:
        """What a file that changed since the scan shows now, to try it once more. Raises SourceError."""
        fd = self._open(path, stepwise=True)
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
        parent, _, name = path.rpartition("/")
        try:
            fd = open_directory(self._root, parent, follow=self._follow)
            try:
                return os.readlink(name, dir_fd=fd)
            finally:
                os.close(fd)
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

    def close(self) -> None:
        """Let go of SRC."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: str, *, stepwise: bool) -> int:
        """A descriptor of whatever is there now.

        O_NOFOLLOW is about the last name only. With inode and ctime a stamp tells a file
        from one that a swapped parent leads to; without, the way goes ``stepwise``.
        """
        try:
            if not stepwise:
                return os.open(path, self._flags, dir_fd=self._root)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # longer than the kernel takes at once
                raise _source_error(error) from error
        parent, _, name = path.rpartition("/")
        try:
            directory = open_directory(self._root, parent, follow=self._follow)
            try:
                return os.open(name, self._flags, dir_fd=directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise _source_error(error) from error


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
    if error.errno in _MISSING:
        return SourceError(Reason.VANISHED, "is gone since it was scanned")
    if error.errno == errno.ELOOP:
        return SourceError(Reason.CHANGED, "became a symbolic link since it was scanned")
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return SourceError(Reason.SPECIAL, "became a FIFO, socket or device since it was scanned")
    return SourceError(Reason.UNREADABLE, f"can't be read: {error.strerror}. Make it readable, or exclude it")
