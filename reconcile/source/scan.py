"""The local tree → a :class:`reconcile.core.model.Scan`. Reads directories and stamps, no content.

The walk is kernel time if next to nothing is done for each file: names are
listed and sorted, every name is one ``fstatat``, its numbers go to one flat list
and that is packed once for each directory (``rows``). Directories are opened below
the descriptor of their parent, so a link that is put in the way is not followed.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from stat import S_IFDIR, S_IFLNK, S_IFREG, S_ISDIR
from types import MappingProxyType
from typing import TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from reconcile.core.errors import Refused
from reconcile.core.filters import Filter
from reconcile.core.hidden import DEFAULT_EXCLUDES
from reconcile.core.job import Links, Options
from reconcile.core.model import (
    PERMISSIONS,
    RESERVED_NAME,
    RESERVED_PREFIX,
    Directory,
    Problem,
    Reason,
    Scan,
    Stage,
)
from reconcile.source.fork import Half, may_fork, start_half
from reconcile.source.way import open_directory, open_root
from reconcile.state.rows import STRIDE, pack_stamps, scanned

GRACE_NS = 2_500_000_000  # covers the clock tick of every local file system; FAT's is the longest, 2 s
NETWORK_GRACE_NS = 60_000_000_000  # stamps are the server's, whose clock may be off
OPEN_LIMIT = 100  # descriptors held at once, however deep the tree
SHARE_FROM = 20_000  # entries after which a second process takes half of the rest: starting it takes some ms

Identity: TypeAlias = tuple[int, int, int, int]  # device, inode; of files size and time

_FORMAT = 0o170000
_WAY_OUT = "; what DEST holds of it stays. Make it readable, or exclude it"
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Beside fuse.*, which may be anything.
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse", "gfs2", "glusterfs", "lustre", "ncpfs"}
    | {"nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "vboxsf", "virtiofs"}
)


class _Frame(Struct, eq=False):
    """A directory with subdirectories still to be entered."""

    path: str
    fd: int | None  # None: closed to keep the number of open descriptors down
    pending: list[str] = field(default_factory=list)  # subdirectories, last first
    device: int = 0  # of what is in it
    identity: tuple[int, int] | None = None  # device and inode, where links are followed


def scan(
    source_root: str,
    filter: Filter,
    options: Options,
    meanwhile: Callable[[], None] | None = None,
    own: Mapping[Identity, str] = MappingProxyType({}),
) -> Scan:
    """Look at every path below ``source_root`` that the filter lets through.

    ``own`` is what is ours, and what to call it: left out wherever it turns up.

    ``meanwhile`` is called once, early. Where another process can be had it does the looking
    then, so that what is begun in a thread need not take turns with us.
    Raises Refused if the root is missing, no directory or unreadable. Anything
    else that can't be looked at becomes a problem and is in ``unknown``.
    """
    grace_ns, points = _mounts_of(source_root)
    walk = _Walk(source_root, filter, options, own)
    started_ns = time.time_ns()
    try:
        walk.run(meanwhile)
    finally:
        walk.close()
    if walk.links_left_out:
        message = f"{walk.links_left_out:,} symbolic links are left out: none are to be sent"
        walk.notes.append(Problem("", Stage.SCAN, Reason.SPECIAL, message))
    return Scan(
        dirs=walk.dirs,
        started_ns=started_ns,
        grace_ns=grace_ns,
        problems=tuple(walk.problems),
        notes=tuple(walk.notes),
        unknown=frozenset(walk.unknown),
        mounts=frozenset(walk.mounts) | {point for point in points if point in walk.dirs},
        own=walk.own,
        left_out=walk.left_out,
        entry_count=walk.entry_count,
    )


class _Walk:
    """One walk through the tree: what it found, and the directories it holds open."""

    def __init__(self, root: str, chosen: Filter, options: Options, ours: Mapping[Identity, str]) -> None:
        self.dirs: dict[str, Directory] = {}
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.unknown: set[str] = set()
        self.mounts: dict[str, int] = {}  # directories on another device than the one above, and which
        self.own: dict[str, str] = {}  # what is ours, by path
        self.entry_count = 0
        self.links_left_out = 0
        self._ours = ours
        self._inodes = frozenset(inode for _, inode, *_ in ours)
        self.left_out: Counter[str] = Counter()  # of what is excluded by default, by name
        self._chosen = chosen
        self._excludes: Callable[[str, bool], bool] | None = None if chosen.empty else chosen.excludes
        if options.default_excludes:
            self._excludes = self._exclude_and_count
        self._follow = options.links is Links.FOLLOW
        self._skip_links = options.links is Links.SKIP
        self._chmod = options.chmod
        self._unused = [4] * options.ignore_ctime + [5] * options.ignore_inode  # columns of a row
        self._flags = _FLAGS if self._follow else _FLAGS | os.O_NOFOLLOW
        self._half: Half | None = None  # the other process
        self._theirs: list[_Frame] = []  # what it walks
        self._may_share = True
        self._frames: list[_Frame] = []
        self._open: deque[_Frame] = deque()  # those with a descriptor, the base not among them
        self._shown_root = repr(root)[1:-1]
        self._root = open_root(root)

    def run(self, meanwhile: Callable[[], None] | None) -> None:
        """Walk depth first, in the order of names."""
        base = _Frame("", self._root, device=os.fstat(self._root).st_dev)
        if self._follow:
            base.identity = _identity(self._root)
        self._look(base)
        self._frames.append(base)
        if meanwhile is not None:
            self._share(everything=True)
            meanwhile()
        self._walk()

    def _walk(self) -> None:
        """Walk what is left to us, and add what another process found."""
        self._go_on()
        if self._half is not None:
            self._take_over(self._half)

    def _go_on(self) -> None:
        while self._frames:
            frame = self._frames[-1]
            if frame.pending:
                self._descend(frame, frame.pending.pop())
                if self._may_share and self.entry_count >= SHARE_FROM:
                    self._share(everything=False)
            else:
                self._frames.pop()
                self._close(frame)

    def _share(self, *, everything: bool) -> None:
        """Leave the directories that are still to be entered, or every second, to another process."""
        self._may_share = False
        if not may_fork():
            return
        theirs, ours = (slice(None), slice(0)) if everything else (slice(1, None, 2), slice(None, None, 2))
        self._theirs = [replace(frame, fd=None, pending=frame.pending[theirs]) for frame in self._frames]
        self._half = start_half(lambda: self._walk_theirs(may_share=everything), self._root)
        if self._half is not None:
            for frame in self._frames:
                frame.pending = frame.pending[ours]

    def _walk_theirs(self, *, may_share: bool) -> Iterator[object]:
        """In the other process: what is below its directories, as ``_take_over`` understands it."""
        self._may_share = may_share
        self._frames = self._theirs
        self._open.clear()
        self.dirs, self.problems, self.notes, self.unknown, self.own = {}, [], [], set(), {}
        self.mounts = dict(self.mounts)  # some of these are still to be entered
        self.entry_count = self.links_left_out = 0
        self.left_out = Counter()
        self._walk()
        told = [
            [(each.path, each.reason.value, each.message) for each in some]
            for some in (self.problems, self.notes)
        ]
        counts = self.entry_count, self.links_left_out, self.left_out
        yield [*told, list(self.unknown), self.mounts, self.own, *counts]
        for path, directory in self.dirs.items():
            yield [path, directory.raw]

    def _take_over(self, half: Half) -> None:
        """Add what the other process found. Should it have died, its part is walked here."""
        found = half.results()
        half.end()
        if found is None:
            self._frames = self._theirs
            self._go_on()
            return
        problems, notes, unknown, mounts, own, entries, links, left_out = found.pop(0)
        self.problems += [Problem(path, Stage.SCAN, Reason(why), text) for path, why, text in problems]
        self.notes += [Problem(path, Stage.SCAN, Reason(why), text) for path, why, text in notes]
        self.unknown.update(unknown)
        self.mounts.update(mounts)
        self.own.update(own)
        self.entry_count += entries
        self.links_left_out += links
        self.left_out.update(left_out)
        self.dirs.update((path, scanned(raw)) for path, raw in found)

    def close(self) -> None:
        """Close all that is open."""
        if self._half is not None:
            self._half.end()
        for frame in self._open:
            assert frame.fd is not None
            os.close(frame.fd)
        self._open.clear()
        os.close(self._root)

    def _descend(self, parent: _Frame, name: str) -> None:
        """Look into one subdirectory and keep it if it has subdirectories itself."""
        path = f"{parent.path}/{name}" if parent.path else name
        try:
            fd = self._enter(parent, name)
        except OSError as error:
            self._miss_directory(path, error)
            return
        frame = _Frame(path, fd, device=self.mounts.get(path, parent.device))
        self._open.append(frame)
        if self._follow:
            frame.identity = _identity(fd)
            above = next((above for above in self._frames if above.identity == frame.identity), None)
            if above is not None:
                self._close(frame)
                message = f"a link leads back up to {above.path or 'the source'!r}; remove it or exclude it"
                self._miss(path, Reason.LOOP, message)
                return
        self._look(frame)
        if frame.pending:
            self._frames.append(frame)
            if len(self._open) > OPEN_LIMIT:
                self._close(self._open[0])
        else:
            self._close(frame)

    def _enter(self, parent: _Frame, name: str) -> int:
        """Open a subdirectory; close the parent if that was its last."""
        if parent.fd is None:
            parent.fd = open_directory(self._root, parent.path, follow=self._follow)
            self._open.append(parent)
        fd = os.open(name, self._flags, dir_fd=parent.fd)
        if not parent.pending:
            self._close(parent)
        return fd

    def _close(self, frame: _Frame) -> None:
        """Close a directory that is the first or the last opened; the base stays open."""
        if frame.fd is None or frame.fd == self._root:
            return
        if self._open[-1] is frame:
            self._open.pop()
        else:
            self._open.popleft()
        os.close(frame.fd)
        frame.fd = None

    def _look(self, frame: _Frame) -> None:
        """List one directory, pack its rows, note its subdirectories."""
        fd = frame.fd
        assert fd is not None
        names = self._list(frame.path, fd)
        if names is None:
            return
        prefix = f"{frame.path}/" if frame.path else ""
        rows: list[str | int] = []
        subdirectories: list[str] = []
        missing: list[str] = []
        stat = os.stat if self._follow else os.lstat
        excludes, skip_links, device, inodes = self._excludes, self._skip_links, frame.device, self._inodes
        for name in names:
            try:
                info = stat(name, dir_fd=fd)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    missing.append(name)
                else:
                    self._miss_entry(prefix + name, error)
                continue
            mode = info.st_mode
            kind = mode & _FORMAT
            if excludes is not None and excludes(prefix + name, kind == S_IFDIR):
                continue
            if info.st_ino in inodes and self._is_ours(prefix + name, info):
                continue
            if kind == S_IFREG:
                rows += (name, mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
            elif kind == S_IFDIR:
                # Inherited setgid bits and the like are not sent, so they are no change either.
                rows += (name, S_IFDIR | mode & PERMISSIONS, 0, 0, 0, 0)
                subdirectories.append(name)
                if info.st_dev != device:
                    self.mounts[prefix + name] = info.st_dev
            elif kind != S_IFLNK:
                message = "FIFOs, sockets and devices are not sent"
                self.notes.append(Problem(prefix + name, Stage.SCAN, Reason.SPECIAL, message))
            elif skip_links:
                self.links_left_out += 1
            else:
                rows += (name, mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
        if missing:
            self._look_again(fd, missing, prefix)
        self._adapt(rows)
        self.entry_count += len(rows) // STRIDE
        self.dirs[frame.path] = scanned(pack_stamps(rows))
        subdirectories.reverse()
        frame.pending = subdirectories

    def _exclude_and_count(self, path: str, is_dir: bool) -> bool:
        if not self._chosen.excludes(path, is_dir):
            return False
        name = path.rpartition("/")[2]
        if name in DEFAULT_EXCLUDES:
            self.left_out[name] += 1
        return True

    def _adapt(self, rows: list[str | int]) -> None:
        """What is not to count is 0 in all rows, and modes are as they are to be sent."""
        for column in self._unused:
            rows[column::STRIDE] = [0] * (len(rows) // STRIDE)
        if self._chmod:
            rows[1::STRIDE] = map(self._chmod.of, map(int, rows[1::STRIDE]))

    def _is_ours(self, path: str, info: os.stat_result) -> bool:
        """Whether that is ours; which is noted."""
        what = self._ours.get(identify(info))
        if what is not None:
            self.own[path] = what
        return what is not None

    def _leave_out_reserved(self, names: list[str]) -> list[str]:
        """The names at the top without those that are ours on the remote."""
        kept = []
        for name in names:
            if name != RESERVED_NAME and not name.startswith(RESERVED_PREFIX):
                kept.append(name)
            elif self._excludes is None or not self._excludes(name, True):
                message = "this name is used by reconcile itself and is not sent; rename it or exclude it"
                self.problems.append(Problem(name, Stage.SCAN, Reason.RESERVED, message))
        return kept

    def _miss(self, path: str, reason: Reason, message: str) -> None:
        """Say that we don't know what is at ``path`` and below."""
        self.problems.append(Problem(path, Stage.SCAN, reason, message))
        self.unknown.add(path)

    def _list(self, path: str, fd: int) -> list[str] | None:
        """The sorted names in a directory, at the top without ours. None: it can't be listed."""
        try:
            names = os.listdir(fd)
        except OSError as error:
            if not path:
                raise Refused(
                    f"The source {self._shown_root} can't be listed: {error.strerror}. Nothing was done. "
                    "Check the disk and its permissions."
                ) from error
            self._miss_directory(path, error)
            return None
        names.sort()
        return names if path else self._leave_out_reserved(names)

    def _look_again(self, fd: int, missing: Sequence[str], prefix: str) -> None:
        """Names that were listed and were not there. Gone meanwhile, unless they are listed still.

        Damaged disks, and some network file systems, list what they don't show.
        """
        try:
            listed = set(os.listdir(fd))
        except OSError:
            listed = set(missing)
        for name in missing:
            if name not in listed:
                continue
            try:
                os.stat(name, dir_fd=fd, follow_symlinks=self._follow)
                problem = Reason.CHANGED, "was replaced during the scan; the next run looks at it again"
            except OSError as error:
                if self._follow and _is_link(name, fd):
                    problem = Reason.UNREADABLE, "the link leads to nothing; remove it or exclude it"
                else:
                    said = f"is listed, but can't be looked at: {error.strerror}{_WAY_OUT}"
                    problem = Reason.UNREADABLE, said
            if self._excludes is None or not self._excludes(prefix + name, False):
                self._miss(prefix + name, *problem)

    def _miss_entry(self, path: str, error: OSError) -> None:
        """A listed name that can't be looked at."""
        if self._excludes is not None and self._excludes(path, False):
            return
        if error.errno == errno.ELOOP:
            self._miss(path, Reason.LOOP, "the link leads to itself; remove it or exclude it")
        else:
            self._miss(path, Reason.UNREADABLE, f"can't be looked at: {error.strerror}{_WAY_OUT}")

    def _miss_directory(self, path: str, error: OSError) -> None:
        """A directory that was there a moment ago and can't be entered now.

        One that is gone may have been moved to where we had looked already.
        """
        if error.errno == errno.ENOENT:
            self._miss(path, Reason.VANISHED, "is gone since the scan began; the next run looks again")
        elif error.errno in (errno.ENOTDIR, errno.ELOOP):
            self._miss(path, Reason.CHANGED, "was replaced during the scan; the next run looks at it again")
        else:
            self._miss(path, Reason.UNREADABLE, f"can't be opened: {error.strerror}{_WAY_OUT}")


