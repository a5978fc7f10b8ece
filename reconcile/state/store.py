"""Where a job's snapshot lies on disk, and how it is replaced so that there is always a whole one.

    <base>/<readable>-<hash of source and target>/snapshot, snapshot.bak

The folder is 0700 and the files are 0600: names of files tell things too.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from functools import partial

import xxhash

from reconcile.core.errors import ReconcileError, Refused, UsageError
from reconcile.core.job import Job, Target
from reconcile.core.model import DirectorySnapshot, PlainDirectory
from reconcile.home import NO_HOME
from reconcile.state.private import create, open_ours
from reconcile.state.snapshot import dump, load, read_header

NAME = "snapshot"
BACKUP = "snapshot.bak"

_TEMPORARY = ".snapshot-"  # prefix of files that a killed process may leave
_SLUG_LENGTH = 48
_AT_ONCE = 1 << 20  # bytes read or written
_BEGINNING = 64 * 1024  # bytes in which a snapshot's header is


def default_state_base() -> str:
    """The folder for all jobs' state of this user, wherever the system keeps such things.

    Raises UsageError if it keeps none for this user.
    """
    import platformdirs

    try:
        base = platformdirs.user_state_dir("reconcile", appauthor=False)
    except RuntimeError:  # some versions say so, others leave a ~ where it is
        base = ""
    if not os.path.isabs(base):
        raise UsageError(
            f"can't tell where to keep the memory of what was sent: {NO_HOME}. Name a folder with --state, "
            "one that is still there at the next run."
        )
    return base


def job_folder(base: str, known_by: str, target: Target) -> str:
    """The folder of the job that sends to ``target`` and is known by an absolute path, or by a name, which
    has no ``/``. It need not exist yet."""
    digest = xxhash.xxh3_64_hexdigest(os.fsencode(known_by) + b"\0" + os.fsencode(str(target)))
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{os.path.basename(known_by)}-to-{target.name}").strip("-.")
    return os.path.join(base, f"{readable[:_SLUG_LENGTH]}-{digest}")


def blank(job: Job) -> DirectorySnapshot:
    """The snapshot of a job that has none: the remote is taken to be empty."""
    return DirectorySnapshot(
        {"": PlainDirectory({})}, lineage=str(uuid.uuid4()), source=job.source, target=str(job.target)
    )


def has_snapshot(folder: str) -> bool:
    """Whether the job has run before."""
    return os.path.lexists(os.path.join(folder, NAME))


def read_beginning(folder: str) -> Mapping[str, object] | None:
    """What the snapshot there says of itself; None if there is none that says it. Nothing vouches for it."""
    try:
        with open(open_ours(os.path.join(folder, NAME)), "rb") as file:
            return read_header(file.read(_BEGINNING))
    except OSError:
        return None


def is_later(one: str, other: str) -> bool:
    """Whether the snapshot in a folder was saved later than that of the same job in the other, if that has
    one."""
    here, there = read_beginning(one), read_beginning(other)
    if here is None or there is None:
        return here is not None
    serials = here["serial"], there["serial"]
    assert isinstance(serials[0], int)
    assert isinstance(serials[1], int)
    return here["lineage"] == there["lineage"] and serials[0] > serials[1]


def read_snapshot(
    folder: str, source: str, target: Target, formerly: str = "", *, by_name: bool = False
) -> DirectorySnapshot | None:
    """The saved snapshot of the job, or None if there is none yet.

    Raises Refused if it is damaged or another job's, ReconcileError if it can't
    be read. ``formerly``: another path that SRC had. ``by_name``: SRC may be anywhere.
    """
    path = os.path.join(folder, NAME)
    data = read_file(
        path, "snapshot", "Make it readable for this user, or choose another folder with --state."
    )
    if data is None:
        return None
    snapshot = load(data, f"The snapshot {_show(path)}")
    known = by_name or snapshot.source in (source, formerly)
    known = known or os.path.realpath(snapshot.source) == os.path.realpath(source)
    if not known or snapshot.target != str(target):
        raise Refused(
            f"The snapshot {_show(path)} is of another job: {_show(snapshot.source)} to "
            f"{_show(snapshot.target)}. Nothing was done. Choose another folder with --state; or, if SRC "
            "was moved from there, run once with --moved-from and that path; or run once with --start-over, "
            "which forgets what was sent, and adopts what is on the remote."
        )
    return snapshot


def read_copy(folder: str) -> DirectorySnapshot | None:
    """The snapshot that is a copy of one elsewhere; None if there is none, or none that can be used."""
    try:
        with open(open_ours(os.path.join(folder, NAME)), "rb") as file:
            return load(file.read())
    except (OSError, Refused):
        return None


def forget_snapshot(folder: str) -> None:
    """Nothing is known any more. Raises ReconcileError if that can't be."""
    for name in (NAME, BACKUP):
        try:
            os.unlink(os.path.join(folder, name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ReconcileError(
                f"The snapshot in {_show(folder)} can't be removed: {error.strerror}. Nothing was done. "
                "Correct the permissions there."
            ) from error


def read_file(path: str, what: str, way_out: str) -> bytes | None:
    """A file of ours, or None if there is none. Raises ReconcileError if it can't be read."""
    try:
        with open(open_ours(path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReconcileError(
            f"The {what} {_show(path)} can't be read: {error.strerror}. Nothing was done. {way_out}"
        ) from error


def save_snapshot(folder: str, snapshot: DirectorySnapshot) -> None:
    """Put the snapshot in the place of the one before, which stays as ``.bak``.

    At every moment there is a whole snapshot under its name, and it survives
    the loss of power once this returns. Raises ReconcileError if it can't be
    written; the one before is then untouched.
    """
    try:
        make_folder(folder)
        _remove_leftovers(folder)
        path = os.path.join(folder, NAME)
        fresh = _write(folder, dump(snapshot))
        _keep_backup(folder, path)
        os.replace(fresh, path)
        sync_folder(folder)
    except OSError as error:
        raise ReconcileError(
            f"The snapshot in {_show(folder)} can't be saved: {error.strerror}. The one before it is whole. "
            "What was sent since then is found on the remote by the next run. Make room or correct the "
            "permissions there, or choose another folder with --state, and run again."
        ) from error


def make_folder(folder: str) -> None:
    """The folder, private from the start and durable."""
    if os.path.isdir(folder):
        return
    base = os.path.dirname(os.path.abspath(folder))
    os.makedirs(base, mode=0o700, exist_ok=True)
    os.mkdir(folder, 0o700)
    sync_folder(base)


def _remove_leftovers(folder: str) -> None:
    """What processes left that were killed while they wrote."""
    for name in os.listdir(folder):
        if name.startswith(_TEMPORARY):
            os.unlink(os.path.join(folder, name))


def _write(folder: str, pieces: Iterable[bytes]) -> str:
    """A new file with all the pieces, on the disk when this returns; its path."""
    path = _temporary(folder)
    fd = create(path)
    try:
        with open(fd, "wb", buffering=_AT_ONCE) as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(fd)
    except BaseException:
        os.unlink(path)
        raise
    return path


def _keep_backup(folder: str, path: str) -> None:
    """Give the present snapshot a second name; a copy where the file system has no hard links."""
    if not os.path.lexists(path):
        return
    spare = _temporary(folder)
    try:
        os.link(path, spare)
    except OSError:
        with open(path, "rb") as file:
            spare = _write(folder, iter(partial(file.read, _AT_ONCE), b""))
    os.replace(spare, os.path.join(folder, BACKUP))


def _temporary(folder: str) -> str:
    """A new name for a file that is not finished."""
    return os.path.join(folder, _TEMPORARY + os.urandom(8).hex())


def sync_folder(folder: str) -> None:
    """Make the names in the folder durable, where the file system has a way to."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def _show(text: str) -> str:
    """A path for a message: as it is, but nothing in it can act on a terminal."""
    return repr(text)[1:-1]
