"""Where a target really is: the URL first, then ``~/.ssh/config``, then the defaults of SSH."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconcile.errors import UsageError
from reconcile.model import Target
from reconcile.remotes.sftp.hostkeys import DEFAULT_PORT

CONFIG = "~/.ssh/config"

_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+)")
_KEYWORDS = ("hostname", "user", "port", "identityfile", "proxyjump", "proxycommand")
_CRITERIA = ("all", "host", "originalhost", "user", "localuser")  # of Match: what needs only names
_NEVER = "Host !*"  # a block for no host at all


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom to call, and as whom."""

    host: str
    port: int
    user: str
    identities: tuple[str, ...] = ()  # key files that the config names

    def __str__(self) -> str:
        return f"{self.host}, port {self.port}"


def find_endpoint(target: Target, say: Callable[[str], None]) -> Endpoint:
    """Follow HostName, User, Port and IdentityFile of the user's SSH config.

    Raises UsageError if the config can't be read or understood.
    """
    config = _read_config(target.host, say)
    if config.get("proxyjump") or config.get("proxycommand"):
        say(f"{CONFIG} reaches {target.host} through a proxy, which is not supported: connecting directly")
    port = config.get("port", str(DEFAULT_PORT))
    if target.port is None and not (port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"{CONFIG}: Port {port} for {target.host} is no port. Correct it, or give --port.")
    return Endpoint(
        host=config.get("hostname", target.host),
        port=target.port or int(port),
        user=target.user or config.get("user") or _own_name(),
        identities=tuple(path for path in config.get("identityfile", ()) if path.lower() != "none"),
    )


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user here, as in some containers
        raise UsageError("can't tell your name on this machine: put a user into DEST (user@host)") from None


def _read_config(host: str, say: Callable[[str], None]) -> Mapping[str, Any]:
    path = os.path.expanduser(CONFIG)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = _usable_lines(file.read().splitlines(), say)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"can't read {CONFIG}: {error.strerror}. Make it readable.") from None

    from reconcile.remotes.sftp.ssh import paramiko

    try:
        return paramiko.SSHConfig.from_text("\n".join(lines)).lookup(host)
    except Exception as error:  # noqa: BLE001 - it raises whatever its parts raise, KeyError and ImportError too
        raise UsageError(
            f"can't make sense of {CONFIG}: {error}. Correct it (ssh -G {host} shows what OpenSSH reads)."
        ) from None


def _usable_lines(lines: list[str], say: Callable[[str], None]) -> list[str]:
    """What we act on. The rest would only make paramiko run commands, ask name servers, or stumble."""
    usable: list[str] = []
    skipped: str | None = None  # the Match line of the block we are in, if we can't tell whether it applies
    for number, line in enumerate(lines, 1):
        parsed = _LINE.match(line)
        keyword = parsed[1].lower() if parsed else ""
        if parsed and keyword == "match":
            criteria = parsed[2].split()[::2] if parsed[2].strip().lower() != "all" else ["all"]
            unknown = [word for word in criteria if word.lower().lstrip("!") not in _CRITERIA]
            skipped = f"Match {unknown[0]} (line {number})" if unknown else None
            usable.append(_NEVER if unknown else line)
        elif keyword == "host":
            skipped = None
            usable.append(line)
        elif keyword in _KEYWORDS:
            usable.append(line)
            if skipped:
                say(f"{CONFIG}: {skipped} is not supported, its block is left out")
                skipped = None
    return usable
