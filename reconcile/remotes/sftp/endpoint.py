"""Where a target really is: the URL first, then ``~/.ssh/config``, then the defaults of SSH.

What may live here: the few keywords that are followed. Where others would lead elsewhere
we don't connect, and what could make the difference is named when connecting fails.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconcile.errors import UsageError
from reconcile.home import in_home
from reconcile.model import Target
from reconcile.remotes.sftp.hostkeys import DEFAULT_PORT

CONFIG = "~/.ssh/config"

_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+)")
_KEYWORDS = ("hostname", "user", "port", "identityfile")
_PROXIES = ("proxyjump", "proxycommand")  # the first of both counts: ssh_config(5)
# What decides whom we talk to or who lets us in, and is not followed.
_UNHEEDED = (
    *("AddressFamily", "BindAddress", "BindInterface", "CanonicalizeHostname", "CertificateFile", "Ciphers"),
    *("GlobalKnownHostsFile", "HostKeyAlgorithms", "HostKeyAlias", "IdentitiesOnly", "IdentityAgent"),
    *("KexAlgorithms", "KnownHostsCommand", "MACs", "PKCS11Provider", "PreferredAuthentications"),
    *("PubkeyAcceptedAlgorithms", "RevokedHostKeys", "SecurityKeyProvider", "UserKnownHostsFile"),
    "VerifyHostKeyDNS",
)
_SPELLED = {name.lower(): name for name in _UNHEEDED}
_CRITERIA = ("all", "host", "originalhost", "user", "localuser")  # of Match: what needs only names
_ALONE = ("all", "canonical", "final")  # those without an argument
# Our own words in what paramiko reads: notes of what stands there, each under a name of its own.
_PROXY, _PERHAPS, _SKIPPED, _NAMED = "rproxy", "rperhaps", "rskipped", "rnamed"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom to call, and as whom."""

    host: str
    port: int
    user: str
    identities: tuple[str, ...] = ()  # key files that the config names
    unheeded: tuple[str, ...] = ()  # what else the config says of this host

    def __str__(self) -> str:
        return f"{self.host}, port {self.port}"

    @property
    def reservation(self) -> str:
        """To be added where connecting failed: perhaps that is why."""
        if not self.unheeded:
            return ""
        return f" {CONFIG} also says {', '.join(self.unheeded)} for this host, which is not followed here."


def find_endpoint(target: Target, say: Callable[[str], None]) -> Endpoint:
    """Follow HostName, User, Port and IdentityFile of the user's SSH config.

    Raises UsageError if the config can't be read or understood, or leads through a proxy.
    """
    config = _read_config(target.host)
    for key, value in config.items():
        if key.startswith(_SKIPPED):
            say(f"{CONFIG}: {value}")
    _check_proxy(target, config)
    port = config.get("port", str(DEFAULT_PORT))
    if target.port is None and not (port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"{CONFIG}: Port {port} for {target.host} is no port. Correct it, or give --port.")
    return Endpoint(
        host=config.get("hostname", target.host),
        port=target.port or int(port),
        user=target.user or config.get("user") or _own_name(),
        identities=tuple(path for path in config.get("identityfile", ()) if path.lower() != "none"),
        unheeded=tuple(
            sorted(_SPELLED[key.removeprefix(_NAMED)] for key in config if key.startswith(_NAMED))
        ),
    )


def _check_proxy(target: Target, config: Mapping[str, Any]) -> None:
    """Raises UsageError where the config may lead through a proxy: who answers directly may be another."""
    for key, doubt in ((_PROXY, ""), (_PERHAPS, " perhaps")):
        line = config.get(key, "ProxyJump none")
        if line.split()[1].strip('"').lower() == "none":
            continue
        raise UsageError(
            f"{CONFIG} reaches {target.host}{doubt} through a proxy ({line}), which is not supported yet. "
            "Not connected: what answers directly under that name may be another machine. Open a tunnel "
            f"(ssh -N -L 2222:localhost:22 {target.host}) and give that as DEST "
            f"(sftp://[user@]localhost:2222/path), or write 'ProxyJump none' for {target.host} above that "
            "line if it can be reached directly."
        )


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user here, as in some containers
        raise UsageError("can't tell your name on this machine: put a user into DEST (user@host)") from None


def _read_config(host: str) -> Mapping[str, Any]:
    path = in_home(CONFIG)
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = _usable_lines(file.read().splitlines())
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


def _usable_lines(lines: list[str]) -> list[str]:
    """What we act on. The rest would only make paramiko run commands, ask name servers, or stumble.

    A block that may or may not apply is left out, but for what makes a difference either way.
    """
    usable: list[str] = []
    doubtful = False  # the block we are in
    for number, line in enumerate(lines, 1):
        parsed = _LINE.match(line)
        if parsed is None:
            continue
        keyword, value = parsed[1].lower(), parsed[2].strip()
        if keyword == "match":
            sure, unknown = _judge(value)
            doubtful = bool(unknown)
            usable.append(f"Match {sure}")
            if doubtful:
                what = f"Match {unknown} (line {number}) is not supported, its block is left out"
                usable.append(f"{_SKIPPED}{number} {what}")
        elif keyword == "host":
            doubtful = False
            usable.append(line)
        elif keyword == "include":
            what = f"Include (line {number}) is not followed: what stands in {value} does not count"
            usable.append(f"{_SKIPPED}{number} {what}")
        elif keyword in _PROXIES:
            usable.append(f"{_PERHAPS if doubtful else _PROXY} {parsed[1]} {value}")
        elif keyword in _SPELLED and value.lower() not in ("no", "any"):  # which say nothing new
            usable.append(f"{_NAMED}{keyword} {value}")
        elif keyword in _KEYWORDS and not doubtful:
            usable.append(line)
    return usable


def _judge(criteria: str) -> tuple[str, str]:
    """Of a Match line the part that needs only names, and the first word that needs more, if any."""
    words = criteria.split()
    if words and words[0].lower() == "all":
        return criteria, ""
    sure: list[str] = []
    unknown = ""
    while words:
        word = words.pop(0)
        name = word.lower().lstrip("!")
        argument = [words.pop(0)] if words and name not in _ALONE else []
        if name in _CRITERIA:
            sure += [word.lower(), *argument]
        else:
            unknown = unknown or word
            if argument and argument[0].startswith('"'):  # a command with blanks
                while words and not argument[0].endswith('"'):
                    argument[0] = words.pop(0)
    return " ".join(sure) or "all", unknown
