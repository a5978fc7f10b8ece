"""known_hosts: who a host has to prove to be. Always checked, never guessed.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". It is read here as
paramiko's reader gives up on the first ``@revoked`` or ``@cert-authority``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from reconcile.core.errors import Untrusted, UsageError
from reconcile.home import NO_HOME, in_home

GLOBAL_FILE = "/etc/ssh/ssh_known_hosts"
USER_FILE = "~/.ssh/known_hosts"
DEFAULT_PORT = 22

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


class Known(Struct, frozen=True):
    """All that is written down about one host."""

    name: str  # as known_hosts spells it, with the port unless it is 22
    file: str | None  # where a new key goes, if there is a place for it
    trusted: tuple[Line, ...] = ()
    portless: tuple[Line, ...] = ()  # keys of the same host on port 22: they may vouch, but not accuse
    revoked: tuple[Line, ...] = ()
    authorities: tuple[Line, ...] = ()

    def sort_algorithms(self, algorithms: Sequence[str]) -> tuple[str, ...]:
        """``algorithms`` with those first whose keys are known, else the server shows one that isn't."""
        kinds = {line.kind for line in self.trusted or self.portless}
        known = {name for kind in kinds for name in _ALGORITHMS.get(kind, (kind,))}
        return tuple(sorted(algorithms, key=lambda name: name not in known))


