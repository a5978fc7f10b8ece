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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from stat import S_IFREG, S_ISREG
from types import TracebackType
from typing import Self

import xxhash
from msgspec.structs import replace

from reconcile.core.chmod import Chmod
from reconcile.core.job import Links
from reconcile.core.model import PERMISSIONS, Entry, Kind, Problem, Reason, Stage, Stamp
from reconcile.source.way import Way, open_root
from reconcile.state.rows import narrow

PIECE = 1 << 20  # bytes read at once
AGAIN = (Reason.CHANGED, Reason.GROWING)  # why a file was not read, where it is worth a second try
_KEY, _KEY_WITHIN = b" PRIVATE KEY", 1 << 16  # bytes looked at
# At the beginning of a line, or quoted, as in the JSON and YAML of cloud accounts; not just spoken of.
_PRIVATE_KEY = rb"(?m)(?:^|\")[ \t\xef\xbb\xbf]*-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_GROWING = (
    "grew while it was read; the next run looks at it again. If it is only ever added to, as a log is, say "
    "--growing PATTERN: then what was in it is sent"
)
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class SourceError(Exception):
    """A file can't be read as it was scanned: VANISHED, CHANGED, UNREADABLE or SPECIAL."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Source:
    """SRC, held open. All paths are relative to it. Raises Refused if it isn't there."""

    def __init__(
        self,
        root: str,
        links: Links = Links.KEEP,
        may_grow: Callable[[str], bool] = lambda _: False,
        chmod: Chmod = Chmod(),
    ) -> None:
        self._follow = links is Links.FOLLOW
        self._flags = _FILE if self._follow else _FILE | os.O_NOFOLLOW
        self._chmod = chmod  # stamps have the modes that it makes
        self._may_grow = may_grow  # whether what was in a file may be sent while more is added to it
        self.exact = False  # whether nothing may be sent but what was scanned
        self.since_ns: int | None = (
            None  # what was modified since may still be written, and is not tried again
        )
        self.grown: set[str] = set()  # files of which that was read
        self.keys: set[str] = set()  # files that were read and are private keys
        self._way = Way(open_root(root), follow=self._follow)

    def open(self, path: str, stamp: Stamp) -> int:
        """A descriptor of the file, which is the one that was stamped. The caller closes it.

        Raises SourceError.
        """
        fd = self.open_now(path)
        try:
            self.check(fd, path, stamp)
        except BaseException as error:
            if not self._is_fine(error, path):
                os.close(fd)
                raise
        return fd

    @contextmanager
    def holding(self, path: str, stamp: Stamp) -> Iterator[int]:
        """The same descriptor for a while."""
        fd = self.open(path, stamp)
        try:
            yield fd
        finally:
            os.close(fd)

    def _has_grown(self, fd: int, path: str, stamp: Stamp) -> bool:
        """The same as ``check``, but true where something was added, and that is fine."""
        try:
            self.check(fd, path, stamp)
        except SourceError as error:
            if not self._is_fine(error, path):
                raise
            return True
        return False

    def _is_fine(self, error: BaseException, path: str) -> bool:
        """Whether ``check`` has found no more than that something was added to what may grow."""
        return isinstance(error, SourceError) and error.reason is Reason.GROWING and self._may_grow(path)

    def stamp(self, path: str) -> Stamp:
        """What a file that changed since the scan shows now, to try it once more. Raises SourceError."""
        fd = self.open_now(path)
        try:
            info = os.fstat(fd)
        finally:
            os.close(fd)
        if not S_ISREG(info.st_mode):
            raise SourceError(Reason.SPECIAL, "is no regular file any more; the next run looks at it again")
        mode = self._chmod.of(info.st_mode)
        return Stamp(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, mode)

    def check(self, fd: int, path: str, stamp: Stamp) -> None:  # noqa: ARG002 — the path is for wrappers in tests
        """Raise SourceError unless the open file still has the stamp.

        An inode number or ctime of 0 in the stamp was left out on purpose and
        is not compared.
        """
        try:
            info = os.fstat(fd)
        except OSError as error:
            raise _source_error(error) from error
        mode = self._chmod.of(info.st_mode)
        if (
            info.st_mtime_ns == stamp.mtime_ns
            and info.st_size == stamp.size
            and mode == stamp.mode
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
            mode,
        )
        if seen == stamp:
            return
        if (seen.ino, seen.mode) == (stamp.ino, stamp.mode) and seen.size > stamp.size:
            raise SourceError(Reason.GROWING, _GROWING)
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

        Raises SourceError, also after the last of it: only then it is sure. Of a file
        that may grow it is what was in it, once that has been read again and was the same.
        """
        fd = self.open(path, stamp)
        left = stamp.size
        proof = new_hash() if left > size and self._may_grow(path) else None
        piece = b""
        try:
            while left and (piece := os.read(fd, min(left, size))):
                if left == stamp.size and is_private_key(piece):
                    self.keys.add(path)
                left -= len(piece)
                if proof is not None:
                    proof.update(piece)
                yield piece
            if self._has_grown(fd, path, stamp):
                read = digest_of(piece) if proof is None else proof.digest()
                self._prove_unchanged(fd, path, stamp, read)
        except OSError as error:
            raise _source_error(error) from error
        finally:
            os.close(fd)
        if left:
            raise SourceError(Reason.CHANGED, "became shorter while it was read")

    def _prove_unchanged(self, fd: int, path: str, stamp: Stamp, read: bytes) -> None:
        """Raise SourceError if what was read of a file that grew is not what it holds still."""
        hasher, offset = new_hash(), 0
        while piece := os.pread(fd, min(PIECE, stamp.size - offset), offset):
            hasher.update(piece)
            offset += len(piece)
        if hasher.digest() != read:
            raise SourceError(Reason.CHANGED, "changed, and not only grew, while it was read")
        self._has_grown(fd, path, stamp)
        self.grown.add(path)

    def read(self, path: str, stamp: Stamp) -> bytes:
        """All of a small file. Raises SourceError."""
        if stamp.size <= PIECE and (content := self.read_plain(path, stamp)) is not None:
            return content
        return b"".join(self.pieces(path, stamp))

    def read_plain(self, path: str, stamp: Stamp) -> bytes | None:
        """The same of a file that is as stamped, which nearly all are; None: see what ``pieces`` says."""
        fd = self.open_now(path)
        try:
            self.check(fd, path, stamp)
            content = os.read(fd, stamp.size)
            self.check(fd, path, stamp)
        except (OSError, SourceError):
            return None
        finally:
            os.close(fd)
        if is_private_key(content):
            self.keys.add(path)
        return content if len(content) == stamp.size else None

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

    def open_now(self, path: str) -> int:
        """A descriptor of whatever is there now, with no link on the way to it. Raises SourceError."""
        directory, _, name = path.rpartition("/")
        try:
            return os.open(name, self._flags, dir_fd=self._way.to(directory))
        except OSError as error:
            raise _source_error(error) from error


def stamp_of(entry: Entry) -> Stamp:
    """The stamp the source must still have. Zeros stand for what the entry does not know."""
    if entry.stamp is not None:
        return entry.stamp
    return Stamp(0, entry.size, entry.mtime_ns, 0, S_IFREG | (entry.wished_mode & PERMISSIONS))


def as_it_is_now(source: Source, path: str, wish: Entry) -> Entry | None:
    """The wish for a file that changed since the scan; None if it is none, or is to wait."""
    if source.exact:
        return None
    try:
        stamp = source.stamp(path)
    except SourceError:
        return None
    if source.since_ns is not None and stamp.mtime_ns > source.since_ns:
        return None
    return replace(wish, size=stamp.size, mtime_ns=stamp.mtime_ns, digest=None, stamp=stamp)


def is_private_key(start: bytes) -> bool:
    """Whether the content is a private key, or holds one beside its certificate."""
    if start.rfind(_KEY, 0, _KEY_WITHIN) < 0:  # from the end it is a third quicker
        return start.startswith(b"PuTTY-User-Key-File-")
    return re.compile(_PRIVATE_KEY).search(start, 0, _KEY_WITHIN) is not None


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
