"""The first questions on a new channel: where DEST is, and what the server can do.

What may live here: what is asked once, before anything is written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from msgspec import Struct

from reconcile.core.errors import Refused
from reconcile.core.job import Job
from reconcile.core.model import RESERVED_NAME, Caps
from reconcile.remotes import Memory
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.sftp.wire import ANNOUNCED, AskLimits, Limits
from reconcile.remotes.ssh.target import of_job
from reconcile.remotes.tree.quirks import Quirks, claims_openssh, unpack, version_of
from reconcile.remotes.tree.site import BLOCK, Site, absent
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Attrs, Names, Realpath, Replace, Stat, Status, Sync

HANDLES = 4000  # open at a time where the server sets no limit
LARGEST_BLOCK = 255 * 1024  # bytes of a WRITE, as OpenSSH grants: more would only sit in our memory
RESERVE = 16  # handles left over for what is not counted
SYMLINK_ORDER = b"symlink-order@rjk.greenend.org.uk"


class _Found(Struct, frozen=True):
    """What the server says."""

    base: bytes  # DEST, canonical
    workdir: bytes
    vacant: bool  # DEST is not there


def arrive(
    session: Session, banner: str, job: Job, say: Callable[[str], None], memory: Memory, *, eager: bool
) -> Site:
    """The site. ``eager``: it may be asked before it has told its version, a round trip less.

    Raises Refused where DEST is no directory.
    """
    patience = of_job(job)[1].timeout  # beside the answer the server has to start
    if eager:
        extensions, found = session.handshake_and_call(_ask(job), patience)
    else:
        extensions = session.handshake(patience)
        found = session.call(_ask(job))
    version = version_of(banner, extensions)
    new = Quirks(path_first=extensions.get(SYMLINK_ORDER) == b"linkpath-targetpath" or None)
    claims = claims_openssh(extensions)
    can = frozenset(verb for name, verb in ANNOUNCED.items() if name in extensions)
    site = Site(
        base=found.base,
        workdir=found.workdir,
        options=job.options,
        say=say,
        can=can,
        tells_limits=AskLimits in can,
        version=version,
        quirks=unpack(memory.recall(), version, new),
        claims_openssh=claims,
        vacant=found.vacant and claims,
        caps=_capabilities(can),
    )
    site.handles = site.quirks.handles or site.handles
    if site.tells_limits:
        session.aside(_ask_for_limits(site))
    return site


def _capabilities(can: frozenset[type]) -> Caps:
    return Caps(
        replace=Replace in can,
        fsync=Sync in can,
    )


def _ask_for_limits(site: Site) -> Recipe[None]:
    """How many handles the server grants, and the bytes of a WRITE."""
    limits: Limits | Status = yield AskLimits()  # type: ignore[misc]  # SFTP's alone
    if isinstance(limits, Status):
        return
    site.handles = limits.handles - RESERVE if limits.handles else HANDLES
    if limits.write and limits.packet:
        site.block = max(BLOCK, min(limits.write, limits.packet - 1024, LARGEST_BLOCK))


def _ask(job: Job) -> Recipe[_Found]:
    """DEST and our folder, both absolute."""
    path = job.target.path
    direct = os.fsencode(_below_home(path)) or b"."
    home_reply, base_reply, there = yield [Realpath(b"."), Realpath(direct), Stat(direct)]
    home = home_reply.names[0][0] if isinstance(home_reply, Names) and home_reply.names else b"/"
    if isinstance(there, Attrs) and isinstance(base_reply, Names) and base_reply.names:
        base = base_reply.names[0][0]
    else:
        absolute = _absolute(home, path)
        base = yield from _canonical(absolute, base_reply if absolute == direct else None)
    if isinstance(there, Attrs) and not stat.S_ISDIR(there.mode):
        raise Refused(
            f"DEST is not a directory on the remote: {os.fsdecode(base)!r}. Nothing was done. "
            "Choose another DEST, or move what is in its way."
        )
    workdir = base.rstrip(b"/") + b"/" + RESERVED_NAME.encode()
    if (elsewhere := job.options.remote_workdir) is not None:
        workdir = yield from _canonical(_absolute(home, elsewhere), None, links=False)
    # OpenSSH resolves a path of which no more than the last part is missing.
    vacant = absent(there) and isinstance(base_reply, Names)
    return _Found(base, workdir, vacant)


def _absolute(home: bytes, path: str) -> bytes:
    """``~/x`` and ``x`` are relative to the login folder."""
    return os.path.normpath(os.path.join(home, os.fsencode(_below_home(path))))


def _below_home(path: str) -> str:
    return path[2:] if path == "~" or path.startswith("~/") else path


def _canonical(path: bytes, known: Names | Status | None, *, links: bool = True) -> Recipe[bytes]:
    """The path with links resolved, as deep as it exists; without ``links`` its last part is left alone.

    ``known``: what the server says of the whole of it, if it was asked.
    """
    existing, missing = path, b""
    if not links:
        existing, _, missing = path.rpartition(b"/")
    while existing not in (b"", b"/"):
        reply, known = known or (yield Realpath(existing)), None
        # OpenSSH resolves a path of which only the last part is missing, others whatever they are given.
        if isinstance(reply, Names) and len(reply.names) == 1 and reply.names[0][0].startswith(b"/"):
            existing = reply.names[0][0]
            break
        existing, _, last = existing.rpartition(b"/")
        missing = b"%b/%b" % (last, missing) if missing else last
    return b"%b/%b" % (existing.rstrip(b"/"), missing) if missing else existing or b"/"
