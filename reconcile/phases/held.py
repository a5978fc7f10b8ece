"""What one run holds open, from its beginning to its end: no phase lives here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Self

from msgspec import Struct, field
from msgspec.structs import replace

from reconcile.apply.connection import Connect, Retrying
from reconcile.apply.paced import pace
from reconcile.core.caps import as_kept, note_lacks
from reconcile.core.errors import ReconcileError, Unreachable, UsageError, amend
from reconcile.core.filters import Filter
from reconcile.core.growing import note_grown
from reconcile.core.guard import count_kept
from reconcile.core.job import Job, Lock, Options, Reporter, Result, Stop
from reconcile.core.model import Caps, DirectorySnapshot, Entry, Plan, Problem, Scan, Tally
from reconcile.core.turns import NAMELESS
from reconcile.remotes import Opener, scheme_of
from reconcile.source.files import Source
from reconcile.source.own import refuse_shared, work_in_dest
from reconcile.state.memo import Memo
from reconcile.state.store import save_snapshot
from reconcile.state.undone import Undone
from reconcile.state.unfinished import discard_journal

if TYPE_CHECKING:  # for most runs nothing of it is needed
    from reconcile.apply.turn import RemoteLock
    from reconcile.phases.shared import Shared

_DONE = "What was done before that stays, and the next run knows of it."
_PUT_IN_ORDER = "Nothing was done but to put in order what the interrupted run had left."


class Held(Struct, eq=False):
    """What one run holds open: the source, the remote, and the clock."""

    job: Job
    reporter: Reporter
    remote: Retrying
    stop: Stop
    opener: Opener
    caps: Caps = Caps()  # of the remote, as far as they are known before it is open
    asked: Options = Options()  # ``job`` has those of them that make sense there
    filter: Filter = field(default_factory=Filter)
    found: Scan = field(default_factory=lambda: Scan({}, 0, 0))
    old: DirectorySnapshot = DirectorySnapshot({})
    tally: Tally = field(default_factory=Tally)
    cleanup: list[Problem] = field(default_factory=list)
    looked_again: bool = False
    waiting: frozenset[str] = frozenset()  # paths whose changes are for the next run, not what is in them
    marks: tuple[str, ...] = ()  # on the remote since this run has renamed it
    recovered: bool = False  # what an interrupted run had left
    called: str = ""  # what its folder at DEST is called, once that is made
    undone: Undone = Undone()  # what stays as ``undo`` has left it
    released: frozenset[str] = frozenset()  # paths of these that have changed here since
    undoes: bool = False  # it takes back what another has done
    staged: Mapping[str, Entry] | None = None  # what that one had staged, and not published; None: nothing
    footing: tuple[str, int] = ("", 0)  # lineage and serial of the snapshot as it was read
    phases: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    stack: ExitStack = field(default_factory=ExitStack)
    lock: RemoteLock | None = None  # None: others on other machines are not kept out
    shared: Shared | None = None  # the state that lies at DEST, if it does
    came: bool = False  # what is known was kept elsewhere until now: DEST has not been looked at by it
    keeps_others_out: bool = False  # also those who go by what is known elsewhere
    _source: Source | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stack.close()
        with suppress(ReconcileError):  # then it expires
            self.remote.end_turn(tell=not isinstance(error, Unreachable))
        self.remote.close()
        if isinstance(error, ReconcileError) and (self.tally.done or self.recovered):
            amend(error, _DONE if self.tally.done else _PUT_IN_ORDER)

    @property
    def source(self) -> Source:
        """The folder, open."""
        assert self._source is not None
        return self._source

    def connect(self) -> None:
        """Be connected from now on. Raises Refused where our folder there has a place in SRC, too."""
        with self.phase("connect"):
            self.remote.open()
        if self.job.options.remote_workdir is not None:  # by now it is known what ~ and links lead to
            refuse_shared(work_in_dest(self.remote.base, self.remote.workdir), self.source, self.filter)

    def take_turn(self, lineage: str) -> None:
        """Keep others out from now on, on whatever machine, if that is wanted. Comes before the first write
        there. Raises Locked, and Overtaken where what is known by now is of before."""
        if self.shared is None:
            self._lock(lineage)
        else:
            self.shared.secure(lineage)

    def _lock(self, lineage: str) -> Sequence[str]:
        """What was in the store as the turn began."""
        if self.lock is None:
            return ()
        if self.lock.number:
            self.remote.take_turn(self.lock, lineage)
        else:
            with self.phase("lock"):
                self.remote.take_turn(self.lock, lineage)
        return self.lock.names

    def keep(self, snapshot: DirectorySnapshot, *, is_news: bool = True) -> None:
        """Save what DEST holds. Unless it ``is_news``, DEST has it already, for who looks from elsewhere."""
        if self.shared is None:
            save_snapshot(self.job.state, snapshot)
        elif is_news:
            self.shared.publish(snapshot)
        else:
            self.shared.keep(snapshot)

    def settle(self) -> None:
        """All that was intended is known to have come to its end: the snapshot has it."""
        if self.shared is not None:
            self.shared.give_up()
        discard_journal(self.job.state)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tell that a phase begins, and measure how long it takes."""
        began = self._now
        self.reporter.phase(name)
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + self._now - began

    @property
    def _now(self) -> float:
        """Seconds on a clock that stands still while the user types."""
        return time.monotonic() - self.opener.waited

    @property
    def trusted_ns(self) -> int:
        """Stamps that are younger, in nanoseconds since the epoch, prove nothing the next time."""
        return self.found.started_ns - self.found.grace_ns

    def result(self, command: str, plan: Plan, problems: Sequence[Problem]) -> Result:
        """Everything a report needs. What the remote lacks is known, and told of a plan only."""
        lacks = note_lacks(plan, self.asked, self.caps) if command == "plan" else ()
        grown = {} if self._source is None else self._source.grown
        return Result(
            command=command,
            source=self.job.source,
            target=self.job.dest,
            plan=plan,
            ended=self.tally.ended,
            problems=problems,
            notes=[*plan.notes, *lacks, *self.tally.notes, *note_grown(self.tally.done, grown)],
            connected=self.remote.was_open,
            traffic=self.remote.stats,
            duration_s=self._now - self.began,
            phases=self.phases,
            entries=self.found.entry_count,
            unsynced=self.remote.stats.unsynced,
            footing=self.footing,
            saved=self.old.serial,
            undoes=self.undoes,
            kept=self._kept(plan if command == "plan" else Plan()),
        )

    def _kept(self, plan: Plan) -> int:
        """What is gone here and stays there, once ``plan`` is carried out. A mirror keeps nothing."""
        return 0 if self.job.options.mirror else count_kept(self.old) + plan.gone - plan.back


