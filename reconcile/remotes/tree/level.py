"""One level of a plan, carried out: in which order, how many at a time, and what is tried once more.

What may live here: what is true of actions as a whole. How each of them is done is in its recipe.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from msgspec.structs import replace

from reconcile.core.job import Fsync, Stop
from reconcile.core.model import (
    Action,
    Kind,
    Op,
    Outcome,
    Problem,
    Reason,
)
from reconcile.core.order import not_tried
from reconcile.core.paths import parent
from reconcile.remotes.tree.bundle import IN_STEP, Bundler, make_bundles
from reconcile.remotes.tree.carry import looks_inside
from reconcile.remotes.tree.clash import set_twins_apart, unless_taken
from reconcile.remotes.tree.delete import delete, width
from reconcile.remotes.tree.drift import make_old
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.failure import what_fits
from reconcile.remotes.tree.meta import set_meta
from reconcile.remotes.tree.mkdir import make_directory, missed, next_to_make, set_nested_apart
from reconcile.remotes.tree.move import move
from reconcile.remotes.tree.names import set_odd_apart
from reconcile.remotes.tree.parents import blocked, look_at_parents, trouble_above
from reconcile.remotes.tree.publish import make_link
from reconcile.remotes.tree.refusal import is_barred
from reconcile.remotes.tree.run_folder import make_parts
from reconcile.remotes.tree.site import NO_FSYNC, Site
from reconcile.remotes.tree.spread import Spread
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.unproven import look_again, note_published
from reconcile.remotes.tree.upload import SPREAD_FROM, Sent, Staged, as_published, bring_out, upload
from reconcile.remotes.tree.vanished import settle
from reconcile.remotes.tree.whole import Whole, find_whole, put_whole
from reconcile.source.files import Source

T = TypeVar("T")

_CREATE, _MODIFY, _FILE = Op.CREATE, Op.MODIFY, Kind.FILE  # a member is twice as dear by way of its class


def at_a_time(driver: Driver, site: Site) -> int:
    """How many recipes may be under way."""
    return max(1, min(driver.at_a_time, site.handles))


class Level:
    """Independent actions on their way. What fails is put aside until all have been tried."""

    def __init__(
        self,
        driver: Driver,
        site: Site,
        spread: Spread,
        source: Source,
        sent: Sent,
        stop: Stop | None,
        staged: dict[int, Staged],
    ) -> None:
        """``staged``: by the id of its action, what is only to be brought out."""
        self._driver = driver
        self._site = site
        self._spread = spread
        self._source = source
        self._sent = sent
        self._stop = stop
        self._failed: list[Outcome] = []
        self._staged = staged

    def perform(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """Carry them out, once."""
        driver, site = self._driver, self._site
        actions, unnamed = driver.call(set_odd_apart(site, actions))
        yield from unnamed
        actions, nested = set_nested_apart(actions)
        self._get_ready(actions)
        actions, twins = set_twins_apart(site, actions)
        left = yield from self._send_together(actions)
        trees = [action for action in left if _lists_a_tree(site, action)]
        others = (action for action in left if not _lists_a_tree(site, action)) if trees else left
        yield from self._run(others, self._at_a_time)
        yield from self._run(twins, 1)
        yield from self._make_nested(nested)
        widest = max(map(width, trees), default=1)
        yield from self._run(trees, max(1, self._at_a_time // widest))
        yield from self._open_fewer()
        yield from self._send_what_fits()
        yield from driver.run((settle(site, outcome) for outcome in self._failed), self._at_a_time)
        yield from self._look_again()

    @property
    def _at_a_time(self) -> int:
        return at_a_time(self._driver, self._site)

    @property
    def _is_stopped(self) -> bool:
        return self._stop is not None and bool(self._stop.requested)

    def _get_ready(self, actions: Sequence[Action]) -> None:
        """Make what is missing of the run's folder, and look at what is above the paths of the actions."""
        driver, site = self._driver, self._site
        unsent = (action for action in actions if id(action) not in self._staged)
        if (uploads := sum(map(_sends_a_file, unsent))) or not self._staged:
            site.memory.uploads = uploads
        if site.memory.uploads and site.quirks.renames is False:
            driver.call(is_barred(site))
        if site.memory.uploads and site.options.fsync is Fsync.ALWAYS and not site.caps.fsync:
            site.say_once(NO_FSYNC)
        making = [make_parts(site, actions)]
        if site.options.trash is not None:
            making.append(make_old(site, actions))
        for _ in driver.run(chain(making, look_at_parents(site, actions)), self._at_a_time):
            pass  # what they find is noted in the run's memory
        if site.memory.uploads:
            self._spread.prove()

    def _run(self, actions: Iterable[Action], in_flight: int) -> Iterator[Outcome]:
        """Carry out actions; those that fail are put aside."""
        yield from self._done(self._driver.run(map(self._recipe, actions), in_flight, self._stop))

    def _run_again(self, actions: Sequence[Action], in_flight: int) -> Iterator[Outcome]:
        """The same with some that had failed."""
        again = set(map(id, actions))
        self._failed = [outcome for outcome in self._failed if id(outcome.action) not in again]
        yield from self._run(actions, in_flight)

    def _done(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Those that went well; the others are put aside."""
        site = self._site
        for outcome in outcomes:
            if outcome.problem is not None:
                self._failed.append(outcome)
                continue
            action = outcome.action
            if _sends_a_file(action):
                site.memory.unsynced += not site.syncs(action.size)
                note_published(site, action)
            yield outcome

    def _bring_out(self, action: Action) -> Recipe[Outcome]:
        staged = self._staged.pop(id(action))
        return (yield from bring_out(self._site, staged, self._source, self._sent))

    def _send_together(self, actions: Sequence[Action]) -> Generator[Outcome, None, list[Action]]:
        """Carry out small uploads many at a time, and the large ones beside them.

        What one of them waits for the other makes use of. Returns the actions that go their own way.
        """
        ready = [action for action in actions if id(action) in self._staged] if self._staged else []
        unsent = [action for action in actions if id(action) not in self._staged] if ready else actions
        if ready:
            ready = yield from self._put_whole(ready)
        bundles, in_step, left = make_bundles(self._site, unsent)
        left = ready + left
        if not bundles and not in_step:
            return left
        large = [action for action in left if action.size > self._site.block]
        left = [action for action in left if action.size <= self._site.block]
        most = min(IN_STEP, self._at_a_time)
        bundler = Bundler(self._site, self._source, self._sent, most)
        self._spread.take(wait=False)
        recipes = take_turns(bundler.recipes(bundles, in_step), map(self._alone, large))
        for outcomes in self._driver.run(recipes, self._at_a_time // most, self._stop):
            yield from self._done(outcomes)
        return left + bundler.left

    def _put_whole(self, ready: Sequence[Action]) -> Generator[Outcome, None, list[Action]]:
        """Bring out what is staged by directories, where that may be. Returns the actions that are left."""
        gone: set[int] = set()
        wholes = find_whole(self._site, ready, self._staged)
        for outcomes in self._driver.run(map(self._bring_out_whole, wholes), self._at_a_time, self._stop):
            gone.update(id(outcome.action) for outcome in outcomes)
            yield from self._done(outcomes)
        return [action for action in ready if id(action) not in gone] if gone else list(ready)

    def _bring_out_whole(self, whole: Whole) -> Recipe[list[Outcome]]:
        if not (yield from put_whole(self._site, whole)):
            return []
        return [as_published(self._staged.pop(id(action))) for action in whole.actions]

    def _alone(self, action: Action) -> Recipe[list[Outcome]]:
        return [(yield from self._recipe(action))]

    def _make_nested(self, nested: Sequence[Action]) -> Iterator[Outcome]:
        """Make directories inside those that this level has made, or failed to make."""
        before, self._failed = self._failed, []
        culprits = {outcome.action.path: outcome.action.path for outcome in before}
        while nested and not self._is_stopped:
            now, nested = next_to_make(self._site, nested)
            now, twins = set_twins_apart(self._site, now)
            yield from self._run(now, self._at_a_time)
            yield from self._run(twins, 1)
            broken, self._failed = self._failed, []
            broken.sort(key=lambda outcome: outcome.action.path)
            again = missed(self._site, now, broken)
            nested = [*again, *nested]
            for outcome in broken:
                action = outcome.action
                if action in again:
                    continue
                culprit = culprits.get(parent(action.path))
                culprits[action.path] = culprit or action.path
                if culprit is None:
                    before.append(outcome)
                else:
                    yield Outcome(action, problem=not_tried(action, culprit))
        self._failed = before

    def _open_fewer(self) -> Iterator[Outcome]:
        """What could not be opened once more, fewer at a time: a server may grant less than it tells."""
        site, fewer = self._site, self._at_a_time
        again, site.memory.unopened = site.memory.unopened, []
        while again and fewer > 1 and not site.tells_limits:
            if self._is_stopped:
                return
            fewer //= 2
            yield from self._run_again(again, fewer)
            if len(site.memory.unopened) == len(again):
                break  # not for want of handles
            again, site.memory.unopened = site.memory.unopened, []
            site.handles = fewer
            site.quirks = replace(site.quirks, handles=fewer)
        site.memory.unopened = []

    def _send_what_fits(self) -> Iterator[Outcome]:
        """Where the disk is full: of what was not sent, what has room for sure."""
        site = self._site
        if site.memory.full is None or self._is_stopped:
            return
        unsent = [outcome.action for outcome in self._failed if _lacks_space(outcome)]
        if fitting := self._driver.call(what_fits(site, unsent)):
            site.memory.full = None
            yield from self._run_again(fitting, self._at_a_time)

    def _look_again(self) -> Iterator[Outcome]:
        """At what was published on trust, where that was lost since."""
        site = self._site
        if site.trusted:
            return
        doubtful, site.memory.unproven = site.memory.unproven, []
        for found in self._driver.run((look_again(site, action) for action in doubtful), self._at_a_time):
            if found is not None:
                yield found

    def _recipe(self, action: Action) -> Recipe[Outcome]:
        site = self._site
        if (trouble := trouble_above(site, action)) is not None:
            return _blocked(site, action, trouble)
        recipe = self._recipe_for(action)
        return unless_taken(site, action, recipe) if action.path in site.memory.twins else recipe

    def _recipe_for(self, action: Action) -> Recipe[Outcome]:
        site = self._site
        match action.op:
            case Op.CREATE | Op.MODIFY if action.kind is Kind.SYMLINK:
                return make_link(site, action, self._source)
            case Op.CREATE | Op.MODIFY:
                if id(action) in self._staged:
                    return self._bring_out(action)
                self._spread.take(wait=action.size >= SPREAD_FROM)
                return upload(site, action, self._source, self._sent)
            case Op.MKDIR:
                return make_directory(site, action)
            case Op.SETMETA:
                return set_meta(site, action)
            case Op.MOVE:
                return move(site, action)
            case Op.DELETE:
                return delete(site, action)


def take_turns(one: Iterable[T], other: Iterable[T]) -> Iterator[T]:
    """From each in turn, and then what is left of the longer."""
    pairs = zip_longest(one, other)
    return (item for pair in pairs for item in pair if item is not None)


def _sends_a_file(action: Action) -> bool:
    op, new = action.op, action.new
    return (op is _CREATE or op is _MODIFY) and new is not None and new.kind is _FILE


def _lacks_space(outcome: Outcome) -> bool:
    trouble = outcome.problem
    return trouble is not None and trouble.reason is Reason.NO_SPACE and _sends_a_file(outcome.action)


def _lists_a_tree(site: Site, action: Action) -> bool:
    return (action.op is Op.DELETE and action.kind is Kind.DIR) or looks_inside(site, action)


def _blocked(site: Site, action: Action, trouble: Problem) -> Recipe[Outcome]:
    yield from ()
    return blocked(site, action, trouble)
