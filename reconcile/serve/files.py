"""The files of one folder, as the embedded server shows them: ``/`` is the folder, and nothing else is.

Every path is descended name by name, by directory descriptor and without
following links; a link is read and its target descended the same way. So no
``..``, no link and no swap of one between look and use leads out. Where the
system has no descriptors for directories (Windows) the real path is checked
instead. ``RACE:`` there a link swapped in after the check is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from reconcile.remotes.sftp.wire import FX_OK
from reconcile.remotes.ssh.library import paramiko

_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.readlink in os.supports_dir_fd
_PIN = getattr(os, "O_PATH", os.O_RDONLY)  # enough to descend and to change attributes, needs no permission
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a FIFO must not hang
_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_MAX_LINKS = 40  # as the Linux kernel, path_resolution(7)
_MAX_READ = 256 * 1024
_BATCH = 100  # names in one reply, as OpenSSH

Attributes = paramiko.SFTPAttributes


class Place(NamedTuple):
    """A name in a directory: what the ``os`` functions take."""

    name: bytes
    folder: int | None  # descriptor; None: the name is a whole path


class Files(paramiko.SFTPServerInterface):
    """What the server does with each request. OSError becomes the status that OpenSSH would send.

    Paths are bytes in ``str`` with surrogateescape, as everywhere.
    """

    def __init__(self, server: paramiko.ServerInterface, root: str) -> None:
        super().__init__(server)
        self.root = os.fsencode(os.path.realpath(root))

    @contextmanager
    def locate(self, path: str, *, follow: bool = False) -> Iterator[Place]:
        """Find the directory that holds ``path``; with ``follow`` that of what a link there leads to.

        Raises OSError, EACCES if it would lead out.
        """
        names = [name for name in os.fsencode(path).split(b"/") if name not in (b"", b".")]
        if not _BY_DESCRIPTOR:
            yield self._check_real(names, follow)
            return
        stack = [os.open(self.root, _PIN | _DIRECTORY | _PLAIN)]
        try:
            yield self._descend(stack, names, follow)
        finally:
            for fd in stack:
                os.close(fd)

    def _descend(self, stack: list[int], names: list[bytes], follow: bool) -> Place:
        """Descend from the last of ``stack``, which grows and shrinks with the way."""
        todo = names[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name == b"..":
                if len(stack) == 1:
                    raise PermissionError(errno.EACCES, "leads out")
                os.close(stack.pop())
                continue
            target = _read_link(name, stack[-1]) if todo or follow else None
            if target is None:
                if not todo:
                    return Place(name, stack[-1])
                stack.append(os.open(name, _PIN | _DIRECTORY | _NO_FOLLOW | _PLAIN, dir_fd=stack[-1]))
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, "too many links")
            if target.startswith(b"/"):
                target = self._inside(target)
                while len(stack) > 1:
                    os.close(stack.pop())
            todo += [part for part in target.split(b"/")[::-1] if part not in (b"", b".")]
        return Place(b".", stack[-1])

    def _inside(self, target: bytes) -> bytes:
        """An absolute path on this machine, relative to the root; it leads out unless it begins with it."""
        if target != self.root and not target.startswith(self.root.rstrip(b"/") + b"/"):
            raise PermissionError(errno.EACCES, "leads out")
        return target[len(self.root) :]

    def _check_real(self, names: list[bytes], follow: bool) -> Place:
        parent = os.path.realpath(os.path.join(self.root, *names[:-1]))
        whole = os.path.join(parent, names[-1]) if names else self.root
        whole = os.path.realpath(whole) if follow or names[-1:] == [b".."] else whole
        if os.path.commonpath([self.root, parent, whole]) != self.root:
            raise PermissionError(errno.EACCES, "leads out")
        return Place(whole, None)

    def _check_link(self, target: bytes, path: str) -> None:
        """Refuse a link at ``path`` whose ``target`` leads out, or could once what is missing is made."""
        parent = os.path.dirname(path.rstrip("/"))
        if target.startswith(b"/"):
            parent, target = "", self._inside(target)
        try:
            with self.locate(f"{parent}/{os.fsdecode(target)}", follow=True):
                pass
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            # Dangling is fine. What goes up again behind a missing name can't be judged.
            names = [name for name in target.split(b"/") if name not in (b"", b".")]
            climbs = next((index for index, name in enumerate(names) if name != b".."), len(names))
            if b".." in names[climbs:]:
                raise PermissionError(errno.EACCES, "may lead out") from None

    # What clients ask for. The names are those of paramiko's interface.

    def open(self, path: str, flags: int, attr: Attributes) -> paramiko.SFTPHandle:
        """OPEN. With O_EXCL a link is never followed."""
        mode = 0o666 if attr.st_mode is None else attr.st_mode & 0o7777
        with self.locate(path, follow=not flags & os.O_EXCL) as place:
            fd = os.open(place.name, flags | _NO_FOLLOW | _NO_WAIT | _PLAIN, mode, dir_fd=place.folder)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "no regular file")
        return self.hold(fd)

    def hold(self, fd: int) -> File:
        """What a client reads and writes an open file by."""
        return File(fd)

    def list_folder(self, path: str) -> list[Attributes]:
        """OPENDIR: all of a directory, names as raw bytes."""
        with self.locate(path, follow=True) as place:
            fd = (
                os.open(place.name, os.O_RDONLY | _DIRECTORY | _NO_FOLLOW | _PLAIN, dir_fd=place.folder)
                if place.folder is not None
                else None
            )
        try:
            found = []
            for name in os.listdir(place.name if fd is None else fd):
                raw = os.fsencode(name)
                where = Place(raw, fd) if fd is not None else Place(os.path.join(place.name, raw), None)
                try:
                    found.append(_describe(_lstat(where), raw))
                except FileNotFoundError:
                    continue  # it went meanwhile
            return found
        finally:
            if fd is not None:
                os.close(fd)

    def stat(self, path: str) -> Attributes:
        """STAT, which follows links."""
        with self.locate(path, follow=True) as place:
            return _describe(_lstat(place))

    def lstat(self, path: str) -> Attributes:
        """LSTAT, which doesn't."""
        with self.locate(path) as place:
            return _describe(_lstat(place))

    def remove(self, path: str) -> int:
        """REMOVE, of anything but a directory."""
        with self.locate(path) as place:
            os.unlink(place.name, dir_fd=place.folder)
        return FX_OK

    def rename(self, oldpath: str, newpath: str) -> int:
        """RENAME, which refuses an existing target; for regular files atomically, by link and unlink."""
        with self.locate(oldpath) as old, self.locate(newpath) as new:
            info = _lstat(old)
            self._check_moved_link(info, old, newpath)
            if stat.S_ISREG(info.st_mode):
                os.link(
                    old.name, new.name, src_dir_fd=old.folder, dst_dir_fd=new.folder, follow_symlinks=False
                )
                os.unlink(old.name, dir_fd=old.folder)
                return FX_OK
            try:
                _lstat(new)
            except FileNotFoundError:
                os.rename(old.name, new.name, src_dir_fd=old.folder, dst_dir_fd=new.folder)
                return FX_OK
            raise FileExistsError(errno.EEXIST, "target exists")

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        """``posix-rename@openssh.com``: the target is replaced in one step."""
        with self.locate(oldpath) as old, self.locate(newpath) as new:
            self._check_moved_link(_lstat(old), old, newpath)
            os.replace(old.name, new.name, src_dir_fd=old.folder, dst_dir_fd=new.folder)
        return FX_OK

    def _check_moved_link(self, info: os.stat_result, old: Place, newpath: str) -> None:
        if stat.S_ISLNK(info.st_mode):  # a relative one means something else at another depth
            self._check_link(os.readlink(old.name, dir_fd=old.folder), newpath)

    def mkdir(self, path: str, attr: Attributes) -> int:
        """MKDIR."""
        mode = 0o777 if attr.st_mode is None else attr.st_mode & 0o7777
        with self.locate(path) as place:
            os.mkdir(place.name, mode, dir_fd=place.folder)
        return FX_OK

    def rmdir(self, path: str) -> int:
        """RMDIR, of an empty one."""
        with self.locate(path) as place:
            os.rmdir(place.name, dir_fd=place.folder)
        return FX_OK

    def chattr(self, path: str, attr: Attributes) -> int:
        """SETSTAT, which follows links."""
        with self.locate(path, follow=True) as place:
            if place.folder is None:
                _change(place.name, attr)
                return FX_OK
            fd = os.open(place.name, _PIN | _NO_FOLLOW | _NO_WAIT | _PLAIN, dir_fd=place.folder)
        try:
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                raise OSError(errno.ELOOP, "swapped for a link")
            # A descriptor that only pins can't be changed, but what it pins can be named.
            _change(f"/proc/self/fd/{fd}" if _PIN != os.O_RDONLY else fd, attr)
        finally:
            os.close(fd)
        return FX_OK

    def readlink(self, path: str) -> bytes:  # type: ignore[override]  # names are bytes
        """READLINK."""
        with self.locate(path) as place:
            return os.readlink(place.name, dir_fd=place.folder)

    def symlink(self, target_path: str, path: str) -> int:
        """SYMLINK, its arguments in OpenSSH's order: the target comes first."""
        target = os.fsencode(target_path)
        with self.locate(path) as place:
            self._check_link(target, path)
            os.symlink(target, place.name, dir_fd=place.folder)
        return FX_OK

    def canonicalize(self, path: str) -> bytes:  # type: ignore[override]  # names are bytes
        """REALPATH: links resolved, as the client may name it. Nothing need exist."""
        real = os.path.realpath(os.path.join(self.root, os.fsencode(path).lstrip(b"/")))
        return b"/" + self._inside(real).replace(os.fsencode(os.sep), b"/").lstrip(b"/")