def hold(job: Job, reporter: Reporter, connect: Connect | None, stop: Stop, *, keeps: bool) -> Held:
    """All that a run of the job needs; nothing is open yet. ``keeps``: what it learns is remembered."""
    stack = ExitStack()
    if (job.shared or job.elsewhere) and not keeps:
        from reconcile.phases.shared import borrow_copy

        job = replace(job, state=stack.enter_context(borrow_copy(job.state)))
    scheme, memo = scheme_of(job.target), Memo(job.state, keeps=keeps)
    opener, caps, asked = scheme.make_opener(), scheme.recall_caps(job, memo), job.options
    if asked.trash is not None and not caps.trash:
        raise UsageError("--trash can't be had at a DEST of this kind: say --trash none. Nothing was done.")
    job = replace(job, options=as_kept(asked, caps))
    remote = Retrying(job, pace(reporter, asked.limit_rate, stop), connect or opener, stop, memo)
    held = Held(job, reporter, remote, stop, opener, caps, asked, stack=stack)
    if keeps and job.options.lock is Lock.REMOTE:
        from reconcile.apply.turn import RemoteLock

        held.lock = RemoteLock(job.name or NAMELESS, job.state, reporter, job.options.wait, stop)
    if job.shared:
        from reconcile.phases.shared import Shared

        held.shared = Shared(job, remote, reporter.say, held._lock)
    return held
