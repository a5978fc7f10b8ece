"""A tree of files as a Remote, whoever carries its verbs out: hands each action to its recipe."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from msgspec.structs import replace

from reconcile.core.job import Fsync, Reporter, Stop
from reconcile.core.model import (
    Action,
    Caps,
    Entry,
    Footing,
    Kind,
    Op,
    Outcome,
    Plan,
    Problem,
    Range,
    Reason,
    Seen,
    Stats,
    Tag,
)
from reconcile.core.order import not_tried
from reconcile.core.paths import parent
from reconcile.remotes import NOTHING, Memory
from reconcile.remotes.tree.bundle import IN_STEP, Bundler, make_bundles
from reconcile.remotes.tree.carry import looks_inside
from reconcile.remotes.tree.clash import set_twins_apart, unless_taken
from reconcile.remotes.tree.delete import delete, width
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.failure import what_fits
from reconcile.remotes.tree.kept import Kept
from reconcile.remotes.tree.leftovers import find_left
from reconcile.remotes.tree.listing import TOGETHER
from reconcile.remotes.tree.mark import find_marks
from reconcile.remotes.tree.meta import set_meta
from reconcile.remotes.tree.mkdir import make_directory, missed, next_to_make, set_nested_apart
from reconcile.remotes.tree.move import move
from reconcile.remotes.tree.names import set_odd_apart
from reconcile.remotes.tree.others import is_torn, look_at_others
from reconcile.remotes.tree.parents import blocked, look_at_parents, trouble_above
from reconcile.remotes.tree.publish import make_link
from reconcile.remotes.tree.quirks import pack
from reconcile.remotes.tree.readback import SPANS, in_order, read_span, spans
from reconcile.remotes.tree.refusal import is_barred
from reconcile.remotes.tree.rescue import rescue
from reconcile.remotes.tree.run_folder import make_parts, parts_for
from reconcile.remotes.tree.site import NO_FSYNC, Site
from reconcile.remotes.tree.spread import Spread
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.store import TreeStore
from reconcile.remotes.tree.unproven import look_again, note_published
from reconcile.remotes.tree.upload import SPREAD_FROM, upload
from reconcile.remotes.tree.vanished import settle
from reconcile.remotes.tree.walk import observe, walk
from reconcile.remotes.tree.workdir import leave, make_workdir
from reconcile.source.files import Source

T = TypeVar("T")

_UPLOADS = (Op.CREATE, Op.MODIFY)


class TreeRemote:
    """See ``Remote``."""

    def __init__(self, driver: Driver, site: Site, reporter: Reporter, memory: Memory) -> None:
        self._driver = driver
        self._site = site
        self._reporter = reporter
        self._memory = memory
        self._known = site.quirks  # what the memory holds
        if site.options.refresh and site.quirks.lacking:
            site.ask_anew()
        self._unsynced = 0
        self._kept = Kept()
        self._spread = Spread(driver, site)

    @property
    def caps(self) -> Caps:
        """What the server can do, as far as it has shown by now."""
        return self._site.caps

    @property
    def stats(self) -> Stats:
        """What it took so far, SSH's own overhead left out."""
        return replace(self._driver.traffic, unsynced=self._unsynced)

    @property
    def _in_flight(self) -> int:
        """How many recipes at a time."""
        return max(1, min(self._driver.at_a_time, self._site.handles))

    @property
    def marks(self) -> tuple[str, ...]:
        """Names of our mark that are there."""
        return self._site.memory.marks

    @property
    def store(self) -> TreeStore:
        """What is kept there from run to run."""
        return TreeStore(self._driver, self._site)

    @property
    def base(self) -> str:
        """DEST, links resolved."""
        return os.fsdecode(self._site.layout.base)

    @property
    def workdir(self) -> str:
        """Our folder, in which each job has its own."""
        return os.fsdecode(self._site.layout.workdir)

    def begin(
        self,
        footing: Footing,
        run: str,
        plan: Plan = NOTHING,
        *,
        resume: bool = False,
        before: Iterable[Action] = (),
    ) -> None:
        """The first write: DEST, and our folder in it. See ``workdir``."""
        site, parts = self._site, parts_for(plan.actions)
        site.memory.twins = plan.twins
        self._kept = make_workdir(self._driver, site, footing, run, parts, resume=resume, before=before)
        for question in site.later:
            self._driver.aside(question)
        site.later.clear()
        self._spread.ask_for(plan.actions)

    def check(self, footing: Footing, *, resume: bool = False) -> None:
        """See ``Remote``."""
        self._driver.call(find_marks(self._site, footing))
        if resume:
            find_left(self._driver, self._site, footing.lineage)

    def is_torn(self) -> bool:
        """See ``Remote``."""
        return is_torn(self._driver, self._site)

    def rescue(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """See ``Remote``. Whether a dead run had them brought to the disk nobody knows."""
        for outcome in rescue(self._driver, self._site, actions):
            self._unsynced += 1
            yield outcome

    def perform(
        self, actions: Sequence[Action], source: Source, stop: Stop | None = None
    ) -> Iterator[Outcome]:
        """Carry out one level of actions."""
        driver, site = self._driver, self._site
        actions, unnamed = driver.call(set_odd_apart(site, actions))
        yield from unnamed
        actions, nested = set_nested_apart(actions)
        site.memory.uploads = sum(map(_sends_a_file, actions))
        if site.memory.uploads and site.quirks.renames is False:
            driver.call(is_barred(site))
        if site.memory.uploads and site.options.fsync is Fsync.ALWAYS and not site.caps.fsync:
            site.say_once(NO_FSYNC)
        looks = look_at_parents(site, actions)
        for _ in driver.run(chain([make_parts(site, actions)], looks), self._in_flight):
            pass  # what they find is noted in ``site``
        if site.memory.uploads:
            self._spread.prove()
        failed: list[Outcome] = []
        actions, twins = set_twins_apart(site, actions)
        left = yield from self._perform_together(actions, source, stop, failed)
        trees = [action for action in left if _lists_a_tree(site, action)]
        others = (action for action in left if not _lists_a_tree(site, action)) if trees else left
        yield from self._run(others, self._in_flight, source, stop, failed)
        yield from self._run(twins, 1, source, stop, failed)
        yield from self._make_nested(nested, source, stop, failed)
        widest = max(map(width, trees), default=1)
        yield from self._run(trees, max(1, self._in_flight // widest), source, stop, failed)
        yield from self._open_fewer(source, stop, failed)
        if site.memory.full is not None and not (stop is not None and stop.requested):
            unsent = [outcome.action for outcome in failed if _lacks_space(outcome)]
            if fitting := driver.call(what_fits(site, unsent)):
                again = set(map(id, fitting))
                failed[:] = [outcome for outcome in failed if id(outcome.action) not in again]
                site.memory.full = None
                yield from self._run(fitting, self._in_flight, source, stop, failed)
        yield from driver.run((settle(site, outcome) for outcome in failed), self._in_flight)
        if not site.trusted:
            doubtful, site.memory.unproven = site.memory.unproven, []
            for found in driver.run((look_again(site, action) for action in doubtful), self._in_flight):
                if found is not None:
                    yield found

    def _run(
        self,
        actions: Iterable[Action],
        in_flight: int,
        source: Source,
        stop: Stop | None,
        failed: list[Outcome],
    ) -> Iterator[Outcome]:
        """Carry out actions; those that fail are put aside."""
        recipes = (self._recipe(action, source) for action in actions)
        yield from self._done(self._driver.run(recipes, in_flight, stop), failed)

    def _open_fewer(self, source: Source, stop: Stop | None, failed: list[Outcome]) -> Iterator[Outcome]:
        """What could not be opened once more, fewer at a time: a server may grant less than it tells."""
        site, at_a_time = self._site, self._in_flight
        again, site.memory.unopened = site.memory.unopened, []
        while again and at_a_time > 1 and not site.tells_limits:
            if stop is not None and stop.requested:
                return
            at_a_time //= 2
            ids = set(map(id, again))
            failed[:] = [outcome for outcome in failed if id(outcome.action) not in ids]
            yield from self._run(again, at_a_time, source, stop, failed)
            if len(site.memory.unopened) == len(again):
                break  # not for want of handles
            again, site.memory.unopened = site.memory.unopened, []
            site.handles = at_a_time
            site.quirks = replace(site.quirks, handles=at_a_time)
        site.memory.unopened = []

    def _make_nested(
        self, nested: Sequence[Action], source: Source, stop: Stop | None, failed: list[Outcome]
    ) -> Iterator[Outcome]:
        """Make directories inside those that this level has made, or failed to make."""
        culprits = {outcome.action.path: outcome.action.path for outcome in failed}
        while nested and not (stop is not None and stop.requested):
            now, nested = next_to_make(self._site, nested)
            broken: list[Outcome] = []
            now, twins = set_twins_apart(self._site, now)
            yield from self._run(now, self._in_flight, source, stop, broken)
            yield from self._run(twins, 1, source, stop, broken)
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
                    failed.append(outcome)
                else:
                    yield Outcome(action, problem=not_tried(action, culprit))

    def _perform_together(
        self, actions: Sequence[Action], source: Source, stop: Stop | None, failed: list[Outcome]
    ) -> Generator[Outcome, None, list[Action]]:
        """Carry out small uploads many at a time, and the large ones beside them.

        What one of them waits for the other makes use of. Returns the actions that go their own way.
        """
        bundles, in_step, left = make_bundles(self._site, actions)
        if not bundles and not in_step:
            return left
        large = [action for action in left if action.bytes > self._site.block]
        left = [action for action in left if action.bytes <= self._site.block]
        most = min(IN_STEP, self._in_flight)
        bundler = Bundler(self._site, source, self._reporter.sent, most)
        self._spread.take(wait=False)
        recipes = take_turns(bundler.recipes(bundles, in_step), (self._alone(a, source) for a in large))
        for outcomes in self._driver.run(recipes, self._in_flight // most, stop):
            yield from self._done(outcomes, failed)
        return left + bundler.left

    def _alone(self, action: Action, source: Source) -> Recipe[list[Outcome]]:
        return [(yield from self._recipe(action, source))]

    def _done(self, outcomes: Iterable[Outcome], failed: list[Outcome]) -> Iterator[Outcome]:
        """Those that went well; the others are put aside."""
        for outcome in outcomes:
            if outcome.problem is not None:
                failed.append(outcome)
                continue
            action = outcome.action
            if _sends_a_file(action):
                self._unsynced += not self._site.syncs(action.bytes)
                note_published(self._site, action)
            yield outcome

    def _recipe(self, action: Action, source: Source) -> Recipe[Outcome]:
        site = self._site
        if (trouble := trouble_above(site, action)) is not None:
            return _blocked(site, action, trouble)
        recipe = self._recipe_for(action, source)
        return unless_taken(site, action, recipe) if action.path in site.memory.twins else recipe

    def _recipe_for(self, action: Action, source: Source) -> Recipe[Outcome]:
        site = self._site
        match action.op:
            case Op.CREATE | Op.MODIFY if action.kind is Kind.SYMLINK:
                return make_link(site, action, source)
            case Op.CREATE | Op.MODIFY:
                self._spread.take(wait=action.bytes >= SPREAD_FROM)
                return upload(site, action, source, self._reporter.sent)
            case Op.MKDIR:
                return make_directory(site, action)
            case Op.SETMETA:
                return set_meta(site, action)
            case Op.MOVE:
                return move(site, action)
            case Op.DELETE:
                return delete(site, action)

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        """What is at each path now; None: nothing, or nothing that we may see."""
        return self._driver.run((observe(self._site, path) for path in paths), self._in_flight)

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        """See ``Remote``."""
        return walk(self._driver, self._site, top, self._site.at_most(2 * TOGETHER), self._reporter.say)

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        """See ``Remote``."""
        recipes = (read_span(span, self._site.layout.at(span.path)) for span in spans(ranges))
        return in_order(self._driver.run(recipes, min(SPANS, self._in_flight)))

    def tag_of(self, wish: Entry, *, by_others: bool = False) -> Tag | None:
        """See ``Remote``."""
        return self._site.tag_of(wish, by_others=by_others)

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        """See ``Remote``."""
        return self._site.is_left(shown, entry)

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:
        """See ``Remote``."""
        return self._site.noted(shown, entry)

    def end(self, mark: str = "") -> Iterator[Problem]:
        """Purge the run's trash and remove its folder; the mark is renamed beside that."""
        look_at_others(self._driver, self._site, self._memory)
        yield from leave(self._driver, self._site, self._kept, mark)

    def close(self) -> None:
        """Hang up, and remember what was learned of the server."""
        if self._site.quirks != self._known:
            self._known = self._site.quirks
            self._memory.remember(pack(self._known, self._site.version))
        self._driver.close()


def take_turns(one: Iterable[T], other: Iterable[T]) -> Iterator[T]:
    """From each in turn, and then what is left of the longer."""
    pairs = zip_longest(one, other)
    return (item for pair in pairs for item in pair if item is not None)


def _sends_a_file(action: Action) -> bool:
    return action.op in _UPLOADS and action.new is not None and action.new.kind is Kind.FILE


def _lacks_space(outcome: Outcome) -> bool:
    trouble = outcome.problem
    return trouble is not None and trouble.reason is Reason.NO_SPACE and _sends_a_file(outcome.action)


def _lists_a_tree(site: Site, action: Action) -> bool:
    return (action.op is Op.DELETE and action.kind is Kind.DIR) or looks_inside(site, action)


def _blocked(site: Site, action: Action, trouble: Problem) -> Recipe[Outcome]:
    yield from ()
    return blocked(site, action, trouble)
