"""More channels for content, where the server is far: each is granted so many bytes a round trip.

What may live here: when it is worth to ask for them, and taking what is granted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconcile.core.model import Action
from reconcile.remotes.sftp.lane import Lane
from reconcile.remotes.sftp.session import Session
from reconcile.remotes.ssh.connect import Channel, Connection
from reconcile.remotes.tree.site import STAGING, Site
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.upload import SPREAD_FROM
from reconcile.remotes.tree.verbs import Attrs, Close, Handle, Lstat, Remove, Status

if TYPE_CHECKING:
    from concurrent.futures import Future

LANES = 8  # channels for content at most; OpenSSH grants a connection ten, some hosts fewer
A_LANE = 16 * 1024 * 1024  # bytes of large files for which it is worth to open one more
WINDOWS = 16  # the same where the server takes so little at a time that this is less
SMALLEST = 16 * 1024  # bytes that are counted for such a window at least
FAR = 0.002  # seconds of a round trip from which the window of one channel is what holds content up


class Lanes:
    """The channels of a connection beside the first: asked for in the background, once the plan is known."""

    def __init__(self, connection: Connection, session: Session, site: Site) -> None:
        self._connection = connection
        self._session = session
        self._site = site
        self._asked: list[Future[Lane | None]] = []
        self._unproven = False

    def ask_for(self, actions: Iterable[Action]) -> None:
        """Begin to open as many as the large files are worth."""
        if self._session.round_trip < FAR or self._known is False:
            return
        a_lane = min(A_LANE, WINDOWS * max(self._connection.channel.window, SMALLEST))
        large = sum(action.bytes for action in actions if action.bytes >= min(SPREAD_FROM, a_lane))
        if count := min(large // a_lane, LANES - 1):
            self.ask(count)

    def ask(self, count: int) -> None:
        """Begin to open so many."""
        site = self._site
        self._unproven = self._known is None
        if self._unproven:  # should the server take that amiss, it is not asked again
            site.quirks = replace(site.quirks, lanes_agree=False)
        self._asked = self._connection.ask_for_more(count, self._greet)

    @property
    def _known(self) -> bool | None:
        """Whether one channel shows what another has made. OpenSSH's do, and who is like it."""
        return self._site.quirks.ordered or self._site.quirks.lanes_agree

    def prove(self) -> None:
        """Find out whether the channels that were asked for show the same folder, if nobody knows."""
        if self._asked and self._unproven:
            self._unproven = False
            self._widen()
            if self._session.lanes > 1:
                self._session.call(_compare(self._site))
            self._use()

    def _greet(self, channel: Channel) -> Lane:
        lane = Lane(channel, self._site.options.timeout)
        lane.greet()
        return lane

    def take(self, *, wait: bool) -> None:
        """Use those that were asked for, if need be once they are there. What is refused is done without."""
        if self._asked and (wait or all(each.done() for each in self._asked)):
            self._widen()
            self._use()

    def _widen(self) -> None:
        self._session.widen(self._asked, self._connection.wait)
        self._asked = []

    def _use(self) -> None:
        self._site.lanes = self._session.lanes if self._known else 1


def _compare(site: Site) -> Recipe[None]:
    """Make a file over each of two channels, and look over the other: before, and after.

    Each may be a process of its own, which remembers for a while what a folder held.
    """
    one, other = site.fresh(STAGING), site.fresh(STAGING)
    looks = [Lstat(one, 1), Lstat(other, 0)]
    yield looks
    opened: list[Handle | Status] = yield [site.open_new(one, 0o600, 0), site.open_new(other, 0o600, 1)]
    yield [Close(each.handle, lane) for lane, each in enumerate(opened) if isinstance(each, Handle)]
    seen: list[Attrs | Status] = yield looks
    agree = all(isinstance(each, Attrs) for each in seen)
    site.quirks = replace(site.quirks, lanes_agree=agree)
    yield [Remove(one), Remove(other, 1)]  # each by whom it is known to
