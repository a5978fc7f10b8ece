"""Where a target really is: the URL first, then ``~/.ssh/config``, then the defaults of SSH.

What may live here: the few keywords that are followed. Where others would lead elsewhere
we don't connect, and what could make the difference is named when connecting fails.
"""

from __future__ import annotations

import getpass
import glob
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconcile.core.errors import UsageError
from reconcile.home import in_home
from reconcile.remotes.ssh.known_hosts import DEFAULT_PORT
from reconcile.remotes.ssh.settings import Setting, Settings
from reconcile.remotes.ssh.spelling import join_words, judge, split_line, words_of
from reconcile.remotes.ssh.target import Login, SshTarget

CONFIG = "~/.ssh/config"
SYSTEM_CONFIG = "/etc/ssh/ssh_config"  # of it, only proxies are heeded

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
# Our own words in what paramiko reads: notes of what stands there, each under a name of its own.
_PROXY, _PERHAPS, _SKIPPED, _NAMED = "rproxy", "rperhaps", "rskipped", "rnamed"
_INCLUDED, _PERHAPS_INCLUDED = "rincluded", "rpincluded"


def find_settings(target: SshTarget, login: Login, say: Callable[[str], None]) -> Settings:  # noqa: ARG001 - soon
    """Follow HostName, User, Port and IdentityFile of the user's SSH config.

    Raises UsageError if the config can't be read or understood, or leads through a proxy.
    """
    config = _read_config(CONFIG, target)
    for key, value in config.items():
        if key.startswith(_SKIPPED):
            say(f"{CONFIG}: {value}")
    _settles_proxy(config, CONFIG, target)
    port = config.get("port", str(DEFAULT_PORT))
    if target.port is None and not (port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"{CONFIG}: Port {port} for {target.host} is no port. Correct it, or give --port.")
    return Settings(
        host=config.get("hostname", target.host),
        port=target.port or int(port),
        user=target.user or config.get("user") or _own_name(),
        name=target.host,
        identities=tuple(path for path in config.get("identityfile", ()) if path.lower() != "none"),
        others=tuple(sorted(_named(config), key=lambda setting: setting.keyword)),
    )


def _named(config: Mapping[str, Any]) -> Iterator[Setting]:
    """What is said of this host and not followed."""
    for key, value in config.items():
        if key.startswith(_NAMED):
            yield Setting(_SPELLED[key.removeprefix(_NAMED)], value, CONFIG)


def refuse_proxy(target: SshTarget) -> None:
    """The same for the machine's own config, where the user's says nothing of it. Raises UsageError."""
    config = _read_config(SYSTEM_CONFIG, target, strict=False)
    if not _settles_proxy(_read_config(CONFIG, target), CONFIG, target):
        _settles_proxy(config, SYSTEM_CONFIG, target)


def _settles_proxy(
    config: Mapping[str, Any], file: str, target: SshTarget, seen: set[str] | None = None, top: str = ""
) -> bool:
    """Whether a config says that there is no proxy, with the files that it includes: the first word counts.

    Raises UsageError where it may lead through one: what answers directly may be another machine.
    """
    seen = set() if seen is None else seen
    top = top or file
    for key, value in config.items():
        if key == _PROXY or key.startswith(_PERHAPS):
            if value.split()[1].strip('"').lower() != "none":
                doubt = "" if key == _PROXY else " perhaps"
                raise UsageError(_explain_proxy(value, file, target.host, doubt))
            if key == _PROXY:
                return True
        elif key.startswith((_INCLUDED, _PERHAPS_INCLUDED)):
            for each in _included(value, top):
                if each not in seen:  # they may include each other
                    seen.add(each)
                    inner = _read_config(each, target, strict=top == CONFIG)
                    settled = _settles_proxy(inner, each, target, seen, top)
                    if settled and key.startswith(_INCLUDED):
                        return True
    return False


def _included(names: str, top: str) -> Iterator[str]:
    """The files that an Include names, relative ones beside the file that is read first."""
    for name in shlex.split(names):
        name = os.path.expandvars(name.replace("%d", "~", 1) if name.startswith("%d/") else name)
        full = in_home(name if name.startswith("~") else os.path.join(os.path.dirname(top), name))
        yield from sorted(glob.glob(full)) if full is not None else ()


def _explain_proxy(line: str, file: str, host: str, doubt: str) -> str:
    return (
        f"{file} reaches {host}{doubt} through a proxy ({line}), which is not supported yet. "
        "Not connected: what answers directly under that name may be another machine. Open a tunnel "
        f"(ssh -N -L 2222:localhost:22 {host}) and give that as DEST "
        f"(sftp://[user@]localhost:2222/path), or write 'ProxyJump none' for {host} into {CONFIG}, above "
        "all that names a proxy, if it can be reached directly."
    )


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user here, as in some containers
        raise UsageError("can't tell your name on this machine: put a user into DEST (user@host)") from None


def _read_config(file: str, target: SshTarget, *, strict: bool = True) -> Mapping[str, Any]:
    """What a config says of DEST. Raises UsageError for one that can't be read, if ``strict``."""
    path = in_home(file)
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as opened:
            text = opened.read()
    except OSError as error:
        if isinstance(error, FileNotFoundError) or not strict:
            return {}
        raise UsageError(f"can't read {file}: {error.strerror}. Make it readable.") from None

    from reconcile.remotes.ssh.library import paramiko

    try:
        lines = _usable_lines(text.split("\n"))
        if target.user is not None:  # which counts where a Match asks
            lines.insert(0, f"User {target.user}")
        return paramiko.SSHConfig.from_text("\n".join(lines)).lookup(target.host)
    except Exception as error:  # noqa: BLE001 - it raises whatever its parts raise, KeyError and ImportError too
        if not strict:
            return {}
        raise UsageError(
            f"can't make sense of {file}: {error}. Correct it "
            f"(ssh -G {target.host} shows what OpenSSH reads)."
        ) from None


def _usable_lines(lines: list[str]) -> list[str]:
    """What we act on. The rest would only make paramiko run commands, ask name servers, or stumble.

    A block that may or may not apply is left out, but for what makes a difference either way.
    Raises ValueError.
    """
    usable: list[str] = []
    doubtful = False  # the block we are in
    for number, line in enumerate(lines, 1):
        parsed = split_line(line)
        if parsed is None:
            continue
        spelled, value = parsed
        keyword = spelled.lower()
        if keyword == "match":
            sure, unknown = judge(value)
            doubtful = bool(unknown)
            usable.append(f"Match {sure}")
            if doubtful:
                what = f"Match {unknown} (line {number}) is not supported, its block is left out"
                usable.append(f"{_SKIPPED}{number} {what}")
        elif keyword == "host":
            doubtful = False
            usable.append(f"Host {join_words(words_of(value))}")
        elif keyword == "include":
            what = f"Include (line {number}) is not followed: what stands in {value} does not count"
            included = _PERHAPS_INCLUDED if doubtful else _INCLUDED
            usable += f"{_SKIPPED}{number} {what}", f"{included}{number} {join_words(words_of(value))}"
        elif keyword in _PROXIES:
            usable.append(f"{f'{_PERHAPS}{number}' if doubtful else _PROXY} {spelled} {value}")
        elif keyword in _SPELLED and value.lower() not in ("no", "any"):  # which say nothing new
            usable.append(f"{_NAMED}{keyword} {value}")
        elif keyword in _KEYWORDS and not doubtful:
            usable += [f"{keyword} {word}" for word in words_of(value)[:1]]
    return usable
