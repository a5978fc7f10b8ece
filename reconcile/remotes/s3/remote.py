"""A bucket, or a prefix in one, as a Remote. What it can't do is in its caps (see ``scheme``)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from reconcile.core.errors import Unreachable
from reconcile.core.job import Options, Reporter, Stop
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
from reconcile.remotes import NO_ENTRIES, NOTHING, Lease, Memory, Remains, plain
from reconcile.remotes.s3 import ability, folder, listing, reading, tags
from reconcile.remotes.s3.failure import Refusal
from reconcile.remotes.s3.headers import Headers
from reconcile.remotes.s3.keeping import Keeper
from reconcile.remotes.s3.keys import Keys
from reconcile.remotes.s3.leftover import Uploads
from reconcile.remotes.s3.level import Level
from reconcile.remotes.s3.multipart import Sent
from reconcile.remotes.s3.pool import Pool
from reconcile.remotes.s3.scheme import caps_for
from reconcile.remotes.s3.service import Service
from reconcile.remotes.s3.settings import Bucket, Settings
from reconcile.remotes.s3.site import Site
from reconcile.remotes.s3.store import S3Store
from reconcile.source.files import Source

if TYPE_CHECKING:
    from reconcile.remotes.s3.bin import S3Bin

NO_CONDITIONS = (
    "the server heeds no conditions on what is written: what somebody else writes to the same path at the "
    "very same time as we do may be lost"
)


class S3Remote(plain.Plain):
    """See ``Remote``."""

    def __init__(
        self,
        service: Service,
        bucket: Bucket,
        settings: Settings,
        options: Options,
        reporter: Reporter,
        memory: Memory,
    ) -> None:
        can = ability.unpack(recalled := memory.recall())
        self._tried_on = ability.software_of(recalled)
        self._is_tried = False  # over this connection
        self.caps: Caps = caps_for(settings, can)
        self._settings = settings
        self.marks: tuple[str, ...] = ()
        self._memory = memory
        self._prefix = bucket.prefix
        self._site = Site(
            service=service,
            keys=Keys(bucket.prefix, options.remote_workdir),
            headers=Headers(settings),
            options=options,
            pool=Pool(settings.channels),
            uploads=Uploads(memory),
            say=reporter.say,
            warn=reporter.warn,
            tell=reporter.sent,
            ability=can,
        )
        self._found = folder.Found()
        self._untold: list[folder.Left] = []
        self._run = ""
        self._staged: dict[int, Sent] = {}
        self._keeper: Keeper | None = None

    @property
    def stats(self) -> Stats:
        """What it took so far."""
        return self._site.service.stats

    @property
    def store(self) -> S3Store:
        """What is kept there from run to run."""
        return S3Store(self._site, self._try_out)

    def bin(self, lineage: str, *, kept: bool = False) -> S3Bin:
        """See ``Binning``."""
        from reconcile.remotes.s3.bin import S3Bin  # late: no run needs it

        return S3Bin(self._site, lineage, kept=kept)

    @property
    def base(self) -> str:
        """DEST, as a folder of the bucket."""
        return f"/{self._prefix}"

    @property
    def workdir(self) -> str:
        """Our folder, in which each job has its own."""
        return "/" + self._site.keys.work.rstrip("/")

    def begin(
        self,
        footing: Footing,
        run: str,
        plan: Plan = NOTHING,  # noqa: ARG002 - there is nothing to get ready
        *,
        resume: bool = False,
        before: Iterable[Action] = (),
    ) -> None:
        """See ``Remote``."""
        site = self._site
        self.marks = ()
        self._found = folder.find_former(site, footing, folder.find(site, footing))
        site.keys.enter(footing.lineage, run)
        if run != self._run:
            site.retired.clear()
            site.kept.clear()  # that is told of, or found with what a dead run has left
        self._run = run
        self.marks = self._found.marks
        folder.judge(site, footing, self._found)
        self._try_out()
        self.marks = folder.rename_mark(site, self.marks, footing.fresh or (*self.marks, *footing.marks)[0])
        try:
            self._untold = list(folder.clear_dead(site, self._found, run, before, resume=resume))
        except Refusal as refusal:
            raise self._refused("put what a dead run had moved aside", refusal) from None

    def check(self, footing: Footing, *, resume: bool = False) -> None:
        """See ``Remote``. What earlier runs had parked is looked for where the last of them had it."""
        found = folder.find(self._site, footing)
        found = folder.find_former(self._site, footing, found, moves=False)
        self.marks = found.marks
        folder.judge(self._site, footing, found)
        if resume and found.dead:
            self._site.keys.enter(footing.lineage, found.dead[-1])

    def is_torn(self) -> bool:
        """See ``Remote``."""
        return folder.is_torn(self._site)

    def stage(
        self,
        actions: Sequence[Action],
        source: Source,
        stop: Stop | None = None,
        known: Mapping[str, Entry] = NO_ENTRIES,  # noqa: ARG002 - the server tells the parts that it has
        leaving: Container[str] = (),  # noqa: ARG002 - what is there is looked at later
    ) -> Iterator[Brought | Outcome]:
        """See ``Remote``, and ``Level``."""
        return Level(self._site, source, stop, self._staged).stage(actions)

    def perform(
        self, actions: Sequence[Action], source: Source, stop: Stop | None = None
    ) -> Iterator[Outcome]:
        """See ``Remote``, and ``Level``."""
        return Level(self._site, source, stop, self._staged).perform(actions)

    def look(self, paths: Iterable[str]) -> Iterator[tuple[str, Seen | None]]:
        """See ``Remote``."""
        site = self._site
        return site.pool.run(partial(_look, site, path) for path in paths)

    def walk(self, top: str) -> Iterator[tuple[str, Seen]]:
        """See ``Remote``. Of directories only those that have a key of their own."""
        return listing.walk(self._site.service, self._site.keys, top, self._site.say)

    def read(self, ranges: Sequence[Range]) -> Iterator[tuple[str, bytes | None]]:
        """See ``Remote``."""
        return reading.read(self._site, ranges)

    def recognise(
        self, files: Sequence[tuple[str, Entry, Seen]], source: Source
    ) -> Iterator[tuple[str, bool]]:
        """See ``Remote``."""
        return reading.recognise(self._site, files, source)

    def is_wished(self, shown: Tag, wish: Entry, *, by_others: bool = False) -> bool:  # noqa: ARG002 - all alike
        """See ``Remote``."""
        return tags.is_wished(tags.unpack(shown), wish)

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        """See ``Remote``."""
        return tags.is_left(tags.unpack(shown), entry)

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:  # noqa: ARG002 - whatever it is
        """See ``Remote``."""
        return shown.partition(b"\n")[0]

    def end(self, mark: str = "") -> Iterator[Problem]:
        """See ``Remote``."""
        try:
            yield from folder.leave(self._site, self._found, self._run, self._untold)
        except Refusal as refusal:
            raise self._refused("write in our folder", refusal) from None
        if mark and self.marks:
            self.marks = folder.rename_mark(self._site, self.marks, mark)

    def find_remains(self, lineage: str) -> Sequence[Remains]:
        """See ``Forgetting``."""
        return folder.find_remains(self._site, lineage)

    def forget(self, lineage: str) -> Sequence[str]:
        """See ``Forgetting``."""
        return folder.forget(self._site, lineage)

    def vacate(self) -> None:
        """See ``Forgetting``. A folder in which nothing is is none."""

    def mind(self, lease: Lease) -> None:
        """See ``Remote``."""
        self._site.service.check = lease.check
        self._keeper = Keeper(lease, self.store)

    def close(self) -> None:
        """Let go of the threads, and remember what was learned of the server."""
        if self._keeper is not None:
            self._keeper.close()
        self._site.service.close()
        self._site.pool.close()
        if self._is_tried and not self._site.service.software <= self._tried_on:
            self._remember()  # by what other names it goes

    def _remember(self) -> None:
        self._tried_on = frozenset(self._site.service.software)
        self._memory.remember(ability.pack(self._site.ability, self._tried_on))

    def _refused(self, doing: str, refusal: Refusal) -> Unreachable:
        return Unreachable(f"{self._site.service.where} does not let us {doing}: {refusal}.")

    def _try_out(self) -> None:
        """Find out what the server can do, once for all runs, and again where it is another one now."""
        site = self._site
        if site.ability.known and (self._is_tried or site.service.software <= self._tried_on):
            return
        try:
            place = site.keys.run if self._run else site.keys.work  # what dies in a run's folder is cleared
            site.ability = ability.try_out(site.service, place, site.headers.of_ours)
        except Refusal as refusal:
            raise Unreachable(
                f"{site.service.where} can't be written to: {refusal}. Nothing was done. The policy of these "
                "credentials needs s3:GetObject, s3:PutObject and s3:DeleteObject on what is in DEST."
            ) from None
        self._is_tried = True
        self._remember()
        self.caps = caps_for(self._settings, site.ability)
        if site.ability.races:
            site.say(NO_CONDITIONS)


def _look(site: Site, path: str) -> tuple[str, Seen | None]:
    return path, listing.look(site.service, site.keys, path)
