"""What a server announces beyond version 3 of SFTP, and what that says of it.

What may live here: names of extensions, but for what is sent with them (``wire``).
"""

from __future__ import annotations

from collections.abc import Mapping

from reconcile.remotes.tree.quirks import Version

# All that OpenSSH's sftp-server announces, up to 10. Those with a version it has had since 6.5.
_OF_OPENSSH: Mapping[bytes, bytes | None] = {
    b"posix-rename@openssh.com": b"1",
    b"statvfs@openssh.com": b"2",
    b"fstatvfs@openssh.com": b"2",
    b"hardlink@openssh.com": b"1",
    b"fsync@openssh.com": b"1",
    b"lsetstat@openssh.com": None,
    b"limits@openssh.com": None,
    b"expand-path@openssh.com": None,
    b"copy-data": None,
    b"home-directory": None,
    b"users-groups-by-id@openssh.com": None,
}


def claims_openssh(extensions: Mapping[bytes, bytes]) -> bool:
    """Whether a server announces all that OpenSSH's does, and nothing else: then it is worth to try its ways.

    Another may run below OpenSSH's banner, so that says nothing.
    """
    needed = {name: version for name, version in _OF_OPENSSH.items() if version is not None}
    return needed.items() <= extensions.items() and extensions.keys() <= _OF_OPENSSH.keys()


def version_of(banner: str, extensions: Mapping[bytes, bytes]) -> Version:
    """Whom the facts are about."""
    pairs = sorted(extensions.items())
    return [banner, *(b"%b=%b".__mod__(pair).decode(errors="backslashreplace") for pair in pairs)]
