"""known_hosts: what is written down of a host. What follows from that is in ``trust``.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". It is read here as
paramiko's reader gives up on the first ``@revoked`` or ``@cert-authority``.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import hmac
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

from msgspec import Struct

from reconcile.core.errors import UsageError
from reconcile.home import in_home
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.spelling import fits
from reconcile.remotes.ssh.target import Login

GLOBAL_FILES = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
USER_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
DEFAULT_PORT = 22

_MOST = 64 << 20  # bytes of a file

_FINGERPRINT = re.compile(r"SHA256:([A-Za-z0-9+/]{43})=?")
_REVOKED = "@revoked"
_AUTHORITY = "@cert-authority"

# One type of key may sign in several ways (RFC 8332).
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


class Line(Struct, frozen=True):
    """One usable line: a key that somebody wrote down."""

    file: str
    number: int
    marker: str
    hosts: str
    kind: str  # ssh-ed25519, ssh-rsa…
    key: bytes

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}: {self.kind} {fingerprint(self.key)}"


class Pin(Struct, frozen=True):
    """A host's key as it was given: ``--host-key``."""

    fingerprint: str
    kind: str = ""  # if the key was given whole

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}".lstrip()


class Known(Struct, frozen=True):
    """All that is known about one host."""

    name: str  # as known_hosts spells it, with the port unless it is 22
    file: str | None  # where a new key goes, if there is a place for it
    files: tuple[str, ...] = ()  # what was read
    trusted: tuple[Line, ...] = ()
    portless: tuple[Line, ...] = ()  # keys of the same host on port 22: they may vouch, but not accuse
    revoked: tuple[Line, ...] = ()
    authorities: tuple[Line, ...] = ()
    pins: tuple[Pin, ...] = ()  # if there are any, nothing else vouches
    way_out: str = "reconcile trust"  # what to type to have a key written down
    hashed: bool = False  # whether the name is not to be read there

    def is_revoked(self, key: bytes) -> bool:
        """Whether it must never be trusted."""
        return any(line.key == key for line in self.revoked)

    def sort_algorithms(self, algorithms: Sequence[str]) -> tuple[str, ...]:
        """``algorithms`` with those first whose keys are known, else the server shows one that isn't."""
        known = algorithms_of(each.kind for each in self.pins or self.trusted or self.portless)
        return tuple(sorted(algorithms, key=lambda name: name not in known))


def algorithms_of(kinds: Iterable[str]) -> list[str]:
    """By what names keys of these types sign."""
    return [name for kind in dict.fromkeys(kinds) for name in _ALGORITHMS.get(kind, (kind,))]


def fingerprint(key: bytes) -> str:
    """The fingerprint of a public key as OpenSSH shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def read_plainly(path: str) -> bytes:
    """All that is in a file. Raises OSError, for one without an end (a device) too."""
    with open(path, "rb") as file:
        return read_whole(file)


def read_whole(file: IO[bytes]) -> bytes:
    """The same for an open one."""
    data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data


def look_up(settings: Settings, login: Login, read: Callable[[str], bytes] = read_plainly) -> Known:
    """What is known of a host: what ``--host-key`` says, else what the files do, the user's first.

    Raises UsageError if a file is there but can't be read, or ``--host-key`` names no key.
    """
    plain = (settings.host_key_alias or settings.host).lower()
    has_port = settings.port != DEFAULT_PORT and settings.host_key_alias is None
    name = f"[{plain}]:{settings.port}" if has_port else plain
    own, others = _files(settings, login)
    found: dict[str, list[Line]] = {"": [], "portless": [], _REVOKED: [], _AUTHORITY: []}
    for path in (*own, *others):
        for line in _read_lines(path, read):
            if matches(line.hosts, name):
                found[line.marker].append(line)
            elif name != plain and matches(line.hosts, plain):
                found[line.marker or "portless"].append(line)
    return Known(
        name,
        own[0] if own else None,
        files=(*own, *others),
        trusted=tuple(found[""]),
        portless=tuple(found["portless"]),
        revoked=tuple(found[_REVOKED]),
        authorities=tuple(found[_AUTHORITY]),
        pins=tuple(pin for text in login.host_keys for pin in parse_pins(text)),
        way_out=_way_out(settings, login),
        hashed=settings.hash_known_hosts,
    )


def find_key(known: Known, shown: str) -> Line | None:
    """A line that says that the key with this fingerprint is some host's, whichever."""
    files = filter(os.path.isfile, known.files)  # a pipe can be read but once
    lines = (line for path in files for line in _read_lines(path, read_plainly) if not line.marker)
    return by_fingerprint(lines, shown)


