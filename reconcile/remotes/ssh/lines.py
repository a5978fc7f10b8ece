"""What connecting ends in, whoever does it: a line to the server, with streams of bytes on it.

What may live here: what the two ways of connecting have in common. One is paramiko's (``connect``),
the other OpenSSH's own client (``client``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from reconcile.core.errors import TurnedAway, Unreachable
from reconcile.remotes.ssh.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

PARAMIKO, SSH = "paramiko", "ssh"


def no_subsystem(where: str) -> TurnedAway:
    """A channel that ended before it said a word, on a connection that lives."""
    return TurnedAway(
        f"{where}, let us in but offers no SFTP subsystem. An administrator has to enable it "
        "(sshd_config: Subsystem sftp internal-sftp), for this user too."
    )


def no_channel(where: str, why: str) -> Unreachable:
    """There was none to be had."""
    return Unreachable(
        f"{where}, let us in but opened no channel: {why}. "
        "It may allow this user no session, or no more of them."
    )


class Channel(Protocol):
    """An SFTP channel: a stream of bytes.

    Whether the server has SFTP at all is known when it is first read.
    """

    def send(self, data: memoryview, /, *, wait: bool) -> int:
        """Send what is taken now, with ``wait`` some at least; returns how many bytes.

        Raises OSError or TimeoutError, Unreachable without SFTP.
        """

    def recv(self, nbytes: int, /) -> bytes:
        """Up to ``nbytes``, empty at the end; raises OSError or TimeoutError, Unreachable without SFTP."""

    def recv_ready(self) -> bool:
        """Whether ``recv`` would return at once."""

    def settimeout(self, timeout: float, /) -> None:
        """Seconds until ``send`` and ``recv`` raise TimeoutError."""

    def close(self) -> None:
        """Close; may be called twice."""

    @property
    def window(self) -> int:
        """Bytes that the server takes at a time, as far as that is known."""


class Connection(Protocol):
    """We are let in, and have one SFTP channel or more. Closing it closes them all."""

    @property
    def server_version(self) -> str:
        """What the server says it is: SSH-2.0-OpenSSH_9.2p1; empty if that is not known."""

    @property
    def where(self) -> str:
        """For messages: host and port."""

    @property
    def transport_name(self) -> str:
        """By what way: ``PARAMIKO`` or ``SSH``."""

    @property
    def why(self) -> str:
        """Why that way was taken, for people."""

    @property
    def settings(self) -> Settings:
        """What was followed."""

    @property
    def agreed(self) -> Mapping[str, str]:
        """What the two ends agreed on: key exchange, host key, cipher, compression."""

    @property
    def channel(self) -> Channel:
        """The first."""

    @property
    def has_only_lost_its_channel(self) -> bool:
        """Whether the first channel has ended, and the server can still be reached."""

    def renew_channel(self) -> Channel:
        """Another in the place of the first. Raises Unreachable."""

    def ask_for_more(self, count: int, greet: Callable[[Channel], T]) -> list[Future[T | None]]:
        """Up to ``count`` more, asked for at once and in the background: what ``greet`` makes of each.

        None stands for one that is refused. They are to be waited for together with the first: see ``wait``.
        """

    def wait(self, seconds: float) -> None:
        """Until something may have come on one of several channels, or for so long."""

    def close(self) -> None:
        """Hang up. May be called twice."""
