"""The first questions on a new channel: where DEST is, and what the server can do.

What may live here: what is asked once, before anything is written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconcile.errors import Refused
from reconcile.model import RESERVED_NAME, Capabilities, Job
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.foreign import POSIX_RENAME
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.sftp.site import Site, absent
from reconcile.remotes.sftp.steps import Recipe
from reconcile.remotes.sftp.wire import Attrs, Extended, Limits, Names, Status

BLOCK = 32 * 1024  # bytes every server takes in one WRITE (draft, section 3)
HANDLES = 4000  # open at a time where the server sets no limit
HANDLES_UNKNOWN = 64  # the same for servers that do not tell how many they grant
RESERVE = 16  # handles left over for what is not counted


@dataclass(frozen=True, slots=True)
class _Found:
    """What the server says."""

    limits: Limits | None
    base: bytes  # DEST, canonical
    workdir: bytes
    vacant: bool  # DEST is not there


def arrive(session: Session, server_version: str, job: Job, say: Callable[[str], None]) -> tuple[Site, int]:
    """The site, and how many handles the server grants. Raises Refused where DEST is no directory."""
    openssh = "OpenSSH" in server_version
    patience = job.login.timeout  # beside the answer the server has to start
    if openssh:  # it takes questions before it has told its version: a round trip less
        extensions, found = session.handshake_and_call(_ask(job, limits=True), patience)
    else:
        extensions = session.handshake(patience)
        found = session.call(_ask(job, limits=b"limits@openssh.com" in extensions))
    handles, block = _granted(found.limits)
    site = Site(
        base=found.base,
        workdir=found.workdir,
        options=job.options,
        say=say,
        extensions=frozenset(extensions),
        openssh=openssh,
        block=block,
        vacant=found.vacant and openssh,
        caps=_capabilities(extensions),
    )
    return site, handles


def _capabilities(extensions: Mapping[bytes, bytes]) -> Capabilities:
    return Capabilities(
        atomic_replace=POSIX_RENAME in extensions,
        hard_link=b"hardlink@openssh.com" in extensions,
        copy=b"copy-data" in extensions,
        fsync=b"fsync@openssh.com" in extensions,
    )


def _granted(limits: Limits | None) -> tuple[int, int]:
    """Handles, and bytes of a WRITE."""
    if limits is None:
        return HANDLES_UNKNOWN, BLOCK
    handles = limits.handles - RESERVE if limits.handles else HANDLES
    told = limits.write and limits.packet
    return handles, max(BLOCK, min(limits.write, limits.packet - 1024)) if told else BLOCK


def _ask(job: Job, *, limits: bool) -> Recipe[_Found]:
    """The server's limits, DEST and our folder, both absolute."""
    path = job.target.path
    direct = os.fsencode(_below_home(path)) or b"."
    asked = [wire.realpath(b"."), wire.realpath(direct), wire.stat(direct)]
    if limits:
        asked.append(wire.limits())
    home_reply, base_reply, there, *rest = yield asked
    told = wire.parse_limits(rest[0]) if rest and isinstance(rest[0], Extended) else None
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
    return _Found(told, base, workdir, vacant)


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
        reply, known = known or (yield wire.realpath(existing)), None
        # OpenSSH resolves a path of which only the last part is missing, others whatever they are given.
        if isinstance(reply, Names) and len(reply.names) == 1 and reply.names[0][0].startswith(b"/"):
            existing = reply.names[0][0]
            break
        existing, _, last = existing.rpartition(b"/")
        missing = b"%b/%b" % (last, missing) if missing else last
    return b"%b/%b" % (existing.rstrip(b"/"), missing) if missing else existing or b"/"
