"""Each verb as calls to the system. No link is followed, but by ``Stat`` and ``Realpath``.

What may live here: what a verb means on a disk. A call that fails raises OSError: see ``driver``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from reconcile.remotes.local import kernel
from reconcile.remotes.local.codes import status_of
from reconcile.remotes.local.ways import Ways
from reconcile.remotes.tree import verbs
from reconcile.remotes.tree.steps import Notable
from reconcile.remotes.tree.verbs import OK, Attrs, Code, Data, Handle, Names, Space, Status

NAMES = 1000  # of a directory at a time
HOLE = 64 * 1024  # bytes of zeros that are not written, so that what is sparse stays so
_ZEROS = bytes(HOLE)
_END = Status(Code.EOF, "")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC
_RDONLY_FS = os.ST_RDONLY


class Open:
    """A file or directory that is open. ``end``: bytes of a file to which it is written."""

    __slots__ = ("end", "fd", "names", "short")

    def __init__(self, fd: int, names: Iterator[str] | None = None) -> None:
        self.fd = fd
        self.names = names
        self.end = 0
        self.short = False  # ends with a hole that is still to be made

    def close(self) -> None:
        """Once more, it fails: the number may be another's by then."""
        fd, self.fd = self.fd, -1
        os.close(fd)


class Calls:
    """What a recipe asks for, done. Holds what it has opened."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._opened: set[Open] = set()
        self._refuses = True  # the system's rename can be told to refuse what exists
        self.by_verb: dict[type, Callable[[Any], Any]] = {
            verbs.Lstat: self._lstat,
            verbs.Stat: self._stat,
            verbs.Realpath: self._realpath,
            verbs.Readlink: self._readlink,
            verbs.Statvfs: self._statvfs,
            verbs.Opendir: self._opendir,
            verbs.Readdir: self._readdir,
            verbs.Remove: self._remove,
            verbs.Mkdir: self._mkdir,
            verbs.Rmdir: self._rmdir,
            verbs.Rename: self._rename,
            verbs.Replace: self._replace,
            verbs.HardLink: self._hard_link,
            verbs.Symlink: self._symlink,
            verbs.Set: self._set,
            verbs.SetLink: self._set,
            verbs.SetHandle: self._set_handle,
            verbs.OpenNew: self._open_new,
            verbs.OpenAgain: self._open_again,
            verbs.OpenToRead: self._open_to_read,
            verbs.Read: self._read,
            verbs.Write: self._write,
            verbs.Share: self._share,
            verbs.Sync: self._sync,
            verbs.Close: self._close,
        }

    def let_go(self) -> None:
        """Close what recipes that were given up had opened."""
        while self._opened:
            self._opened.pop().close()

    # Looking.

    def _lstat(self, verb: verbs.Lstat) -> Attrs:
        fd, name = self._ways.to(verb.path)
        return _attrs(os.stat(name, dir_fd=fd, follow_symlinks=False))

    def _stat(self, verb: verbs.Stat) -> Attrs:
        fd, name = self._ways.to(verb.path)
        return _attrs(os.stat(name, dir_fd=fd))

    def _realpath(self, verb: verbs.Realpath) -> Names:
        return Names(((os.path.realpath(verb.path, strict=True), Attrs(0, 0, 0)),))

    def _readlink(self, verb: verbs.Readlink) -> Names:
        fd, name = self._ways.to(verb.path)
        return Names(((os.readlink(name, dir_fd=fd), Attrs(0, 0, 0)),))

    def _statvfs(self, verb: verbs.Statvfs) -> Space:
        fd, name = self._ways.to(verb.path)
        place = os.open(name, _LOOK, dir_fd=fd)
        try:
            told = os.fstatvfs(place)
        finally:
            os.close(place)
        read_only = bool(told.f_flag & _RDONLY_FS)
        return Space(told.f_bavail * told.f_frsize, bool(told.f_files and not told.f_favail), read_only)

    def _opendir(self, verb: verbs.Opendir) -> Handle:
        fd, name = self._ways.to(verb.path)
        opened = os.open(name, _LIST, dir_fd=fd)
        try:
            names = os.listdir(opened)
        except BaseException:
            os.close(opened)
            raise
        return self._hold(Open(opened, iter(names)))

    def _readdir(self, verb: verbs.Readdir) -> Names | Status:
        opened: Open = verb.handle
        assert opened.names is not None
        found = []
        for name in islice(opened.names, NAMES):
            with suppress(FileNotFoundError):  # gone since
                info = os.stat(name, dir_fd=opened.fd, follow_symlinks=False)
                found.append((os.fsencode(name), _attrs(info)))
        return Names(tuple(found)) if found else _END

    # Names.

    def _remove(self, verb: verbs.Remove) -> Status:
        fd, name = self._ways.to(verb.path)
        os.unlink(name, dir_fd=fd)
        return OK

    def _mkdir(self, verb: verbs.Mkdir) -> Status:
        fd, name = self._ways.to(verb.path)
        os.mkdir(name, verb.mode, dir_fd=fd)
        return OK

    def _rmdir(self, verb: verbs.Rmdir) -> Status:
        fd, name = self._ways.to(verb.path)
        os.rmdir(name, dir_fd=fd)
        self._ways.forget(verb.path)
        return OK

    def _rename(self, verb: verbs.Rename) -> Status:
        old_at, old, new_at, new = self._ways.both(verb.old, verb.new)
        if not self._refuses or not kernel.rename_to_nothing(old, new, old_at, new_at):
            _rename_carefully(old, new, old_at, new_at)
            self._refuses = False
        self._ways.forget(verb.old)
        return OK

    def _replace(self, verb: verbs.Replace) -> Status:
        old_at, old, new_at, new = self._ways.both(verb.old, verb.new)
        os.replace(old, new, src_dir_fd=old_at, dst_dir_fd=new_at)
        self._ways.forget(verb.old)
        self._ways.forget(verb.new)
        return OK

    def _hard_link(self, verb: verbs.HardLink) -> Status:
        old_at, old, new_at, new = self._ways.both(verb.old, verb.new)
        os.link(old, new, src_dir_fd=old_at, dst_dir_fd=new_at, follow_symlinks=False)
        return OK

    def _symlink(self, verb: verbs.Symlink) -> Status:
        fd, name = self._ways.to(verb.path)
        os.symlink(verb.target, name, dir_fd=fd)
        return OK

    # Modes and times.

    def _set(self, verb: verbs.Set | verbs.SetLink) -> Status:
        fd, name = self._ways.to(verb.path)
        if verb.mode is not None:
            _set_mode(name, fd, verb.mode)
        if verb.mtime is not None:
            os.utime(name, (verb.mtime, verb.mtime), dir_fd=fd, follow_symlinks=False)
        return OK

    def _set_handle(self, verb: verbs.SetHandle) -> Status:
        fd = verb.handle.fd
        self._end(verb.handle)  # which would change its time
        if verb.mode is not None:
            os.fchmod(fd, verb.mode)
        if verb.mtime is not None:
            os.utime(fd, (verb.mtime, verb.mtime))
        return OK

    # Content.

    def _open_new(self, verb: verbs.OpenNew) -> Handle:
        fd, name = self._ways.to(verb.path)
        mode = 0o666 if verb.mode is None else verb.mode
        return self._hold(Open(os.open(name, _NEW, mode, dir_fd=fd)))

    def _open_again(self, verb: verbs.OpenAgain) -> Handle:
        fd, name = self._ways.to(verb.path)
        return self._hold(Open(os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)))

    def _open_to_read(self, verb: verbs.OpenToRead) -> Handle:
        fd, name = self._ways.to(verb.path)
        return self._hold(Open(os.open(name, _READ, dir_fd=fd)))

    def _hold(self, opened: Open) -> Handle:
        self._opened.add(opened)
        return Handle(opened)

    def _read(self, verb: verbs.Read) -> Data | Status:
        data = os.pread(verb.handle.fd, verb.length, verb.offset)
        return Data(data) if data else _END

    def _write(self, verb: verbs.Write) -> Status:
        opened: Open = verb.handle
        data, offset = verb.data, verb.offset
        opened.short = _write_but_holes(opened.fd, data, offset)
        opened.end = offset + len(data)
        return OK

    def put(self, verb: verbs.Put, data: bytes) -> Notable:
        """Make a file that holds ``data``: what was no plain OK of what the verb stands for."""
        try:
            at, name = self._ways.to(verb.path)
            fd = os.open(name, _NEW, 0o666 if verb.mode is None else verb.mode, dir_fd=at)
        except OSError as error:
            return [(verbs.OpenNew, status_of(error))]
        notable: Notable = []
        try:
            try:
                if data and _write_but_holes(fd, data, 0):
                    os.ftruncate(fd, len(data))
            except OSError as error:
                notable.append((verbs.Write, status_of(error)))
            try:
                if verb.mode is not None:
                    os.fchmod(fd, verb.mode)
                if verb.mtime is not None:
                    os.utime(fd, (verb.mtime, verb.mtime))
            except OSError as error:
                notable.append((verbs.SetHandle, status_of(error)))
            try:
                if verb.syncs:
                    os.fsync(fd)
            except OSError as error:
                notable.append((verbs.Sync, status_of(error)))
        finally:
            try:
                os.close(fd)
            except OSError as error:
                notable.append((verbs.Close, status_of(error)))
        return notable

    def _share(self, verb: verbs.Share) -> Status:
        fd = verb.handle.fd
        kernel.share(verb.source, fd)
        if os.fstat(fd).st_size != verb.size:  # it has grown
            os.ftruncate(fd, verb.size)
        return OK

    def _sync(self, verb: verbs.Sync) -> Status:
        self._end(verb.handle)
        os.fsync(verb.handle.fd)
        return OK

    def _end(self, opened: Open) -> None:
        if opened.short:
            os.ftruncate(opened.fd, opened.end)
            opened.short = False

    def _close(self, verb: verbs.Close) -> Status:
        opened: Open = verb.handle
        self._opened.discard(opened)
        try:
            self._end(opened)
        finally:
            opened.close()
        return OK


def _attrs(info: os.stat_result) -> Attrs:
    return Attrs(info.st_size, info.st_mode, info.st_mtime_ns // 1_000_000_000, info.st_gid, info.st_uid)


def _write_but_holes(fd: int, data: bytes, offset: int) -> bool:
    """Zeros through and through are left out. Whether it ends so: in a hole that is still to be made."""
    if len(data) < HOLE:
        _write_all(fd, data, offset)
        return False
    view = memoryview(data)
    start = at = 0
    short = False
    while at < len(view):
        part = view[at : at + HOLE]
        short = part == _ZEROS[: len(part)]
        if short:
            if start < at:
                _write_all(fd, view[start:at], offset + start)
            start = at + len(part)
        at += len(part)
    if start < at:
        _write_all(fd, view[start:], offset + start)
    return short


def _write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    done = os.pwrite(fd, data, offset)
    while done < len(data):  # the disk may be full: the next one says so
        done += os.pwrite(fd, memoryview(data)[done:], offset + done)


def _rename_carefully(old: bytes, new: bytes, old_at: int | None, new_at: int | None) -> None:
    """Where the system can't refuse what exists: as it is done over SFTP, too.

    RACE: what is no file, or is on a file system without hard links, overwrites what comes there since
    we look.
    """
    info = os.stat(old, dir_fd=old_at, follow_symlinks=False)
    if stat.S_ISREG(info.st_mode):
        try:
            os.link(old, new, src_dir_fd=old_at, dst_dir_fd=new_at, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            pass  # no hard links there, or not for us
        else:
            os.unlink(old, dir_fd=old_at)
            return
    with suppress(FileNotFoundError):
        os.stat(new, dir_fd=new_at, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(old, new, src_dir_fd=old_at, dst_dir_fd=new_at)


def _set_mode(name: bytes, at: int | None, mode: int) -> None:
    """Of what is no link; if it is one, that is refused."""
    fd = os.open(name, _LOOK, dir_fd=at)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)
