"""What key a host shows, before anything is proved to it: for whoever wants to compare it.

What may live here: asking for it, over a connection that ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reconcile.core.errors import TurnedAway
from reconcile.remotes.ssh.connect import negotiate
from reconcile.remotes.ssh.known_hosts import Known
from reconcile.remotes.ssh.secret import Secrets
from reconcile.remotes.ssh.settings import Settings
from reconcile.remotes.ssh.target import Login, SshTarget
from reconcile.remotes.ssh.tcp import dial
from reconcile.remotes.ssh.transport import Transport


def shown_keys(
    target: SshTarget,
    settings: Settings,
    login: Login,
    known: Known,
    secrets: Secrets,
    say: Callable[[str], None],
) -> Iterator[tuple[str, bytes]]:
    """Its keys, type and content, one of each type that both ends have: first the one that a run would see.

    Each takes a connection of ``login.timeout`` seconds at most, by the way that the configuration has.
    Raises Unreachable, and UsageError where that can't be gone.
    """
    seen: set[str] = set()
    while True:
        transport = _call(target, settings, login, secrets, say)
        try:
            kind, key = _ask(transport, settings, known, seen, settings.connect_timeout or login.timeout)
        except TurnedAway:
            if not seen:
                raise
            return
        finally:
            transport.close()
            transport.stream.close()  # if it has not begun to speak
        yield kind, key
        seen.add(kind)


def _call(
    target: SshTarget, settings: Settings, login: Login, secrets: Secrets, say: Callable[[str], None]
) -> Transport:
    if settings.proxy is None:
        sock = dial(settings.host, settings.port, settings.connect_timeout or login.timeout)
        return Transport(sock, greeted=True)
    from reconcile.remotes.ssh.client.way import dial_by_way

    sock, hang_up = dial_by_way(target, settings, login, secrets, say)
    transport = Transport(sock, greeted=True)
    transport.hang_up = hang_up
    return transport


def _ask(
    transport: Transport, settings: Settings, known: Known, seen: set[str], seconds: float
) -> tuple[str, bytes]:
    """A key of a type that was not seen yet. Raises TurnedAway if there is none, Unreachable."""
    options = transport.get_security_options()
    left = tuple(name for name in options.key_types if _type_of(name) not in seen)
    if not left:
        raise TurnedAway(f"{settings}, shows no other key.")
    options.key_types = left
    negotiate(transport, known, settings, seconds)
    key = transport.host_key
    assert key is not None  # negotiated
    return key.get_name(), key.asbytes()


def _type_of(algorithm: str) -> str:
    """The type of key that signs so (RFC 8332)."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
