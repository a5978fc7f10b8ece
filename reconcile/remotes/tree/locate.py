"""Where DEST is, and our folder: asked once, before anything is written."""

from __future__ import annotations

import os
import posixpath
import stat

from msgspec import Struct

from reconcile.core.errors import Refused
from reconcile.core.model import RESERVED_NAME
from reconcile.remotes.tree.site import absent
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Attrs, Names, Realpath, Stat, Status


class Place(Struct, frozen=True):
    """Both absolute."""

    base: bytes  # DEST, links resolved
    workdir: bytes  # our folder
    vacant: bool  # DEST is not there, but the directory it is to be in
    asked: bytes  # DEST as it was named: from the login folder on, links not resolved


def locate(path: str, remote_workdir: str | None) -> Recipe[Place]:
    """Find out where DEST is, which the user called ``path``. Raises Refused where it is no directory."""
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
    if remote_workdir is not None:
        workdir = yield from _canonical(_absolute(home, remote_workdir), None, links=False)
    # OpenSSH resolves a path of which no more than the last part is missing.
    vacant = absent(there) and isinstance(base_reply, Names)
    return Place(base, workdir, vacant, direct)


def _absolute(home: bytes, path: str) -> bytes:
    """``~/x`` and ``x`` are relative to the login folder."""
    return posixpath.normpath(posixpath.join(home, os.fsencode(_below_home(path))))


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
