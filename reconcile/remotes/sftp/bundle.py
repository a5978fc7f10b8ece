"""A new directory's files: staged together under their names, published with one rename.

What may live here: which files go together, and their way. A directory that this
run has just made, and that gets nothing but new files, is filled in the staging
folder and then put over the empty one: no rename for each file, and one round
trip less. Readers see it empty or whole. Small enough units, so that a crash does
not start a large directory over; outcomes count only after that rename.

Only where posix-rename replaces an empty directory and requests are carried out
in the order in which they are sent, as by OpenSSH.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reconcile.diff import parent
from reconcile.model import PERMISSIONS, Action, Entry, Kind, Only, Op, Outcome
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.alter import SPECIAL_BITS
from reconcile.remotes.sftp.foreign import POSIX_RENAME
from reconcile.remotes.sftp.parents import look_at, trouble_above
from reconcile.remotes.sftp.site import Site, act
from reconcile.remotes.sftp.steps import Recipe
from reconcile.remotes.sftp.upload import Content, Notable, Sent
from reconcile.remotes.sftp.wire import OK, Attrs, Handle, Status
from reconcile.source import Source

FEWEST, MOST = 3, 1000  # files in a bundle
MOST_BYTES = 64 * 1024 * 1024
IN_STEP = 64  # files that one recipe has open at a time
IN_STEP_BYTES = 1024 * 1024  # of them in all, if they are several


@dataclass(slots=True)
class Bundle:
    """One directory on its way."""

    path: str
    mode: int | None
    place: bytes  # where it is staged
    actions: Sequence[Action]
    waiting: int = 0  # recipes that have not ended
    staged: list[tuple[Action, Entry]] = field(default_factory=list)
    left: list[Action] = field(default_factory=list)  # go their own way


def make_bundles(site: Site, actions: Sequence[Action]) -> tuple[list[Bundle], list[Action]]:
    """Bundles, and the actions that are in none."""
    if not site.openssh or POSIX_RENAME not in site.extensions or not site.empty:
        return [], list(actions)
    inside: dict[str, list[Action]] = defaultdict(list)
    for action in actions:
        inside[parent(action.path)].append(action)
    outer = {parent(path) for path in site.empty}  # hold a directory, so they are not empty
    bundles: list[Bundle] = []
    others: list[Action] = []
    for path, group in inside.items():
        plain = path in site.empty and path not in outer and trouble_above(site, group[0]) is None
        if plain and _go_together(group):
            bundles.append(Bundle(path, site.empty[path], site.fresh(b"staging"), group))
        else:
            others += group
    for path in inside:
        site.empty.pop(path, None)  # not empty any more, however it is filled
    return bundles, others


def _go_together(group: Sequence[Action]) -> bool:
    return (
        FEWEST <= len(group) <= MOST
        and all(action.op is Op.CREATE and action.kind is Kind.FILE for action in group)
        and sum(action.bytes for action in group) <= MOST_BYTES
    )


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
    yield some


class Bundler:
    """Hands out the recipes of bundles and of single actions, and the publishing when a bundle is ready."""

    def __init__(self, site: Site, source: Source, sent: Sent, in_step: int) -> None:
        self._site = site
        self._source = source
        self._sent = sent
        self._in_step = in_step
        self._ready: deque[Bundle] = deque()

    def recipes(self, bundles: Sequence[Bundle]) -> Iterator[Recipe[list[Outcome]]]:
        """Everything but the last publishings: see ``rest``."""
        for bundle in bundles:
            together = list(_split(bundle.actions, self._in_step))
            bundle.waiting = 1 + len(together)
            yield self._make_place(bundle)
            for actions in together:
                yield self._stage(bundle, actions)
                yield from self.rest()

    def rest(self) -> Iterator[Recipe[list[Outcome]]]:
        """The publishing of all bundles that are ready by now."""
        while self._ready:
            yield _publish(self._site, self._ready.popleft())

    def _make_place(self, bundle: Bundle) -> Recipe[list[Outcome]]:
        """Not waited for: if it fails, so will every OPEN in it."""
        wanted = 0o777 if bundle.mode is None else bundle.mode | 0o700
        _, there = yield [wire.mkdir(bundle.place, wanted), wire.lstat(bundle.place)]
        if bundle.mode is not None and isinstance(there, Attrs) and there.mode & PERMISSIONS != wanted:
            yield from act(wire.setstat(bundle.place, wanted | there.mode & SPECIAL_BITS, None))
        return self._end(bundle)

    def _stage(self, bundle: Bundle, actions: Sequence[Action]) -> Recipe[list[Outcome]]:
        """Some of its files, in step: two round trips for all of them."""
        if self._site.full is not None:
            bundle.left += actions
            return self._end(bundle)
        staged = [b"%b/%b" % (bundle.place, _name(action)) for action in actions]
        opened: list[Handle | Status] = yield [
            wire.open_new(path, self._site.mode_for(_wish(action)))
            for path, action in zip(staged, actions, strict=True)
        ]
        contents: list[tuple[Action, Content]] = []
        for path, action, reply in zip(staged, actions, opened, strict=True):
            if isinstance(reply, Handle):
                contents.append((action, self._content(action, path, reply.handle)))
            else:
                bundle.left.append(action)
        answers: list[Notable] = yield [content.requests() for _, content in contents]
        for (action, content), notable in zip(contents, answers, strict=True):
            if content.went_well(notable):
                bundle.staged.append((action, content.held()))
                continue
            held = yield from content.conclude(notable)
            if isinstance(held, Entry):
                bundle.staged.append((action, held))
            else:
                bundle.left.append(action)
        return self._end(bundle)

    def _content(self, action: Action, staged: bytes, handle: bytes) -> Content:
        return Content(self._site, self._source, action.path, _wish(action), staged, handle, self._sent)

    def _end(self, bundle: Bundle) -> list[Outcome]:
        bundle.waiting -= 1
        if not bundle.waiting:
            self._ready.append(bundle)
        return []


def _name(action: Action) -> bytes:
    return os.fsencode(action.path.rpartition("/")[2])


def _wish(action: Action) -> Entry:
    assert action.new is not None
    return action.new


def _publish(site: Site, bundle: Bundle) -> Recipe[list[Outcome]]:
    """Put the staged directory over the empty one. If that isn't empty any more, file by file.

    RACE: a file that a third hand puts there, and takes away, in between is not seen.
    """
    staged, bundle.staged = bundle.staged, []  # who has the outcome needs to hold it, and nobody else
    if (yield from act(wire.posix_rename(bundle.place, site.at(bundle.path)))) is OK:
        return [Outcome(action, Only(action.path, entry)) for action, entry in staged]
    outcomes: list[Outcome] = []
    if (yield from look_at(site, bundle.path)) is not None:
        bundle.left += [action for action, _ in staged]
        return outcomes
    renames = [wire.rename(bundle.place + b"/" + _name(action), site.at(action.path)) for action, _ in staged]
    statuses: list[Status] = yield renames
    for (action, entry), status in zip(staged, statuses, strict=True):
        if status is OK:
            outcomes.append(Outcome(action, Only(action.path, entry)))
        else:
            bundle.left.append(action)
    return outcomes
