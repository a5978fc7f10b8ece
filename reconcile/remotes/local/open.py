"""Opens a folder of this machine. Writes nothing.

What may live here: where DEST is, and what is known of any disk before it was tried.
"""

from __future__ import annotations

import os
from functools import partial

from reconcile.core.errors import Refused, Unreachable
from reconcile.core.job import Job, Reporter
from reconcile.core.model import RESERVED_NAME, Caps
from reconcile.home import expand
from reconcile.remotes import Memory, Remote
from reconcile.remotes.local.driver import BLOCK, CAN, HANDLES, Disk
from reconcile.remotes.tree.layout import Layout
from reconcile.remotes.tree.quirks import Quirks, Version, unpack
from reconcile.remotes.tree.readback import SPAN
from reconcile.remotes.tree.remote import TreeRemote
from reconcile.remotes.tree.site import Site
from reconcile.state.names import is_lost

_SYSTEMS = Quirks(  # what the system sees to, whatever the file system
    ordered=True,
    refuses=True,
    path_first=False,
    lstat_shows=True,
    readdir_shows=True,
    moves_links=True,
    removes_links=True,
    verbatim=True,
    channels_agree=True,
    truncates=False,
)


def open_folder(job: Job, reporter: Reporter, memory: Memory) -> Remote:
    """Find out where DEST is. Raises Refused where it is no directory, Unreachable where it can't be seen."""
    base = os.fsencode(os.path.realpath(job.target.path))
    is_there = _is_directory(base)
    workdir = _workdir(base, job.options.remote_workdir)
    version = _version_of(base)
    driver = Disk([base] if workdir.startswith(base.rstrip(b"/") + b"/") else [base, workdir])
    site = Site(
        layout=Layout(
            base,
            workdir,
            vacant=not is_there and os.path.isdir(os.path.dirname(base)),
            asked=os.fsencode(job.target.path),
        ),
        options=job.options,
        say=reporter.say,
        who="the file system",
        warn=reporter.warn,
        is_lost=partial(is_lost, state=job.state),
        can=CAN,
        tells_limits=True,
        handles=HANDLES,
        block=min(BLOCK, job.options.piece),
        piece=SPAN,
        version=version,
        quirks=unpack(memory.recall(), version, _SYSTEMS),
        claims_openssh=True,
        caps=Caps(replace=True, fsync=True),
    )
    return TreeRemote(driver, site, reporter, memory)


def _is_directory(base: bytes) -> bool:
    shown = repr(os.fsdecode(base))
    try:
        os.stat(os.path.join(base, b"."))
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise Refused(
            f"DEST is not a directory: {shown}, or what is above it. Nothing was done. Choose another DEST, "
            "or move what is in its way."
        ) from None
    except OSError as error:
        raise Unreachable(f"DEST can't be looked at: {shown}: {error.strerror}. Nothing was done.") from None
    return True


def _workdir(base: bytes, elsewhere: str | None) -> bytes:
    """Our folder: its own name is taken as it is, should that be a link."""
    if elsewhere is None:
        return os.path.join(base, RESERVED_NAME.encode())
    above, name = os.path.split(os.fsencode(expand(elsewhere, "Write --remote-workdir in full.")))
    return os.path.join(os.path.realpath(above), name)


def _version_of(base: bytes) -> Version:
    """Whom what is learned is about: the file system, and how it is mounted."""
    while not os.path.isdir(base):
        base = os.path.dirname(base)
    told = os.statvfs(base)
    return ["disk", f"{told.f_fsid:x}", str(told.f_namemax), f"{told.f_flag:x}"]