def by_fingerprint(lines: Iterable[Line], shown: str) -> Line | None:
    """The first that has the key with this fingerprint."""
    return next((line for line in lines if fingerprint(line.key) == shown), None)


def parse_pins(text: str, option: str = "--host-key") -> list[Pin]:
    """What ``option`` names: a fingerprint, as ``ssh-keygen -l`` shows it, or lines of known_hosts.

    Whatever name stands in such a line, its key is meant for DEST. Raises UsageError.
    """
    lines = [words for line in text.splitlines() if (words := line.split()) and not words[0].startswith("#")]
    return [_parse_pin(words, option) for words in lines or [[]]]


def _parse_pin(words: Sequence[str], option: str) -> Pin:
    if words and words[0].startswith("@"):
        raise UsageError(
            f"{option} takes a host's own key, and no {words[0]} line: put that into a file and name the "
            "file with --known-hosts"
        )
    for place, word in enumerate(words):
        if match := _FINGERPRINT.fullmatch(word):
            return Pin(f"SHA256:{match[1]}")
        if (key := parse_key(words[place:])) is not None:
            return Pin(fingerprint(key[1]), key[0])
    raise UsageError(
        f"{option} takes a fingerprint, SHA256: and 43 characters as `ssh-keygen -lf` shows them, or a line "
        "as in known_hosts; this is neither"
    )


def _files(settings: Settings, login: Login) -> tuple[list[str], list[str]]:
    """The user's and the machine's, those that have a place."""
    if login.known_hosts is not None:
        return [login.known_hosts], []
    own = USER_FILES if settings.user_known_hosts is None else settings.user_known_hosts
    others = GLOBAL_FILES if settings.global_known_hosts is None else settings.global_known_hosts
    return [*filter(None, map(in_home, own))], [*filter(None, map(in_home, others))]


def _way_out(settings: Settings, login: Login) -> str:
    words = ["reconcile", "trust"]
    if login.known_hosts is not None:
        words += "--known-hosts", login.known_hosts
    if login.ssh_config is not None:
        words += "--ssh-config", login.ssh_config
    if settings.port != DEFAULT_PORT:
        words += "--port", str(settings.port)
    return shlex.join([*words, settings.name or settings.host])


def _read_lines(path: str, read: Callable[[str], bytes]) -> Iterator[Line]:
    try:
        for number, text in enumerate(read(path).split(b"\n"), 1):
            line = parse_line(path, number, text)
            if line is not None:
                yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"can't read the known hosts in {path}: {error.strerror}") from None


def parse_line(path: str, number: int, text: bytes) -> Line | None:
    """None for what is no key: comments, blanks, and the malformed, as OpenSSH does."""
    fields = os.fsdecode(text).split()
    marker = ""
    if fields and fields[0].startswith("@"):
        marker = fields.pop(0)
        if marker not in (_REVOKED, _AUTHORITY):
            return None
    if len(fields) < 3 or fields[0].startswith("#"):
        return None
    key = parse_key(fields[1:])
    return None if key is None else Line(path, number, marker, fields[0], *key)


def parse_key(fields: Sequence[str]) -> tuple[str, bytes] | None:
    """Type and content of a public key that begins ``fields``, None if none does (RFC 4253, section 6.6)."""
    if len(fields) < 2:
        return None
    kind, encoded = fields[:2]
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    name = os.fsencode(kind)
    return (kind, key) if key.startswith(len(name).to_bytes(4, "big") + name) else None


def matches(hosts: str, name: str) -> bool:
    """Whether a line is about ``name``: hashed, or patterns of which one says yes and none says no."""
    if hosts.startswith("|"):
        try:
            _, version, salt, digest = hosts.split("|")
            expected = base64.b64decode(digest)
            actual = hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
        except (binascii.Error, ValueError):
            return False
        return version == "1" and hmac.compare_digest(actual, expected)
    return fits(name, hosts.lower().split(","))
