"""The lines of known_hosts that we write, and those that we take out. On demand only.

What may live here: changing such files, which others read and change meanwhile.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import stat
from collections import defaultdict
from contextlib import suppress

from reconcile.core.errors import Untrusted
from reconcile.home import NO_HOME
from reconcile.remotes.ssh.known_hosts import Known, Line, matches, parse_line, read_plainly


def enrol(known: Known, kind: str, key: bytes) -> None:
    """Append a line, in one write, for others may be appending too. Raises Untrusted if it can't be kept."""
    line = _compose(known, kind, key)
    file = known.file
    assert file is not None  # or it could not be composed
    try:
        os.makedirs(os.path.dirname(os.path.abspath(file)), mode=0o700, exist_ok=True)
        fd = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Untrusted(_keeps_nothing(known, file))
            end = os.lseek(fd, 0, os.SEEK_END)
            if end:
                os.lseek(fd, end - 1, os.SEEK_SET)
                if os.read(fd, 1) != b"\n":
                    line = b"\n" + line
            os.write(fd, line)
        finally:
            os.close(fd)
    except OSError as error:
        raise Untrusted(_unwritable(known, file, error)) from None


def replace(known: Known, kind: str, key: bytes) -> None:
    """Write a key down in the place of all that are known of the host. Raises Untrusted if it can't.

    Nothing is changed then, but where a disk fails between two files.
    """
    fresh = _compose(known, kind, key)
    outdated: dict[str, list[Line]] = defaultdict(list)
    for line in known.trusted:
        if line.key != key:
            outdated[line.file].append(line)
    texts = {path: _without(path, lines, known) for path, lines in outdated.items()}
    if known.file in texts:
        texts[known.file] += fresh
    for path, text in texts.items():
        try:
            _rewrite(path, text)
        except OSError as error:
            raise Untrusted(_unwritable(known, path, error)) from None
    if known.file not in texts:
        enrol(known, kind, key)


def _without(path: str, lines: list[Line], known: Known) -> bytes:
    """What is in a file but for these lines, or for the name in them. Ends in a line break."""
    try:
        texts = read_plainly(path).rstrip(b"\n").split(b"\n")
    except OSError as error:
        raise Untrusted(_unwritable(known, path, error)) from None
    taken: set[int] = set()
    for line in lines:
        place = line.number - 1
        if place >= len(texts) or parse_line(path, line.number, texts[place]) != line:
            raise Untrusted(f"{path} was changed meanwhile by somebody else: nothing was done. Try again.")
        hosts = line.hosts.split(",")
        rest = [name for name in hosts if name.lower() != known.name]
        if line.hosts.startswith("|") or not rest:
            taken.add(place)
        elif len(rest) < len(hosts) and not matches(",".join(rest), known.name):
            texts[place] = texts[place].replace(os.fsencode(line.hosts), os.fsencode(",".join(rest)), 1)
        else:
            raise Untrusted(
                f"the old key of {known.name} stands in a line that is for other hosts, too: {path}, line "
                f"{line.number}: {line.hosts}. Nothing was done. Correct that line yourself, and try again."
            )
    return b"".join(text + b"\n" for place, text in enumerate(texts) if place not in taken)


def _rewrite(path: str, text: bytes) -> None:
    """All at once, with its mode and owner; a link stays one.

    RACE: what somebody else appends between our reading and this is lost, as with `ssh-keygen -R`.
    """
    place = os.path.realpath(path)
    before = os.stat(place)
    fresh = f"{place}.{secrets.token_hex(8)}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(fd, "wb") as file:
            with suppress(OSError):  # it may be somebody else's, in a folder of ours
                os.fchown(fd, before.st_uid, before.st_gid)
            os.fchmod(fd, stat.S_IMODE(before.st_mode))
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.replace(fresh, place)
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh)
        raise


def _compose(known: Known, kind: str, key: bytes) -> bytes:
    """A line for known_hosts. Raises Untrusted where there is no place for it, or it would say more."""
    if known.file is None:
        raise Untrusted(
            f"the new host key of {known.name} has no place to be written to: {no_file()}. "
            "Name a file with --known-hosts."
        )
    if re.search(r"[\s,*?!|#@]", known.name):
        raise Untrusted(f"{known.name!r} is no host name that could be written to {known.file}")
    name = _hash(known.name) if known.hashed else known.name
    return f"{name} {kind} {_encode(key)}\n".encode()


def _hash(name: str) -> str:
    """So that who reads the file does not learn where we go: sshd(8)."""
    salt = secrets.token_bytes(20)
    return f"|1|{_encode(salt)}|{_encode(hmac.digest(salt, name.encode(), 'sha1'))}"


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def no_file() -> str:
    """Why there is no place for a key."""
    return f"there is no file of known hosts, as {NO_HOME}, or the configuration names none"


def _keeps_nothing(known: Known, file: str) -> str:
    return (
        f"the new host key of {known.name} is not trusted, as {file} is no regular file: it would be as new "
        "the next time, whoever shows one. Name a file with --known-hosts, or the key itself with --host-key."
    )


def _unwritable(known: Known, file: str, error: OSError) -> str:
    return (
        f"the new host key of {known.name} can't be written to {file}: {error.strerror}. "
        "Name another file with --known-hosts, or the key itself with --host-key."
    )
