"""What a server offers of algorithms where paramiko has none of them, and OpenSSH's client may have one.

What may live here: that, and what is told of it. No library that is kept gives paramiko
chacha20-poly1305 or sntrup761, which some servers are set to; the client has both.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from reconcile.core.errors import TurnedAway
from reconcile.remotes.ssh import keywords
from reconcile.remotes.words import one_line

_OLD_KEYS = {"ssh-rsa", "ssh-dss"}
_PATIENCE = 10.0  # seconds: nothing is asked of anybody


class Mismatch(Struct, frozen=True):
    """Where nothing is in common."""

    keyword: str  # of ssh_config(5) and sshd_config(5)
    what: str  # for people
    offered: tuple[str, ...]
    ours: tuple[str, ...]

    def __str__(self) -> str:
        shown = one_line(", ".join(self.offered)) or "none at all"
        return f"of {self.what} it offers {shown}; ours are {', '.join(self.ours)}"

    @property
    def advice(self) -> str:
        """What to do about it, there."""
        if self.keyword == "HostKeyAlgorithms" and self.offered and set(self.offered) <= _OLD_KEYS:
            return (
                "Signatures with SHA-1 (ssh-rsa) and DSA are no longer safe, and not supported: the server "
                "needs a newer SSH, or a host key of type ed25519, ECDSA or RSA with SHA-2"
            )
        return f"An administrator of the server has to allow one of ours (sshd_config: {self.keyword})"


class NothingInCommon(TurnedAway):
    """We and the server have no way of talking, as far as paramiko goes."""

    def __init__(self, message: str, mismatch: Mismatch | None = None) -> None:
        super().__init__(message)
        self.mismatch = mismatch


def nothing_in_common(where: str, mismatch: Mismatch | None, otherwise: str) -> NothingInCommon:
    """The same, told."""
    told = f"{mismatch}. {mismatch.advice}" if mismatch is not None else otherwise
    return NothingInCommon(f"{where}, and we have no way of talking in common: {told}.", mismatch)


def known_to_client(command: Sequence[str], mismatch: Mismatch) -> list[str]:
    """What of it OpenSSH's client uses without being told to. Empty: nothing, or there is no client."""
    from reconcile.remotes.ssh.asked import usual  # it starts a process: mostly there is no need

    told = usual(command, _PATIENCE).get(keywords.plain(mismatch.keyword), ())
    known = {name for value in told for name in value.split(",")}
    return [each for each in mismatch.offered if each in known]
