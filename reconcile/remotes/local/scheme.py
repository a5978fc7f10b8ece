"""What there is to know of a folder here before it is opened: how DEST is written, and what opens it.

What may live here: see ``remotes.Scheme``. Light to import: a run with nothing to do needs no more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from msgspec import Struct

from reconcile.core.job import Job, Reporter, Target
from reconcile.core.model import Caps
from reconcile.home import absolute, expand
from reconcile.remotes import FORGETFUL, Memory, Opener, Remote, plain
from reconcile.remotes.urls import URL, decode, refuse

FORMS = "/a/folder or ./a/folder on this machine"
TAKES: frozenset[str] = frozenset()

own_files, may_open_early = plain.own_files, plain.may_open_early

_WAY_OUT = "Write the path of DEST in full."


class Folder(Struct, frozen=True):
    """A DEST on this machine. Its path is as it was given, absolute: a link on it may turn."""

    path: str

    scheme = "file"

    @property
    def name(self) -> str:
        """The folder's own."""
        return os.path.basename(self.path) or "root"

    def __str__(self) -> str:
        return self.path


def parse(text: str) -> Folder | None:
    """``file:///…``, or a path with a slash in it, and no colon before that: then it names a host."""
    if url := URL.fullmatch(text):
        host, slash, path = url[2].partition("/")
        if host not in ("", "localhost") or not slash:
            refuse("DEST: file:// is for folders of this machine; write file:///absolute/path")
        return Folder(absolute("/" + decode(path, "the path")))
    first, slash, _ = text.partition("/")
    if not slash or ":" in first:
        return None
    if "@" in first and not os.path.exists(first):
        refuse("DEST: there is no colon between host and path; write user@host:path, or ./ before a folder")
    return Folder(absolute(expand(text, _WAY_OUT)))


def be_told(
    target: Target,
    flags: Mapping[str, Any],  # noqa: ARG001 - there are none
    *,
    timeout: float | None,  # noqa: ARG001 - nobody is called
    interactive: bool,  # noqa: ARG001 - nor asked
) -> tuple[Target, object]:
    """See ``Scheme``. Nobody has to be let in."""
    return target, None


def doubt(text: str) -> str | None:
    """A name before the slash that is no folder yet may have been meant as a host."""
    first, _, rest = text.partition("/")
    if URL.fullmatch(text) or first in ("", ".", "..") or first.startswith("~") or os.path.exists(first):
        return None
    return f"DEST is a folder here, and {first!r} is new. If that is a server, write {first}:{rest}"


def folders(target: Target, workdir: str | None) -> Mapping[str, str]:
    """All of it."""
    ours = {} if workdir is None else {expand(workdir, _WAY_OUT): "the folder of --remote-workdir"}
    return {target.path: "DEST", **ours}


def load() -> None:
    """Import what opening needs: how trees are handled."""
    import_module("reconcile.remotes.local.open")


def recall_caps(job: Job, memory: Memory) -> Caps:  # noqa: ARG001 - it is the memory's
    """What the folder's file system is known to keep of modes and times."""
    from reconcile.remotes.tree.quirks import caps_of

    return caps_of(memory.recall())


def make_opener() -> Opener:
    """See ``Scheme``."""
    return _Opener()


class _Opener:
    """Asks nobody for anything."""

    waited = 0.0

    def __call__(self, job: Job, reporter: Reporter, memory: Memory = FORGETFUL) -> Remote:
        """Open the job's target."""
        from reconcile.remotes.local.open import open_folder

        return open_folder(job, reporter, memory)
