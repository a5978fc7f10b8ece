"""What key a host shows, before anything is proved to it: for whoever wants to compare it.

What may live here: asking for it, over a connection that ends there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from reconcile.core.errors import TurnedAway, UsageError
from reconcile.remotes.ssh.connect import negotiate
from reconcile.remotes.ssh.known_hosts import Known
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.tcp import dial
from reconcile.remotes.ssh.transport import Transport


def shown_keys(settings: Settings, known: Known, seconds: float) -> Iterator[tuple[str, bytes]]:
    """Its keys, type and content, one of each type that both ends have: first the one that a run would see.

    Each takes a connection, all of them ``seconds``. Raises Unreachable, and UsageError where there is no
    direct way.
    """
    if settings.proxy is not None:
        raise UsageError(
            f"{settings.name} is reached through another host ({settings.proxy}): look at its key with "
            f"`ssh {settings.name}`, which asks whether to trust it and keeps it where we look, too."
        )
    give_up = time.monotonic() + seconds
    seen: set[str] = set()
    while True:
        try:
            kind, key = _ask(settings, known, seen, max(give_up - time.monotonic(), 0.1))
        except TurnedAway:
            if not seen:
                raise
            return
        yield kind, key
        seen.add(kind)


def _ask(settings: Settings, known: Known, seen: set[str], seconds: float) -> tuple[str, bytes]:
    """A key of a type that was not seen yet. Raises TurnedAway if there is none, Unreachable."""
    transport = Transport(dial(settings.host, settings.port, seconds), greeted=True)
    try:
        options = transport.get_security_options()
        left = tuple(name for name in options.key_types if _type_of(name) not in seen)
        if not left:
            raise TurnedAway(f"{settings}, shows no other key.")
        options.key_types = left
        negotiate(transport, known, settings, seconds)
        key = transport.host_key
        assert key is not None  # negotiated
        return key.get_name(), key.asbytes()
    finally:
        transport.close()


def _type_of(algorithm: str) -> str:
    """The type of key that signs so (RFC 8332)."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
