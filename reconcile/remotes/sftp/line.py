"""What there is to tell of the line to a server, and of the server, before anything is tried in DEST."""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.core.checkup import Fact, Part
from reconcile.core.units import show_bytes
from reconcile.remotes.ssh.lines import Connection
from reconcile.remotes.tree.site import Site

_OFFICIAL = "@openssh.com"


def about(connection: Connection, site: Site) -> Iterator[Fact]:
    """All of it."""
    yield Fact(Part.LINE, "server", connection.where, value=connection.where)
    yield Fact(Part.SERVER, "software", site.version[0], value=site.version[0])
    names = sorted(name.partition("=")[0] for name in site.version[1:])
    words = ", ".join(name.removesuffix(_OFFICIAL) for name in names) or "none"
    yield Fact(Part.SERVER, "extensions", words, value=names)
    yield _limits(site)


def _limits(site: Site) -> Fact:
    handles = f"{site.handles:,} files open at a time"
    words = f"{show_bytes(site.block)} a write, {handles}"
    value = {"write": site.block, "handles": site.handles}
    if not site.tells_limits:
        words = f"not told; taken for granted: {words}"
    return Fact(Part.SERVER, "limits", words, value=value)