class File(paramiko.SFTPHandle):
    """An open file. Positions are the client's, so the descriptor's own doesn't matter."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd

    def read(self, offset: int, length: int) -> bytes:
        """READ; empty at the end."""
        return os.pread(self.fd, min(length, _MAX_READ), offset)

    def write(self, offset: int, data: bytes) -> int:  # type: ignore[override]  # all that ever comes
        """WRITE, all of it or an error."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            view, offset = view[written:], offset + written
        return FX_OK

    def stat(self) -> Attributes:
        """FSTAT."""
        return _describe(os.fstat(self.fd))

    def chattr(self, attr: Attributes) -> int:
        """FSETSTAT."""
        _change(self.fd, attr)
        return FX_OK

    def close(self) -> None:
        """CLOSE. May be called twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Folder(paramiko.SFTPHandle):
    """An open directory, and how far it was read."""

    def __init__(self, entries: list[Attributes]) -> None:
        super().__init__()
        self._entries = iter(entries)

    def _get_next_files(self) -> list[Attributes]:
        return list(islice(self._entries, _BATCH))


class _Described(Attributes):
    """Attributes that know their name as bytes, and a line as of ``ls -l``."""

    filename: bytes  # type: ignore[assignment]  # names are bytes

    def asbytes(self) -> bytes:
        """What a client may show to people."""
        return b"%s %d %s" % (stat.filemode(self.st_mode or 0).encode(), self.st_size or 0, self.filename)


def _describe(info: os.stat_result, name: bytes | None = None) -> Attributes:
    described = Attributes() if name is None else _Described()
    if isinstance(described, _Described) and name is not None:
        described.filename = name
    described.st_size = info.st_size
    described.st_uid, described.st_gid, described.st_mode = info.st_uid, info.st_gid, info.st_mode
    # The protocol has 32 bits for seconds.
    described.st_atime, described.st_mtime = int(info.st_atime) & 0xFFFFFFFF, int(info.st_mtime) & 0xFFFFFFFF
    return described


def _lstat(place: Place) -> os.stat_result:
    return os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)


def _read_link(name: bytes, folder: int) -> bytes | None:
    """The target of a link, None for anything else."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _change(what: int | str | bytes, attr: Attributes) -> None:
    """Set the attributes that were sent, in OpenSSH's order."""
    if attr.st_size is not None:
        os.truncate(what, attr.st_size)
    if attr.st_atime is not None and attr.st_mtime is not None:
        os.utime(what, (attr.st_atime, attr.st_mtime))
    if attr.st_mode is not None:
        os.chmod(what, attr.st_mode & 0o7777)
    if attr.st_uid is not None and attr.st_gid is not None:
        os.chown(what, attr.st_uid, attr.st_gid)
