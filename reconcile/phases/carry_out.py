"""The plan is applied, and what is then true is saved."""

from __future__ import annotations

import uuid
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconcile.apply.levels import apply
from reconcile.core.errors import Refused, Unreachable
from reconcile.core.fold import Fold
from reconcile.core.job import Stop
from reconcile.core.marks import name_mark
from reconcile.core.model import Outcome, Plan, Publish
from reconcile.core.settings import fingerprint
from reconcile.phases.held import Held
from reconcile.phases.recall import footing_of
from reconcile.source.own import tell_keys
from reconcile.state.names import name_run
from reconcile.state.place import remember_workdir
from reconcile.state.rows import pack_directory
from reconcile.state.trouble import awaits_cleanup

if TYPE_CHECKING:
    from reconcile.state.journal import Journal


def carry_out(run: Held, plan: Plan) -> None:
    """Apply the plan and save what is then true. If it breaks off, the journal stays."""
    truth = Fold(run.old, plan.restamped, run.trusted_ns, pack_directory)
    run.stop.graceful = True
    try:
        begins = not plan.empty or not run.old.serial or awaits_cleanup(run.job.state)
        begins = begins or not _is_told(run)
        if begins:
            with closing(_begin(run, plan)) as journal:
                if not _apply(run, plan, journal, truth):
                    return  # the journal says what is there, out of sight
        elif run.recovered:  # which was all there was to do
            run.cleanup = list(run.remote.end())
        if run.stop.requested and any(action.parks for action in plan.actions):
            run.stop.check()  # something may still be parked: the journal knows
        with run.phase("commit"):
            _commit(run, plan, truth, is_news=begins)
            run.settle()
            if run.job.options.adopt_existing:
                from reconcile.state.readback import forget  # late: once in the life of a job

                forget(run.job.state)
        run.stop.check()
    finally:
        run.stop.graceful = False
        for told in tell_keys(run.tally.done, run.source.keys):
            run.reporter.warn(told)
        run.source.keys.clear()


def _is_told(run: Held) -> bool:
    """Whether who looks from elsewhere knows what is known here."""
    return run.shared is None or not run.shared.is_news


def _begin(run: Held, plan: Plan) -> Journal:
    """Who we are and what we intend: on disk before the first remote write."""
    from reconcile.state.journal import begin_journal  # late, as all that a run with nothing to do needs not

    run.connect()  # nothing is written, here or there, if it can't be reached
    run.take_turn(run.old.lineage)
    with run.phase("commit"):
        if is_new := not run.old.serial:
            from reconcile.state.done import forget_done

            forget_done(run.job.state)  # what a state of before had
            run.old = replace(run.old, serial=1)
            run.keep(run.old, is_news=False)  # it goes along with what is intended
        old = run.old
        marks = [name_mark(old.serial + 1, uuid.uuid4().hex[:12]) for _ in ("it begins", "it ends")]
        journal = begin_journal(
            run.job.state,
            old.lineage,
            old.serial,
            run.trusted_ns,
            plan.levels,
            marks,
            at_end=_is_at_end(run, plan),
        )
        if run.shared is not None:
            run.shared.intend(journal, old, is_new=is_new)
        return journal


def _is_at_end(run: Held, plan: Plan) -> bool:
    """Whether all is to be there before anything is published."""
    if run.job.options.publish is not Publish.END:
        return False
    from reconcile.apply.staging import brings_a_file

    return any(map(brings_a_file, plan.actions))


def _apply(run: Held, plan: Plan, journal: Journal, truth: Fold) -> bool:
    """False: nothing was published, as not all of it could be brought."""
    begins, ends = journal.marks
    with run.phase("apply"):
        run.reporter.planned(plan, run.tally)
        from reconcile.phases.done import note_begun
        from reconcile.state.done import forget_done

        footing = footing_of(run.job, run.old)
        footing = replace(footing, marks=(*footing.marks, begins, ends), fresh=begins)
        try:
            run.called = name_run(run.job.state)
            note_begun(run)
            run.remote.begin(footing, run.called, plan, resume=run.staged is not None)
        except (Refused, Unreachable):
            if not run.remote.in_doubt and not {begins, ends}.intersection(run.remote.marks):
                journal.close()
                run.settle()  # nothing was interrupted: it did not begin
                forget_done(run.job.state, [run.old.serial + 1])
            raise
        remember_workdir(run.job.state, run.remote.workdir)
        journal.begin(run.remote.marks)

        def between() -> None:
            if run.shared is not None:
                run.shared.tell(journal)

        failed: list[Outcome] = []
        stop = run.stop
        if _is_at_end(run, plan):
            from reconcile.apply.staging import tell_held_back

            failed = _stage(run, plan, journal)
            between()
            stop.check()
            if failed and not run.job.options.publish_partial:
                told = (outcome.problem for outcome in failed)
                run.tally.problems += [tell_held_back(failed, plan), *filter(None, told)]
                return False
            journal.let_go()
            between()
            stop = Stop()  # it takes a moment, and is not left half done
        for outcome in chain(failed, apply(plan, run.remote, run.source, stop, between, failed)):
            journal.record(outcome)
            truth.follow(outcome)
            run.tally.add(outcome)
            run.reporter.outcome(outcome)
        if run.undoes:
            from reconcile.phases.done import recount_trash

            recount_trash(run)
        run.cleanup = list(run.remote.end(ends))
        run.marks = run.remote.marks if {begins, ends}.intersection(run.remote.marks) else run.old.marks
    return True


def _stage(run: Held, plan: Plan, journal: Journal) -> list[Outcome]:
    """Bring all content; what could not be brought."""
    from reconcile.apply.staging import stage

    failed: list[Outcome] = []
    partly, staged = run.job.options.publish_partial, run.staged or {}
    for each in stage(plan, run.remote, run.source, run.stop, staged, partly=partly):
        if isinstance(each, Outcome):
            failed.append(each)
        elif not each.shared:  # what the next run may set another mode and time of
            journal.stage(each)
    run.staged = None
    return failed


def _commit(run: Held, plan: Plan, truth: Fold, *, is_news: bool) -> None:
    new = truth.onto(run.old)
    if run.undoes or run.undone.paths:
        from reconcile.phases.done import settle_undone

        settle_undone(run)
    if run.marks not in ((), new.marks):
        new = replace(new, marks=run.marks)
    is_whole = run.job.scope is None and not run.undoes
    settled = fingerprint(run.job.options, run.filter) if is_whole else run.old.settled
    if new is run.old and new.serial and new.settled == settled and _is_told(run):
        return
    if (
        not run.job.options.only
    ):  # which shows too little of SRC to tell whether it is the job's: ``guard_name``
        new = replace(new, source=run.job.source)  # from where the job of that name came last
    serial = run.old.serial + (is_news or run.shared is None)  # one that others have is the same there
    if is_news and not run.undoes:
        from reconcile.phases.done import note_changes

        note_changes(run, run.old, replace(new, serial=serial), run.tally.done)
    run.old = replace(new, serial=serial, taken_ns=run.found.started_ns, settled=settled)
    if run.shared is not None and is_news:
        run.shared.note(run.result("run", plan, [*plan.problems, *run.tally.problems, *run.cleanup]))
    run.keep(run.old, is_news=is_news)