def fingerprint(key: bytes) -> str:
    """The fingerprint of a public key as OpenSSH shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def read_plainly(path: str) -> bytes:
    """All that is in a file."""
    with open(path, "rb") as file:
        return file.read()


def look_up(host: str, port: int, file: str | None, read: Callable[[str], bytes] = read_plainly) -> Known:
    """What ``file`` says of a host; without one the user's and then the machine's known_hosts.

    Raises UsageError if a file is there but can't be read.
    """
    plain = host.lower()
    name = plain if port == DEFAULT_PORT else f"[{plain}]:{port}"
    own = in_home(file or USER_FILE)
    found: dict[str, list[Line]] = {"": [], "portless": [], _REVOKED: [], _AUTHORITY: []}
    for path in (own,) if file else (own, GLOBAL_FILE):
        for line in () if path is None else _read_lines(path, read):
            if _matches(line.hosts, name):
                found[line.marker].append(line)
            elif name != plain and _matches(line.hosts, plain):
                found[line.marker or "portless"].append(line)
    return Known(
        name,
        own,
        trusted=tuple(found[""]),
        portless=tuple(found["portless"]),
        revoked=tuple(found[_REVOKED]),
        authorities=tuple(found[_AUTHORITY]),
    )


def check(
    known: Known,
    kind: str,
    key: bytes,
    *,
    accept_new: bool,
    say: Callable[[str], None],
    confirm: Callable[[str, str], bool] | None = None,
) -> None:
    """Let pass the key that is known, and a first one if ``accept_new``, which writes it down.

    ``confirm`` asks the user whether to do that; its second argument is as good as a yes.
    Raises Untrusted for any other.
    """
    for line in known.revoked:
        if line.key == key:
            raise Untrusted(
                f"the host key of {known.name} is revoked ({line}). Whoever answers there can't be trusted: "
                "not connected. Ask the administrator of the server for its new key."
            )
    if any(line.key == key for line in known.trusted or known.portless):
        return
    if known.trusted:
        raise Untrusted(_accuse(known, kind, key))
    if not (accept_new or _is_confirmed(known, kind, key, confirm)):
        raise Untrusted(_introduce(known, kind, key))
    _enrol(known, kind, key)
    say(f"the host key of {known.name} is new: {kind} {fingerprint(key)} was added to {known.file}")


def _is_confirmed(known: Known, kind: str, key: bytes, confirm: Callable[[str, str], bool] | None) -> bool:
    if confirm is None or known.file is None:
        return False
    shown = fingerprint(key)
    return confirm(
        f"The host {known.name} is not known. It shows {kind} {shown}.\n"
        f"Connect, and add that key to {known.file}?",
        shown,
    )


def _accuse(known: Known, kind: str, key: bytes) -> str:
    same_kind = [line for line in known.trusted if line.kind == kind]
    what = "HAS CHANGED" if same_kind else f"IS OF A TYPE ({kind}) THAT IS NOT THE KNOWN ONE"
    lines = "".join(f"\n  known: {line}" for line in same_kind or known.trusted)
    return (
        f"THE HOST KEY OF {known.name} {what}. Somebody may be intercepting the connection, or the server "
        f"was set up anew: not connected.\n  shown: {kind} {fingerprint(key)}{lines}\n"
        "Ask the administrator of the server whether the shown key is right. Only if it is: remove the known "
        f"line (ssh-keygen -R '{known.name}' -f '{(same_kind or known.trusted)[0].file}') and try again. "
        "--accept-new-host-key does not help here: it never replaces a key."
    )


def _introduce(known: Known, kind: str, key: bytes) -> str:
    host, _, port = known.name.removeprefix("[").partition("]:")
    scan = f"ssh-keyscan -p {port} {host}" if port else f"ssh-keyscan {host}"
    missing = (
        f"{known.file} has no key for it" if known.file else f"there is no list of known hosts, as {NO_HOME}"
    )
    file = known.file or "a file, name that with --known-hosts,"
    note = ""
    if known.authorities:
        line = known.authorities[0]
        note = (
            f" (The @cert-authority in {line.file}, line {line.number}, was skipped: "
            "host certificates are not supported.)"
        )
    return (
        f"the host {known.name} is not known: {missing}, and it shows "
        f"{kind} {fingerprint(key)}. If its administrator confirms that fingerprint, connect once with "
        f"--accept-new-host-key, or add the output of `{scan}` to {file} yourself.{note}"
    )


def _enrol(known: Known, kind: str, key: bytes) -> None:
    """Append a line, in one write, for others may be appending too."""
    if known.file is None:
        raise Untrusted(
            f"the new host key of {known.name} has no place to be written to: {NO_HOME}. "
            "Name a file with --known-hosts."
        )
    if re.search(r"[\s,*?!|#@]", known.name):
        raise Untrusted(f"{known.name!r} is no host name that could be written to {known.file}")
    line = f"{known.name} {kind} {base64.b64encode(key).decode()}\n".encode()
    try:
        os.makedirs(os.path.dirname(os.path.abspath(known.file)), mode=0o700, exist_ok=True)
        fd = os.open(known.file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            end = os.lseek(fd, 0, os.SEEK_END)
            if end:
                os.lseek(fd, end - 1, os.SEEK_SET)
                if os.read(fd, 1) != b"\n":
                    line = b"\n" + line
            os.write(fd, line)
        finally:
            os.close(fd)
    except OSError as error:
        raise Untrusted(
            f"the new host key of {known.name} can't be written to {known.file}: {error.strerror}. "
            "Name another file with --known-hosts."
        ) from None


def _read_lines(path: str, read: Callable[[str], bytes]) -> Iterator[Line]:
    try:
        for number, text in enumerate(read(path).split(b"\n"), 1):
            line = _parse(path, number, os.fsdecode(text))
            if line is not None:
                yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"can't read the known hosts in {path}: {error.strerror}") from None


def _parse(path: str, number: int, text: str) -> Line | None:
    """None for what is no key: comments, blanks, and the malformed, as OpenSSH does."""
    fields = text.split()
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


def _matches(hosts: str, name: str) -> bool:
    """Whether a line is about ``name``: hashed, or patterns of which one says yes and none says no."""
    if hosts.startswith("|"):
        try:
            _, version, salt, digest = hosts.split("|")
            expected = base64.b64decode(digest)
            actual = hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
        except (binascii.Error, ValueError):
            return False
        return version == "1" and hmac.compare_digest(actual, expected)
    said_yes = False
    for pattern in hosts.lower().split(","):
        negated = pattern.startswith("!")
        if _glob(pattern[negated:], name):
            if negated:
                return False
            said_yes = True
    return said_yes


def _glob(pattern: str, name: str) -> bool:
    # fnmatch won't do: to it the brackets of [host]:port are a set of characters.
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    expression = "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern)
    return re.fullmatch(expression, name, re.DOTALL) is not None
