"""A tree of files as a Remote, whoever carries its verbs out: hands each action to its recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconcile.core.job import Reporter, Stop
from reconcile.core.model import (
    Action,
    Brought,
    Caps,
    Entry,
    Footing,
    Outcome,
    Plan,
    Problem,
    Range,
    Seen,
    Stats,
    Tag,
)
from reconcile.remotes import NO_ENTRIES, NOTHING, Lease, Memory, Remains
from reconcile.remotes.tree.driver import Driver
from reconcile.remotes.tree.kept import Kept
from reconcile.remotes.tree.leftovers import fence_off, find_left
from reconcile.remotes.tree.level import Level, at_a_time
from reconcile.remotes.tree.listing import TOGETHER
from reconcile.remotes.tree.mark import find_marks
from reconcile.remotes.tree.others import is_torn, look_at_others
from reconcile.remotes.tree.quirks import pack
from reconcile.remotes.tree.readback import SPANS, in_order, read_span, spans
from reconcile.remotes.tree.rescue import rescue
from reconcile.remotes.tree.run_folder import parts_for
from reconcile.remotes.tree.shelf import TreeShelf
from reconcile.remotes.tree.site import Site
from reconcile.remotes.tree.spread import Spread
from reconcile.remotes.tree.staging import Staging, ask_for_room
from reconcile.remotes.tree.store import TreeStore
from reconcile.remotes.tree.upload import Staged
from reconcile.remotes.tree.walk import observe, walk
from reconcile.remotes.tree.workdir import leave, make_workdir
from reconcile.source.files import Source

if TYPE_CHECKING:
    from reconcile.core.checkup import Fact
    from reconcile.remotes.tree.bin import TreeBin


class TreeRemote:
    """See ``Remote``."""

    def __init__(
        self,
        driver: Driver,
        site: Site,
        reporter: Reporter,
        memory: Memory,
        about: Callable[[], Iterable[Fact]] = tuple,
    ) -> None:
        self._driver = driver
        self._site = site
        self._reporter = reporter
        self._memory = memory
        self._known = site.quirks  # what the memory holds
        if site.options.refresh and site.quirks.lacking:
            site.ask_anew()
        self._kept = Kept()
        self._spread = Spread(driver, site)
        self._about = about
        self._staged: dict[int, Staged] = {}  # over this connection, by the id of its action

    @property
    def caps(self) -> Caps:
        """What the server can do, as far as it has shown by now."""
        return self._site.quirks.within(self._site.caps)

    @property
    def stats(self) -> Stats:
        """What it took so far, SSH's own overhead left out."""
        return replace(self._driver.traffic, unsynced=self._site.memory.unsynced)

    @property
    def _at_a_time(self) -> int:
        return at_a_time(self._driver, self._site)

    @property
    def marks(self) -> tuple[str, ...]:
        """Names of our mark that are there."""
        return self._site.memory.marks

    @property
    def store(self) -> TreeStore:
        """What is kept there from run to run."""
        return TreeStore(self._driver, self._site)

    @property
    def shelf(self) -> TreeShelf:
        """See ``Shelving``."""
        return TreeShelf(self._driver, self._site)

    def bin(self, lineage: str, *, kept: bool = False) -> TreeBin:
        """See ``Binning``."""
        from reconcile.remotes.tree.bin import TreeBin  # late: no run needs it

        return TreeBin(self._driver, self._site, lineage, kept=kept)

    def find_remains(self, lineage: str) -> Sequence[Remains]:
        """See ``Forgetting``."""
        from reconcile.remotes.tree.forgetting import find_remains  # late: no run needs it

        return find_remains(self._driver, self._site, lineage)

    def forget(self, lineage: str) -> Sequence[str]:
        """See ``Forgetting``."""
        from reconcile.remotes.tree.forgetting import forget

        return [*map(os.fsdecode, forget(self._driver, self._site, lineage))]

    def vacate(self) -> None:
        """See ``Forgetting``."""
        from reconcile.remotes.tree.forgetting import vacate

        vacate(self._driver, self._site)

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
        site = self._site
        retires = site.options.trash is not None and site.options.trash.replaced
        parts = parts_for(plan.actions, retires=retires)
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
            self._site.memory.unsynced += 1
            yield outcome

    def room(self) -> int | None:
        """See ``Remote``."""
        return self._driver.call(ask_for_room(self._site))

    def stage(
        self,
        actions: Sequence[Action],
        source: Source,
        stop: Stop | None = None,
        known: Mapping[str, Entry] = NO_ENTRIES,
        leaving: Container[str] = (),
    ) -> Iterator[Brought | Outcome]:
        """See ``Remote``, and ``Staging``."""
        sent = self._reporter.sent
        staging = Staging(self._driver, self._site, self._spread, source, sent, stop, self._staged)
        return staging.stage(actions, known, leaving)

    def perform(
        self, actions: Sequence[Action], source: Source, stop: Stop | None = None
    ) -> Iterator[Outcome]:
        """See ``Remote``, and ``Level``."""
        sent = self._reporter.sent
        level = Level(self._driver, self._site, self._spread, source, sent, stop, self._staged)
        return level.perform(actions)

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        """What is at each path now; None: nothing, or nothing that we may see."""
        return self._driver.run((observe(self._site, path) for path in paths), self._at_a_time)

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        """See ``Remote``."""
        return walk(self._driver, self._site, top, self._site.at_most(2 * TOGETHER), self._reporter.say)

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        """See ``Remote``."""
        at, piece = self._site.layout.at, self._site.piece
        recipes = (read_span(span, at(span.path), piece) for span in spans(ranges, piece))
        return in_order(self._driver.run(recipes, min(SPANS, self._at_a_time)))

    def recognise(
        self,
        files: Sequence[tuple[str, Entry, Seen]],  # noqa: ARG002 - a tree tells nothing but by its content
        source: Source,  # noqa: ARG002 - the same
    ) -> Iterator[tuple[str, bool]]:
        """See ``Remote``."""
        return iter(())

    def is_wished(self, shown: Tag, wish: Entry, *, by_others: bool = False) -> bool:
        """See ``Remote``."""
        return self._site.is_wished(shown, wish, by_others=by_others)

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

    def mind(self, lease: Lease) -> None:
        """See ``Remote``."""
        store = self.store
        self._driver.mind(lease.check, lambda: store.beat(lease) if lease.is_due() else None)

    def fence(self, lineage: str) -> None:
        """See ``Remote``."""
        fence_off(self._driver, self._site, lineage)

    def examine(self, run: str, stop: Stop) -> Iterator[Fact]:
        """See ``Examinable``."""
        from reconcile.remotes.tree.examine import examine  # late: no run needs it
        from reconcile.remotes.tree.findings import findings

        seen = examine(self._driver, self._site, run, stop)
        yield from self._about()
        yield from findings(self._site, seen)

    def close(self) -> None:
        """Hang up, and remember what was learned of the server."""
        if self._site.quirks != self._known:
            self._known = self._site.quirks
            self._memory.remember(pack(self._known, self._site.version))
        self._driver.close()
