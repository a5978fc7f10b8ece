"""The verbs of a tree over SFTP: the pump, with the connection below it.

What may live here: how much is asked at a time. More channels are for content, where the server is far:
each is granted so many bytes a round trip.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconcile.remotes.sftp.channel import SftpChannel
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh.lines import Channel, Connection
from reconcile.remotes.tree.upload import SPREAD_FROM

if TYPE_CHECKING:
    from concurrent.futures import Future

IN_FLIGHT = 1000  # recipes under way at most, where the server is near: more would only queue there
PER_SECOND = 75_000  # more of them for each second that a round trip takes: an upload is three
IN_FLIGHT_FAR = 4000  # however far
CHANNELS = 8  # channels for content at most; OpenSSH grants a connection ten, some hosts fewer
A_CHANNEL = 16 * 1024 * 1024  # bytes of large files for which it is worth to open one more
WINDOWS = 16  # the same where the server takes so little at a time that this is less
SMALLEST = 16 * 1024  # bytes that are counted for such a window at least
FAR = 0.002  # seconds of a round trip from which the window of one channel is what holds content up


class SftpDriver(Session):
    """See ``Driver``. ``most``: channels that are opened at most, whatever they are worth."""

    def __init__(self, connection: Connection, channel: Channel, silence: float, most: int | None) -> None:
        super().__init__(channel, silence)
        self._connection = connection
        self._most = min(most or CHANNELS, CHANNELS)
        self._asked: list[Future[SftpChannel | None]] = []

    @property
    def at_a_time(self) -> int:
        """The farther, the more: what is under way is to fill the time that an answer takes."""
        return int(min(IN_FLIGHT + PER_SECOND * self.round_trip, IN_FLIGHT_FAR))

    def ask_for_channels(self, sizes: Iterable[int], most: int | None = None) -> int:
        """Begin to open as many as the large files are worth."""
        if self.round_trip < FAR:
            return 0
        a_channel = min(A_CHANNEL, WINDOWS * max(self._connection.channel.window, SMALLEST))
        large = sum(size for size in sizes if size >= min(SPREAD_FROM, a_channel))
        return self._ask(min(large // a_channel, (most or CHANNELS) - 1, self._most - 1))

    def open_all_channels(self) -> int:
        """As many as may be, however near the server is."""
        if self.channels == 1:
            self._ask(self._most - 1)
            self.take_channels(wait=True)
        return self._most

    def _ask(self, count: int) -> int:
        if count:
            self._asked = self._connection.ask_for_more(count, self._greet)
        return count

    def take_channels(self, *, wait: bool) -> bool:
        """What is refused is done without."""
        if not self._asked or not (wait or all(each.done() for each in self._asked)):
            return False
        asked, self._asked = self._asked, []
        self.widen(asked, self._connection.wait)
        return True

    def _greet(self, below: Channel) -> SftpChannel:
        channel = SftpChannel(below, self._silence)
        channel.greet()
        return channel

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
