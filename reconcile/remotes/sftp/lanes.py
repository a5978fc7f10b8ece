"""More channels for content, where the server is far: each is granted so many bytes a round trip.

What may live here: when it is worth to ask for them, and taking what is granted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconcile.model import Action
from reconcile.remotes.sftp.connect import Channel, Connection
from reconcile.remotes.sftp.lane import Lane
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.sftp.site import Site
from reconcile.remotes.sftp.upload import SPREAD_FROM

if TYPE_CHECKING:
    from concurrent.futures import Future

LANES = 8  # channels for content at most; OpenSSH grants a connection ten, some hosts fewer
A_LANE = 16 * 1024 * 1024  # bytes of large files for which it is worth to open one more
FAR = 0.002  # seconds of a round trip from which the window of one channel is what holds content up


class Lanes:
    """The channels of a connection beside the first: asked for in the background, once the plan is known."""

    def __init__(self, connection: Connection, session: Session, site: Site) -> None:
        self._connection = connection
        self._session = session
        self._site = site
        self._asked: list[Future[Lane | None]] = []

    def ask_for(self, actions: Iterable[Action]) -> None:
        """Begin to open as many as the large files are worth. Only on OpenSSH: who knows what others do."""
        if not self._site.quirks.ordered or self._session.round_trip < FAR:
            return
        large = sum(action.bytes for action in actions if action.bytes >= SPREAD_FROM)
        if count := min(large // A_LANE, LANES - 1):
            self.ask(count)

    def ask(self, count: int) -> None:
        """Begin to open so many."""
        self._asked = self._connection.ask_for_more(count, self._greet)

    def _greet(self, channel: Channel) -> Lane:
        lane = Lane(channel, self._site.options.timeout)
        lane.greet()
        return lane

    def take(self, *, wait: bool) -> None:
        """Use those that were asked for, if need be once they are there. What is refused is done without."""
        if self._asked and (wait or all(each.done() for each in self._asked)):
            self._session.widen(self._asked, self._connection.wait)
            self._asked = []
            self._site.lanes = self._session.lanes
