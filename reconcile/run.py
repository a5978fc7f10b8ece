"""The pipeline: load, scan, diff, plan, apply, commit. Read it top to bottom."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

from reconcile import plan as planning
from reconcile.apply import apply
from reconcile.diff import diff, fill, fingerprint, infer, unread, within
from reconcile.doubt import leave_alone, lost_mounts, moved_meanwhile, still_mounts
from reconcile.errors import ReconcileError, Refused, Stale, Unreachable, amend
from reconcile.filters import Filter, make_filter
from reconcile.fold import Fold, fold
from reconcile.growing import Growing, note_grown
from reconcile.guard import count_kept, count_rehashed, guard, tell_gone
from reconcile.idle import idle_patterns
from reconcile.ignorefile import read_ignore_file
from reconcile.line import Connect, Line
from reconcile.marks import BEFORE, name_mark, serial_of
from reconcile.model import (
    Change,
    DirectorySnapshot,
    Footing,
    Job,
    OnStale,
    Op,
    Options,
    Plan,
    Problem,
    Reason,
    Reporter,
    Result,
    Scan,
    Since,
    Stage,
    Stop,
    Tally,
)
from reconcile.own import (
    line_for,
    note_own,
    refuse_shared,
    tell_keys,
    tell_secrets,
    tell_sent_before,
    work_in_dest,
)
from reconcile.recover import foresee, recover
from reconcile.remotes import Opener, recall_caps
from reconcile.rows import pack_directory
from reconcile.scan import scan
from reconcile.source import Source, read_contents
from reconcile.sparse import tell_sparse
from reconcile.state.device import is_other_device, remember_device
from reconcile.state.growing import known_growing, note_growing
from reconcile.state.journal import Journal, Leftover, begin_journal, discard_journal, read_journal
from reconcile.state.lock import find_run, hold_lock
from reconcile.state.memo import Memo
from reconcile.state.mounts import recall_mounts, remember_mounts
from reconcile.state.overdue import note_overdue, read_overdue
from reconcile.state.place import find_others, recall_workdir, remember_workdir, take_over_state
from reconcile.state.private import check_folder
from reconcile.state.store import has_snapshot, read_snapshot, save_snapshot
from reconcile.state.trouble import awaits_cleanup, describe_failing, recall_failing, update
from reconcile.survey import blank, check_blank, drifted, take_over
from reconcile.way import open_root

_DONE = "What was done before that stays, and the next run knows of it."
_PUT_IN_ORDER = "Nothing was done but to put in order what the interrupted run had left."


def make_plan(
    job: Job, reporter: Reporter, connect: Connect | None = None, stop: Stop | None = None
) -> Result:
    """What ``run`` would do now. Changes nothing, here or there, and takes no lock.

    Raises the same errors as ``run``.
    """
    stop = stop or Stop()
    opener = Opener()
    job = replace(job, state=job.former or job.state)
    memo = Memo(job.state, keeps=False)
    job = _as_kept(job, memo)
    line = Line(job, reporter, connect or opener, stop, memo)
    with closing(line), _Run(job, reporter, line, stop, opener) as this:
        this.look()
        this.old = this.load(repair=False)
        this.mind_mounts(repair=False)
        plan = this.plan(this.old)
        this.tell_contents(plan)
        failing = this.foresee_failing(plan)
        return replace(this.result("plan", plan, plan.problems), failing=failing)


def run(job: Job, reporter: Reporter, connect: Connect | None = None, stop: Stop | None = None) -> Result:
    """Bring the remote up to the source, and save what it then holds.

    Where the remote turns out to be of another age than the snapshot, the plan is made anew
    from what the remote shows. Raises ``Locked`` or ``Refused`` before anything was done, ``Unreachable`` or
    ``ConnectionLost`` with all known that was acknowledged by then, ``Interrupted``
    if ``stop`` asks for it.
    """
    stop = stop or Stop()
    opener = Opener()
    os.close(open_root(job.source))  # a slip of the pen shall leave no folder behind
    job = take_over_state(job)
    memo = Memo(job.state, keeps=True)
    job = _as_kept(job, memo)
    line = Line(job, reporter, connect or opener, stop, memo)
    with (
        closing(line),
        hold_lock(job.state, job.options.wait),
        _Run(job, reporter, line, stop, opener) as this,
    ):
        this.look(sure_to_connect=not has_snapshot(job.state) or _asks_the_remote(job.options))
        this.old = this.load(repair=True)
        this.mind_mounts(repair=True)
        first = this.old
        plan = last = this.plan(first)
        this.tell_contents(plan)
        try:
            this.carry_out(plan)
        except Stale as stale:
            this.old = first = this.catch_up(this.old, stale, repair=True)
            plan = last = this.plan(first)
            this.carry_out(plan)
        if (this.tally.surprised or this.tally.immovable) and (again := this.plan_again(first)) is not None:
            last = again
            this.carry_out(last)
        problems = [*last.problems, *this.tally.problems, *this.cleanup]
        remember_device(job.state, job.source)
        note_overdue(job.state, this.tally.undeleted)
        note_growing(job.state, problems, this.source.grown)
        failing = update(job.state, problems, reporter.say)
        return replace(this.result("run", plan, problems), failing=failing)


def _as_kept(job: Job, memo: Memo) -> Job:
    """The job without the modes or times that its remote is known not to keep: nobody asks for them again."""
    caps, options = recall_caps(memo), job.options
    perms, times = options.keep_perms and caps.modes, options.keep_times and caps.times
    return replace(job, options=replace(options, keep_perms=perms, keep_times=times))


def _asks_the_remote(options: Options) -> bool:
    """Whether it takes a connection before there is a plan."""
    return options.refresh or options.check_mark or options.start_over


def _is_sure(change: Change, options: Options) -> bool:
    """Whether it takes a connection whatever reading the files will show."""
    old, new = change.old, change.new
    if old is None or new is None:
        return old is None or options.mirror
    return (old.kind, old.size) != (new.kind, new.size)


def _footing(job: Job, old: DirectorySnapshot, leftover: Leftover | None = None) -> Footing:
    """What the snapshot, and the journal of a run that broke off, say of our folder on the remote."""
    marks = old.marks or (BEFORE,)
    workdir = recall_workdir(job.state)
    if leftover is None:
        return Footing(old.lineage, marks, "", old.serial > 1, job.state, workdir)
    names = leftover.marks
    if leftover.began is not None:  # the names before are gone
        marks = leftover.began
    known = old.serial > 1 or bool(leftover.outcomes)
    return Footing(old.lineage, (*marks, *names), names[-1] if names else "", known, job.state, workdir)


@dataclass(slots=True)
class _Run:
    """What one run holds open: the source, the line to the remote, and the clock."""

    job: Job
    reporter: Reporter
    line: Line
    stop: Stop
    opener: Opener
    filter: Filter = field(default_factory=Filter)
    found: Scan = field(default_factory=lambda: Scan({}, 0, 0))
    old: DirectorySnapshot = DirectorySnapshot({})
    tally: Tally = field(default_factory=Tally)
    cleanup: list[Problem] = field(default_factory=list)
    looked_again: bool = False
    marks: tuple[str, ...] = ()  # on the remote since this run has renamed it
    recovered: bool = False  # what an interrupted run had left
    phases: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    stack: ExitStack = field(default_factory=ExitStack)
    _source: Source | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stack.close()
        if isinstance(error, ReconcileError) and (self.tally.done or self.recovered):
            amend(error, _DONE if self.tally.done else _PUT_IN_ORDER)

    @property
    def source(self) -> Source:
        """The folder, open."""
        assert self._source is not None
        return self._source

    def look(self, *, sure_to_connect: bool = False) -> None:
        """Scan the folder, and connect meanwhile if that is sure to be needed."""
        job, options = self.job, self.job.options
        with self._phase("scan"):
            root = os.path.realpath(job.source)  # once: it may be a link, and turn
            lines = (*read_ignore_file(root), *options.filters)
            own, work = options.own, work_in_dest(job.target.path, options.remote_workdir)
            self.filter = make_filter((*lines, *map(line_for, (*own, *work))))
            meanwhile = self.line.open_soon if sure_to_connect else None
            self.found = scan(root, self.filter, options, meanwhile)
            may_grow = Growing(options.growing, known_growing(job.state))
            source = self._source = self.stack.enter_context(Source(root, options.links, may_grow))
            chosen = make_filter(lines)
            refuse_shared(work, source, chosen)
            self.found = replace(self.found, notes=(*self.found.notes, *note_own((*own, *work), source)))
        for idle in idle_patterns(chosen, (job.source, root), lambda name: source.look(name) is not None):
            self.reporter.say(idle)

    def load(self, *, repair: bool) -> DirectorySnapshot:
        """What the remote holds: from the snapshot, and from the journal of a run that broke off.

        Without ``repair`` nothing is changed, neither here nor there.
        """
        with self._phase("load"):
            check_folder(self.job.state)
            old = leftover = None
            at_work = None if repair else find_run(self.job.state)
            if at_work is not None:
                self.reporter.say(f"a run of this job is at work{at_work}; this plan is from before it")
            if not self.job.options.start_over:
                old = read_snapshot(self.job.state, self.job.source, self.job.target, self.job.formerly)
            if old is not None and old.source != self.job.source:
                old = replace(old, source=self.job.source)
                if repair:  # the link by which it was found may turn
                    save_snapshot(self.job.state, old)
            if old is not None and at_work is None:
                leftover = read_journal(self.job.state)
        if old is None and not self.job.options.adopt_existing:
            return blank(self.job)  # see ``plan``
        if old is None:
            self._connect()
            with self._phase("survey"):
                return self.line.insist(
                    lambda remote: take_over(self.job, self.found, self.source, remote, self.reporter.say)
                )
        if leftover is not None and (leftover.lineage, leftover.serial) != (old.lineage, old.serial):
            leftover = None  # a snapshot of later has all that is in it
        try:
            if leftover is not None:
                old = self._recover(old, leftover, repair=repair)
            elif _asks_the_remote(self.job.options):
                self._look_at_mark(_footing(self.job, old))
        except Stale as stale:
            if leftover is not None:  # what it left open is seen in the listing
                old = fold(old, leftover.outcomes, {}, leftover.trusted_ns)
            return self.catch_up(old, stale, repair=repair)
        if self.job.options.refresh:
            old = self._refresh(old, repair=repair)
        return old

    def mind_mounts(self, *, repair: bool) -> None:
        """Leave alone what lost its mount, unless it was said that it may go."""
        before = recall_mounts(self.job.state)
        if not self.job.options.allow_mass_delete:
            self.found = leave_alone(self.found, lost_mounts(self.old, self.found, before, self.filter))
        if repair:
            remember_mounts(self.job.state, still_mounts(self.found, before))

    def tell_contents(self, plan: Plan) -> None:
        """What is not to be overlooked in what is to be sent: afterwards is too late."""
        for sparse in tell_sparse(plan, self.source):
            self.reporter.say(sparse)
        for told in (*tell_sent_before(self.job.options.own, self.old), *tell_secrets(plan)):
            self.reporter.warn(told)

    def catch_up(self, old: DirectorySnapshot, stale: Stale, *, repair: bool) -> DirectorySnapshot:
        """What of the snapshot is true of a remote that others have changed, or rolled back.

        Raises ``stale`` if that is not wanted.
        """
        if self.job.options.on_stale is OnStale.REFUSE:
            raise stale
        self.reporter.warn(f"{stale.why}; DEST is listed, and what is not as it was left comes again")
        new = self._refresh(old, stale.marks, repair=repair)
        if repair:
            discard_journal(self.job.state)
        return new

    def _look_at_mark(self, footing: Footing) -> None:
        """Raises Stale where it is not ours, Refused where it is gone."""
        self._connect()
        with self._phase("survey"):
            self.line.insist(lambda remote: remote.find_marks(footing))

    def _refresh(
        self, old: DirectorySnapshot, marks: tuple[str, ...] = (), *, repair: bool
    ) -> DirectorySnapshot:
        """Drop what the remote does not show as we left it. ``marks``: those that are ours from now on."""
        self._connect()
        with self._phase("survey"):
            options = self.job.options
            perms, links = options.keep_perms, options.keep_remote_links
            seen = self.line.insist(lambda remote: drifted(old, remote, keep_perms=perms, keep_links=links))
        if not seen and not marks:
            return old
        serial = max(old.serial, *map(serial_of, marks or old.marks or (BEFORE,))) + 1
        new = fold(old, [], seen, self._trusted_ns)
        new = replace(new, serial=serial, settled="", marks=marks or old.marks)
        if repair:  # known for good, whatever becomes of this run
            save_snapshot(self.job.state, new)
        return new

    def _recover(self, old: DirectorySnapshot, leftover: Leftover, *, repair: bool) -> DirectorySnapshot:
        count = len(leftover.open)
        self.reporter.say(f"the run before was interrupted; looking at {count:,} paths it left open")
        footing = _footing(self.job, old, leftover)
        if not repair:
            self._look_at_mark(footing)
        self._connect()
        with self._phase("recover"):
            if not repair:
                return self.line.insist(lambda remote: foresee(old, leftover, remote, self.source))
            self.line.prepare(footing, resume=True, before=leftover.actions)
            marks = self.line.marks if footing.fresh in self.line.marks else footing.marks
            new = self.line.insist(lambda remote: recover(old, leftover, remote, self.source))
            new = replace(new, serial=old.serial + 1, settled="", marks=marks)
            save_snapshot(self.job.state, new)
            discard_journal(self.job.state)
            self.recovered = True
            return new

    def plan_again(self, first: DirectorySnapshot) -> Plan | None:
        """Once more, with what is known by now: what failed may go well. None: the guard is against it."""
        done = sum(action.entries for action in self.tally.done if action.op is Op.DELETE)
        done -= count_rehashed(self.tally.done)
        try:
            plan = self.plan(first, done)
        except Refused as refused:
            self.tally.problems.append(Problem("", Stage.PLAN, Reason.FAILED, str(refused)))
            return None
        self.tally.problems.clear()
        self.tally.undeleted.clear()
        return plan

    def plan(self, first: DirectorySnapshot, spent: int | None = None) -> Plan:
        """Diff the snapshot with the scan, plan, guard.

        ``first`` is what the run began with, ``spent`` how many entries it has deleted since.
        """
        options = self.job.options
        changes = self._changes()
        if any(_is_sure(change, options) for change in changes):
            self.line.open_soon()
        with self._phase("hash"):
            contents, problems = read_contents(self.source, unread(changes))
        with self._phase("diff"):
            changes = infer(fill(changes, contents, {problem.path for problem in problems}), options)
            moves, careful = not self.tally.immovable, not self.filter.empty
            plan = planning.make_plan(
                self.old, self.found, changes, options, problems, moves=moves, careful=careful
            )
            other_device = is_other_device(self.job.state, self.job.source)
            overdue = read_overdue(self.job.state)
            try:
                guard(
                    plan, first, self.found, options, other_device=other_device, overdue=overdue, spent=spent
                )
            except Refused:
                if spent is None:
                    self.reporter.refused(plan)
                raise
        if (gone := tell_gone(plan, self.old, self.found)) is not None:
            self.reporter.warn(gone)
        if not self.old.serial and not options.adopt_existing:
            self._connect()  # which was under way beside all this
            with self._phase("survey"):
                others = [
                    place.source for place in find_others(os.path.dirname(self.job.state), self.job.target)
                ]
                self.line.insist(lambda remote: check_blank(self.job, remote, others))
        for directory in self.found.dirs.values():
            directory.forget()
        return plan

    def _changes(self) -> list[Change]:
        """What differs, but for what can't be told; the first time that is looked at again."""
        options = self.job.options
        with self._phase("diff"):
            changes = infer(diff(self.old, self.found, self.filter, options), options)
            if not self.looked_again:
                self.looked_again = True
                doubts = moved_meanwhile(changes, self.found, self.filter, self.source)
                self.found = leave_alone(self.found, doubts)
                changes = [change for change in changes if not within(change.path, self.found.unknown)]
        return changes

    def foresee_failing(self, plan: Plan) -> dict[str, Since]:
        """What failed in the last run: said, if it is to be done again, and counted for what fails now."""
        failing = recall_failing(self.job.state)
        planned = {action.path for action in plan.actions}
        again = {path: since for (path, _), since in failing.items() if path in planned}
        if again:
            self.reporter.say(describe_failing(again))
        return {path: since for (path, _), since in failing.items()}

    def carry_out(self, plan: Plan) -> None:
        """Apply the plan and save what is then true. If it breaks off, the journal stays."""
        truth = Fold(self.old, plan.restamped, self._trusted_ns, pack_directory)
        self.stop.graceful = True
        try:
            if not plan.empty or not self.old.serial or awaits_cleanup(self.job.state):
                with closing(self._begin(plan)) as journal:
                    self._apply(plan, journal, truth)
            elif self.recovered:  # which was all there was to do
                self.cleanup = self.line.insist(lambda remote: list(remote.finish()))
            if self.stop.requested and any(action.op is Op.PARK for action in plan.actions):
                self.stop.check()  # something may still be parked: the journal knows
            with self._phase("commit"):
                self._commit(truth)
                discard_journal(self.job.state)
            self.stop.check()
        finally:
            self.stop.graceful = False
            for told in tell_keys(self.tally.done, self.source.keys):
                self.reporter.warn(told)
            self.source.keys.clear()

    def _begin(self, plan: Plan) -> Journal:
        """Who we are and what we intend: on disk before the first remote write."""
        self._connect()  # nothing is written, here or there, if it can't be reached
        with self._phase("commit"):
            if not self.old.serial:
                self.old = replace(self.old, serial=1)
                save_snapshot(self.job.state, self.old)
            old = self.old
            marks = [name_mark(old.serial + 1, uuid.uuid4().hex[:12]) for _ in ("it begins", "it ends")]
            return begin_journal(
                self.job.state, old.lineage, old.serial, self._trusted_ns, plan.levels, marks
            )

    def _apply(self, plan: Plan, journal: Journal, truth: Fold) -> None:
        begins, ends = journal.marks
        with self._phase("apply"):
            self.reporter.planned(plan)
            footing = _footing(self.job, self.old)
            footing = replace(footing, marks=(*footing.marks, begins, ends), fresh=begins)
            try:
                self.line.prepare(footing, plan)
            except (Refused, Unreachable):
                if not self.line.in_doubt and not {begins, ends}.intersection(self.line.marks):
                    journal.discard()  # nothing was interrupted: it did not begin
                raise
            remember_workdir(self.job.state, self.line.workdir)
            journal.begin(self.line.marks)
            for outcome in apply(plan, self.line, self.source, self.stop):
                journal.record(outcome)
                truth.follow(outcome)
                self.tally.add(outcome)
                self.reporter.outcome(outcome)
            # Over another connection, preparing clears what the last one left, too.
            self.cleanup = self.line.insist(lambda remote: list(remote.finish(ends)))
            self.marks = self.line.marks if {begins, ends}.intersection(self.line.marks) else self.old.marks

    def _connect(self) -> None:
        with self._phase("connect"):
            remote = self.line.remote
        if self.job.options.remote_workdir is not None:  # by now it is known what ~ and links lead to
            refuse_shared(work_in_dest(remote.base, remote.workdir), self.source, self.filter)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
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

    def _commit(self, truth: Fold) -> None:
        new = truth.onto(self.old)
        if self.marks not in ((), new.marks):
            new = replace(new, marks=self.marks)
        settled = fingerprint(self.job.options, self.filter)
        if new is self.old and new.serial and new.settled == settled:
            return
        self.old = replace(new, serial=self.old.serial + 1, taken_ns=self.found.started_ns, settled=settled)
        save_snapshot(self.job.state, self.old)

    @property
    def _trusted_ns(self) -> int:
        return self.found.started_ns - self.found.grace_ns

    def result(self, command: str, plan: Plan, problems: Sequence[Problem]) -> Result:
        """Everything a report needs."""
        return Result(
            command=command,
            source=self.job.source,
            target=str(self.job.target),
            plan=plan,
            ended=self.tally.ended,
            problems=problems,
            notes=[*plan.notes, *self.tally.notes, *note_grown(self.tally.done, self.source.grown)],
            connected=self.line.was_open,
            traffic=self.line.traffic,
            duration_s=self._now - self.began,
            phases=self.phases,
            entries=self.found.entry_count,
            unsynced=self.line.unsynced,
            kept=self._kept(plan if command == "plan" else Plan()),
        )

    def _kept(self, plan: Plan) -> int:
        """What is gone here and stays there, once ``plan`` is carried out. A mirror keeps nothing."""
        return 0 if self.job.options.mirror else count_kept(self.old) + plan.gone - plan.back
