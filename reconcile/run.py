"""The pipeline: load, scan, diff, plan, apply, commit. Read it top to bottom."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

from reconcile import plan as planning
from reconcile.apply import adopt, apply, claim_done
from reconcile.diff import diff, fill, fingerprint, fold, infer, parent, unread
from reconcile.errors import Refused
from reconcile.filters import Filter, make_filter
from reconcile.model import (
    DirectorySnapshot,
    Entry,
    Job,
    Kind,
    Outcome,
    PlainDirectory,
    Plan,
    Problem,
    Reporter,
    Result,
    Scan,
    Traffic,
)
from reconcile.remotes import Remote, open_remote
from reconcile.scan import read_ignore_file, scan
from reconcile.source import Source, read_contents
from reconcile.state.store import read_snapshot, save_snapshot

Connect = Callable[[Job, Reporter], Remote]


def make_plan(job: Job, reporter: Reporter, connect: Connect = open_remote) -> Result:
    """What ``run`` would do now. Changes nothing, here or there.

    Raises the same errors as ``run``.
    """
    with _Pipeline(job, reporter, connect) as pipeline:
        plan = pipeline.plan()
        return pipeline.result("plan", plan, [])


def run(job: Job, reporter: Reporter, connect: Connect = open_remote) -> Result:
    """Bring the remote up to the source, and save what it then holds.

    Raises ``Refused`` before anything was done, ``Unreachable`` or
    ``ConnectionLost`` with all saved that was acknowledged by then.
    """
    with _Pipeline(job, reporter, connect) as pipeline:
        plan = pipeline.plan()
        outcomes = pipeline.apply(plan)
        return pipeline.result("run", plan, outcomes)


@dataclass(slots=True)
class _Pipeline:
    """One run's open things: the source, the connection once there is one, and the clock."""

    job: Job
    reporter: Reporter
    connect: Connect
    remote: Remote | None = None
    old: DirectorySnapshot = DirectorySnapshot({})
    found: Scan = field(default_factory=lambda: Scan({}, 0, 0))
    filter: Filter = field(default_factory=Filter)
    source: Source | None = None
    notes: list[Problem] = field(default_factory=list)
    cleanup: list[Problem] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def plan(self) -> Plan:
        """Load, scan, diff, plan, guard."""
        job, options = self.job, self.job.options
        with self._phase("scan"):
            saved = read_snapshot(job.state, job.source, job.target)
            self.filter = make_filter((*read_ignore_file(job.source), *options.filters))
            self.found = scan(job.source, self.filter, options)
            self.source = self.stack.enter_context(Source(job.source, options.links))
        self.old = saved if saved is not None else self._first_snapshot()
        with self._phase("diff"):
            changes = infer(diff(self.old, self.found, self.filter, options), options)
        with self._phase("hash"):
            contents, problems = read_contents(self.source, unread(changes))
        with self._phase("diff"):
            changes = infer(fill(changes, contents, {problem.path for problem in problems}), options)
            plan = planning.make_plan(self.old, self.found, changes, options, problems)
            planning.guard(plan, self.old, self.found, options)
        return plan

    def apply(self, plan: Plan) -> list[Outcome]:
        """Carry out the plan and save what is then true, however it ends."""
        outcomes: list[Outcome] = []
        try:
            if not plan.empty or not self.old.serial:
                self._apply(plan, outcomes)
        finally:
            with self._phase("commit"):
                self._commit(plan, outcomes)
        return outcomes

    def _apply(self, plan: Plan, outcomes: list[Outcome]) -> None:
        assert self.source is not None
        remote = self._open_remote()
        with self._phase("apply"):
            if not self.old.serial:  # who we are must be on disk before the first remote write
                self.old = replace(self.old, serial=1, unfinished=True)
                save_snapshot(self.job.state, self.old)
            remote.prepare(self.old.lineage, uuid.uuid4().hex[:12])
            todo = plan
            if self.old.unfinished and self.old.serial > 1:
                todo, claimed = claim_done(plan, remote)
                outcomes += claimed
            self.reporter.planned(plan)
            for outcome in apply(todo, remote, self.source):
                outcomes.append(outcome)
                self.reporter.outcome(outcome)
            self.cleanup += remote.finish()

    def _commit(self, plan: Plan, outcomes: Sequence[Outcome]) -> None:
        old, trusted_ns = self.old, self.found.started_ns - self.found.grace_ns
        new = fold(old, outcomes, plan.restamped, trusted_ns)
        settled = fingerprint(self.job.options, self.filter)
        unfinished = old.unfinished and len(outcomes) < sum(1 for _ in plan.actions)
        if new is old and old.serial and (old.settled, old.unfinished) == (settled, unfinished):
            return
        save_snapshot(
            self.job.state,
            replace(
                new,
                serial=old.serial + 1,
                taken_ns=self.found.started_ns,
                settled=settled,
                unfinished=unfinished,
            ),
        )

    def result(self, command: str, plan: Plan, outcomes: list[Outcome]) -> Result:
        """Everything a report needs."""
        return Result(
            command=command,
            source=self.job.source,
            target=str(self.job.target),
            plan=plan,
            outcomes=outcomes,
            problems=[*plan.problems, *(o.problem for o in outcomes if o.problem), *self.cleanup],
            notes=[*plan.notes, *self.notes, *(o.note for o in outcomes if o.note)],
            connected=self.remote is not None,
            traffic=self.remote.traffic if self.remote is not None else Traffic(),
            duration_s=time.monotonic() - self.began,
            phases=self.phases,
            entries=self.found.entry_count,
        )

    def _first_snapshot(self) -> DirectorySnapshot:
        """Of a job without one: nothing, or what is adopted of a remote that is already full."""
        options, target = self.job.options, self.job.target
        remote = self._open_remote()
        names: dict[str, dict[str, Entry]] = {"": {}}
        with self._phase("walk"):
            there = dict(remote.walk(""))
            if there and not options.adopt_existing:
                raise Refused(_full_remote(str(target), len(there)))
            wanted = self._read_links(there) if there else {}
            for path, entry in adopt(there, wanted).items():
                if entry.kind is Kind.DIR:
                    names.setdefault(path, {})
                names.setdefault(parent(path), {})[path.rpartition("/")[2]] = entry
        return DirectorySnapshot(
            {path: PlainDirectory(entries) for path, entries in names.items()},
            lineage=str(uuid.uuid4()),
            source=self.job.source,
            target=str(target),
        )

    def _read_links(self, there: Mapping[str, object]) -> dict[str, Entry]:
        assert self.source is not None
        wanted = dict(self.found.walk())
        links = [(path, e) for path, e in wanted.items() if e.kind is Kind.SYMLINK and path in there]
        return wanted | read_contents(self.source, links)[0]

    def _open_remote(self) -> Remote:
        if self.remote is None:
            with self._phase("connect"):
                self.remote = self.connect(self.job, self.reporter)
                self.stack.callback(self.remote.close)
        return self.remote

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self.reporter.phase(name)
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - began


def _full_remote(target: str, count: int) -> str:
    return (
        f"{target} already holds {count:,} entries, and no snapshot tells where they came from. "
        "Nothing was done. If this is where the folder belongs, run once with --adopt-existing: "
        "what is equal in size and time counts as sent, what differs is kept in the trash on the remote "
        "before it is replaced, and nothing else there is touched. "
        "Look at it first with 'reconcile plan --adopt-existing'."
    )