def identify(info: os.stat_result) -> Identity:
    """What tells a thing under all its names. Of files more than the inode: on some disks all have one."""
    if S_ISDIR(info.st_mode):
        return info.st_dev, info.st_ino, 0, 0
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def _is_link(name: str, fd: int) -> bool:
    """Whether there is a link of that name, wherever it leads."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode & _FORMAT == S_IFLNK
    except OSError:
        return False


def _identity(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino


def _mounts_of(root: str) -> tuple[int, list[str]]:
    """How much newer than the scan's start a stamp may be and still be doubted, by file system.

    And what the system says is mounted below: what is bound from the same file system has its device number.
    """
    try:
        with open("/proc/self/mountinfo", "rb") as file:  # proc(5); there is none on macOS
            mounts = [_mount(line) for line in file]
    except OSError:
        return GRACE_NS, []
    path = os.fsencode(os.path.realpath(root)).rstrip(b"/") + b"/"
    above = [(len(point), number) for number, (point, _) in enumerate(mounts) if path.startswith(point)]
    below = [(point, kind) for point, kind in mounts if point.startswith(path)]
    kinds = {kind for _, kind in below}
    if above:
        kinds.add(mounts[max(above)[1]][1])
    network = any(kind in _NETWORK or kind.startswith("fuse.") for kind in kinds)
    points = [os.fsdecode(point[len(path) : -1]) for point, _ in below if point != path]
    return NETWORK_GRACE_NS if network else GRACE_NS, points


def _mount(line: bytes) -> tuple[bytes, str]:
    """A line of mountinfo → where it is mounted, with a slash at the end, and the file system's name."""
    fields, _, rest = line.partition(b" - ")
    point = fields.split(b" ")[4]
    for escape, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        point = point.replace(escape, char)
    return point.rstrip(b"/") + b"/", rest.split(b" ")[0].decode("ascii", "replace")
