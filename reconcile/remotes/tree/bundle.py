"""Small new files, many at a time: staged in step, and published with as few requests as may be.

What may live here: which files go together, and their way. A directory that this
run has just made, and that gets nothing but small new files, is a *bundle*: filled in the
staging folder and then put over the empty one. No rename for each file, and one
round trip less. Readers see it empty or whole. Small enough units, so that a crash does
not start a large directory over; outcomes count only after that rename. The other
small new files are renamed one by one, but in step too.

Only where it was proven that the requests of a channel are carried out in the order in which they are
sent, as by OpenSSH, and that RENAME replaces no file. Its posix-rename replaces an empty directory.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct, field

from reconcile.core.model import PERMISSIONS, Action, Entry, Kind, Only, Op, Outcome
from reconcile.core.paths import parent
from reconcile.remotes.tree.drift import Way
from reconcile.remotes.tree.parents import look_at, trouble_above
from reconcile.remotes.tree.rescue import staging_place
from reconcile.remotes.tree.site import SPECIAL_BITS, Site, absent, act
from reconcile.remotes.tree.steps import Fill, Notable, Recipe
from reconcile.remotes.tree.upload import Content, Sent, put_in_place
from reconcile.remotes.tree.verbs import OK, Attrs, Lstat, Mkdir, OpenNew, Rename, Replace, Set, Status
from reconcile.source.files import AGAIN, Source

FEWEST, MOST = 3, 1000  # files in a bundle
MOST_BYTES = 64 * 1024 * 1024
IN_STEP = 64  # files that one recipe has open at a time
IN_STEP_BYTES = 512 * 1024  # of them in all, if they are several

Staged: TypeAlias = tuple[Action, Entry, bytes]  # what is published, as what, and where it is now


class Bundle(Struct, eq=False):
    """One directory on its way."""

    path: str
    mode: int | None
    place: bytes  # where it is staged
    actions: Sequence[Action]
    channel: int = 0  # all of it goes over one: a file is opened after its directory was made
    waiting: int = 0  # recipes that have not ended
    made: bool = False  # its place is
    missed: bool = False  # by a file that was to be opened in it
    staged: list[Staged] = field(default_factory=list)

    def staged_at(self, actions: Sequence[Action]) -> list[bytes]:
        """Where files of it are staged: under their names."""
        names = os.fsencode("\0".join([action.path.rpartition("/")[2] for action in actions]))
        return [b"%b/%b" % (self.place, name) for name in names.split(b"\0")]


def make_bundles(site: Site, actions: Sequence[Action]) -> tuple[list[Bundle], list[Action], list[Action]]:
    """Bundles, the other small new files, and the actions that go their own way."""
    if not (site.quirks.ordered and site.sends_unlooked):
        return [], [], list(actions)
    inside: dict[str, list[Action]] = defaultdict(list)
    for action in actions:
        inside[parent(action.path)].append(action)
    outer = {parent(path) for path in site.memory.empty}  # hold a directory, so they are not empty
    bundles: list[Bundle] = []
    in_step: list[Action] = []
    others: list[Action] = []
    for path, group in inside.items():
        if not site.memory.suits(path) or trouble_above(site, group[0]) is not None:
            others += group
        elif path in site.memory.empty and path not in outer and _go_together(site, path, group):
            bundles.append(Bundle(path, site.memory.empty[path], staging_place(site, path), group))
        else:
            for action in group:
                (in_step if _is_small(site, action) else others).append(action)
    for path in inside:
        site.memory.empty.pop(path, None)  # not empty any more, however it is filled
    return bundles, in_step, others


def _go_together(site: Site, path: str, group: Sequence[Action]) -> bool:
    return (
        Replace in site.can
        and site.memory.hands_down_alike(path)
        and FEWEST <= len(group) <= MOST
        and all(_is_small(site, action) for action in group)
        and sum(action.bytes for action in group) <= MOST_BYTES
    )


def _is_small(site: Site, action: Action) -> bool:
    new = action.new
    if action.op is not Op.CREATE or action.source is not None or new is None:
        return False
    return new.kind is Kind.FILE and new.size <= site.block


def _split(actions: Sequence[Action], most: int) -> Iterator[Sequence[Action]]:
    """What goes in step: enough for a round trip to be worth it, and little to hold in memory."""
    some: list[Action] = []
    size = 0
    for action in actions:
        size += action.bytes
        if some and (size > IN_STEP_BYTES or len(some) == most):
            yield some
            some, size = [], action.bytes
        some.append(action)
    if some:
        yield some


class Bundler:
    """Hands out the recipes of bundles and of files in step."""

    def __init__(self, site: Site, source: Source, sent: Sent, most: int) -> None:
        self.left: list[Action] = []  # that go their own way after all
        self._site = site
        self._source = source
        self._sent = sent
        self._most = most  # files in step

    def recipes(
        self, bundles: Sequence[Bundle], in_step: Sequence[Action]
    ) -> Iterator[Recipe[list[Outcome]]]:
        """All of them. Whichever ends last of a bundle's publishes it."""
        for bundle in bundles:
            together = list(_split(bundle.actions, self._most))
            bundle.waiting = 1 + len(together)
            [bundle.channel] = self._site.next_channels(1)
            yield self._make_place(bundle)
            for actions in together:
                yield self._fill(bundle, actions)
        for actions in _split(in_step, self._most):
            yield self._upload(actions)

    def _make_place(self, bundle: Bundle) -> Recipe[list[Outcome]]:
        """Not waited for: if it fails, so will every OPEN in it."""
        wanted = 0o777 if bundle.mode is None else bundle.mode | 0o700
        place, channel = bundle.place, bundle.channel
        made, there = yield [Mkdir(place, wanted, channel), Lstat(place, channel)]
        bundle.made = made is OK
        bundle.missed = bundle.missed or absent(there)
        if bundle.mode is not None and isinstance(there, Attrs) and there.mode & PERMISSIONS != wanted:
            yield from act(Set(bundle.place, wanted | there.mode & SPECIAL_BITS, None))
        return (yield from self._end(bundle))

    def _fill(self, bundle: Bundle, actions: Sequence[Action]) -> Recipe[list[Outcome]]:
        """Some files of a bundle: two round trips for all of them."""
        places = bundle.staged_at(actions)
        staged, failed = yield from self._stage(actions, places, bundle.channel, bundle)
        bundle.staged += staged
        return failed + (yield from self._end(bundle))

    def _upload(self, actions: Sequence[Action]) -> Recipe[list[Outcome]]:
        """Some files that are in no bundle: three round trips."""
        site = self._site
        here = [action for action in actions if not site.memory.is_elsewhere(parent(action.path))]
        self.left += [action for action in actions if site.memory.is_elsewhere(parent(action.path))]
        [channel] = site.next_channels(1)
        staged, failed = yield from self._stage(
            here, [staging_place(site, action.path) for action in here], channel
        )
        return failed + (yield from self._put_each(staged))

    def _stage(
        self, actions: Sequence[Action], places: Sequence[bytes], channel: int, bundle: Bundle | None = None
    ) -> Recipe[tuple[list[Staged], list[Outcome]]]:
        """Send files in step: what is staged then, and what failed. What may go better alone is left."""
        site = self._site
        if site.memory.full is not None or (
            site.memory.elsewhere and any(site.memory.is_elsewhere(parent(action.path)) for action in actions)
        ):
            self.left += actions
            return [], []
        contents = [
            Content(site, self._source, action.path, _wish(action), place, None, self._sent)
            for place, action in zip(places, actions, strict=True)
        ]
        answers: list[Notable] = yield Fill([content.put(channel) for content in contents], channel)
        staged: list[Staged] = []
        failed: list[Outcome] = []
        for action, content, notable in zip(actions, contents, answers, strict=True):
            if content.went_well(notable):
                staged.append((action, content.held(), content.staged))
                continue
            if notable and notable[0][0] is OpenNew:
                self.left.append(action)
                if bundle is not None:
                    bundle.missed = bundle.missed or absent(notable[0][1])
                continue
            held = yield from content.conclude(notable)
            if isinstance(held, Entry):
                staged.append((action, held, content.staged))
            elif held.reason in AGAIN:
                self.left.append(action)
            else:
                failed.append(Outcome(action, problem=held))
        return staged, failed

    def _end(self, bundle: Bundle) -> Recipe[list[Outcome]]:
        bundle.waiting -= 1
        if bundle.waiting:
            return []
        if bundle.made and bundle.missed:
            self._site.saw_disorder()
        return (yield from self._publish(bundle))

    def _publish(self, bundle: Bundle) -> Recipe[list[Outcome]]:
        """Put the staged directory over the empty one. If that isn't empty any more, file by file.

        RACE: a file that a third hand puts there, and takes away, in between is not seen.
        """
        site = self._site
        staged, bundle.staged = bundle.staged, []  # who has the outcome needs to hold it, and nobody else
        if (yield from act(Replace(bundle.place, site.layout.at(bundle.path)))) is OK:
            return [Outcome(action, Only(action.path, entry)) for action, entry, _ in staged]
        if (yield from look_at(site, bundle.path)) is not None:
            self.left += [action for action, _, _ in staged]
            return []
        return (yield from self._put_each(staged))

    def _put_each(self, staged: Sequence[Staged]) -> Recipe[list[Outcome]]:
        """Rename each file to its path, and see to those that are refused."""
        site = self._site
        renames = [Rename(place, site.layout.at(action.path)) for action, _, place in staged]
        statuses: list[Status] = yield renames
        outcomes: list[Outcome] = []
        refused: list[Staged] = []
        for each, status in zip(staged, statuses, strict=True):
            if status is OK:
                outcomes.append(Outcome(each[0], Only(each[0].path, each[1])))
            else:
                refused.append(each)
        met: list[Outcome | None] = yield [put_in_place(site, *each, Way.FREE) for each in refused]
        for (action, _, _), outcome in zip(refused, met, strict=True):
            if outcome is not None:
                outcomes.append(outcome)
            else:
                self.left.append(action)
        return outcomes


def _wish(action: Action) -> Entry:
    assert action.new is not None
    return action.new
