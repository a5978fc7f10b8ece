"""Content over several channels at a time, where the driver has some and each shows what another has made.

What may live here: finding that out, how many are granted, and which are used.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from reconcile.core.model import Action
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.layout import STAGING
from reconcile.remotes.tree.site import Site
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import Attrs, Close, Handle, Lstat, Remove, Status


class Spread:
    """The channels beside the first: asked for once the plan is known."""

    def __init__(self, driver: Driver, site: Site) -> None:
        self._driver = driver
        self._site = site
        self._unproven = False
        self._asked = 0

    def ask_for(self, actions: Iterable[Action]) -> None:
        """Begin to open as many as the large files are worth."""
        if self._known is False:
            return
        sizes = (action.bytes for action in actions)
        self._asked = self._driver.ask_for_channels(sizes, self._site.quirks.channels)
        if not self._asked:
            return
        self._unproven = self._known is None
        if self._unproven:  # should that be taken amiss, it is not asked again
            self._site.quirks = replace(self._site.quirks, channels_agree=False)

    @property
    def _known(self) -> bool | None:
        """Whether one channel shows what another has made. OpenSSH's do, and who is like it."""
        return self._site.quirks.ordered or self._site.quirks.channels_agree

    def prove(self) -> None:
        """Find out whether the channels that were asked for show the same folder, if nobody knows."""
        if self._unproven:
            self._unproven = False
            if self._driver.take_channels(wait=True):
                self._note_refusal()
            if self._driver.channels > 1:
                self._driver.call(compare(self._site))
            self._use()

    def take(self, *, wait: bool) -> None:
        """Use those that were asked for, if need be once they are there."""
        if self._driver.take_channels(wait=wait):
            self._note_refusal()
            self._use()

    def _note_refusal(self) -> None:
        """A host that grants fewer is not asked for more again."""
        if self._driver.channels <= self._asked:
            self._site.quirks = replace(self._site.quirks, channels=self._driver.channels)

    def _use(self) -> None:
        self._site.channels = self._driver.channels if self._known else 1


def compare(site: Site) -> Recipe[None]:
    """Make a file over each of two channels, and look over the other: before, and after.

    Each may be a process of its own, which remembers for a while what a folder held.
    """
    one, other = site.layout.fresh(STAGING), site.layout.fresh(STAGING)
    looks = [Lstat(one, 1), Lstat(other, 0)]
    yield looks
    opened: list[Handle | Status] = yield [site.open_new(one, 0o600, 0), site.open_new(other, 0o600, 1)]
    yield [Close(each.handle, channel) for channel, each in enumerate(opened) if isinstance(each, Handle)]
    seen: list[Attrs | Status] = yield looks
    agree = all(isinstance(each, Attrs) for each in seen)
    site.quirks = replace(site.quirks, channels_agree=agree)
    yield [Remove(one), Remove(other, 1)]  # each by whom it is known to
