"""What there is to tell of the line to a server, and of the server, before anything is tried in DEST."""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.core.checkup import Fact, Part
from reconcile.core.units import show_bytes
from reconcile.remotes.ssh.lines import PARAMIKO, SSH, Connection
from reconcile.remotes.tree.site import Site

_WAYS = {PARAMIKO: "paramiko", SSH: "OpenSSH's client"}
_WITH_MAC = "gcm", "poly1305"  # ciphers that need none beside them
_OFFICIAL = "@openssh.com"


def about(connection: Connection, site: Site) -> Iterator[Fact]:
    """All of it."""
    yield from _line(connection)
    yield Fact(Part.SERVER, "software", site.version[0], value=site.version[0])
    names = sorted(name.partition("=")[0] for name in site.version[1:])
    words = ", ".join(name.removesuffix(_OFFICIAL) for name in names) or "none"
    yield Fact(Part.SERVER, "extensions", words, value=names)
    yield _limits(site)


def _line(connection: Connection) -> Iterator[Fact]:
    yield Fact(Part.LINE, "server", connection.where, value=connection.where)
    name = connection.transport_name
    yield Fact(Part.LINE, "transport", f"{_WAYS.get(name, name)}: {connection.why}", value=name)
    agreed = {what: name for what, name in connection.agreed.items() if name and name != "none"}
    if any(name in agreed.get("cipher", "") for name in _WITH_MAC):
        agreed.pop("MAC", None)
    words = ", ".join(f"{what} {name}" for what, name in agreed.items()) or "not told"
    yield Fact(Part.LINE, "agreed on", words, value=agreed)
    sources = connection.settings.sources
    if sources:
        words = "; ".join(f"{each} ({each.where})" if each.where else str(each) for each in sources)
        value = {each.keyword: each.value for each in sources}
        yield Fact(Part.LINE, "settings", words, value=value)


def _limits(site: Site) -> Fact:
    handles = f"{site.handles:,} files open at a time"
    words = f"{show_bytes(site.block)} a write, {handles}"
    value = {"write": site.block, "handles": site.handles}
    if not site.tells_limits:
        words = f"not told; taken for granted: {words}"
    return Fact(Part.SERVER, "limits", words, value=value)
