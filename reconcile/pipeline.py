"""The pipeline: scan, load, diff, plan, apply, commit. Read it top to bottom; ``phases`` has the details."""

from __future__ import annotations

import os

from msgspec.structs import replace

from reconcile.apply.connection import Connect
from reconcile.core.errors import Overtaken, Stale
from reconcile.core.job import Job, Reporter, Result, Stop
from reconcile.core.model import Plan
from reconcile.phases.carry_out import carry_out
from reconcile.phases.decide import decide, decide_again, foresee_failing
from reconcile.phases.held import Held, hold
from reconcile.phases.load import asks_the_remote, load
from reconcile.phases.look import look, mind_places, tell_contents
from reconcile.phases.settle import settle
from reconcile.source.way import open_root
from reconcile.state.device import remember_device
from reconcile.state.growing import note_growing
from reconcile.state.lock import hold_lock
from reconcile.state.overdue import note_overdue
from reconcile.state.place import take_over_state
from reconcile.state.store import has_snapshot
from reconcile.state.trouble import update


def make_plan(
    job: Job, reporter: Reporter, connect: Connect | None = None, stop: Stop | None = None
) -> Result:
    """What ``run`` would do now. Changes nothing, here or there, and takes no lock.

    Raises the same errors as ``run``.
    """
    job = settle(job, reporter)
    job = replace(job, state=job.former or job.state)
    with hold(job, reporter, connect, stop or Stop(), keeps=False) as this:
        look(this)
        this.old = load(this, repair=False)
        mind_places(this, repair=False)
        plan = decide(this, this.old)
        tell_contents(this, plan)
        failing = foresee_failing(this, plan)
        return replace(this.result("plan", plan, plan.problems), failing=failing)


def run(job: Job, reporter: Reporter, connect: Connect | None = None, stop: Stop | None = None) -> Result:
    """Bring the remote up to the source, and save what it then holds.

    Where the remote turns out to be of another age than the snapshot, the plan is made anew
    from what the remote shows. Raises ``Locked`` or ``Refused`` before anything was done, ``Unreachable`` or
    ``ConnectionLost`` with all known that was acknowledged by then, ``Interrupted``
    if ``stop`` asks for it.
    """
    os.close(open_root(job.source))  # a slip of the pen shall leave no folder behind
    job = take_over_state(settle(job, reporter))
    with (
        hold_lock(job.state, job.options.wait),
        hold(job, reporter, connect, stop or Stop(), keeps=True) as this,
    ):
        may_wait = has_snapshot(job.state) and not asks_the_remote(job.options) and not job.shared
        look(this, sure_to_connect=not may_wait)
        if job.options.release is not None:
            from reconcile.phases.release import prepare_release, release  # late, as few jobs have any

            prepare_release(this)
        try:
            plan, last = _bring_up(this)
        except Overtaken:  # which can't be twice: the lock is ours by now
            reporter.say("another run of this job has ended meanwhile: the plan is made anew")
            plan, last = _bring_up(this)
        problems = [*last.problems, *this.tally.problems, *this.cleanup]
        if job.options.release is not None:
            problems += release(this)
        remember_device(job.state, job.source)
        note_overdue(job.state, this.tally.undeleted, job.scope)
        note_growing(job.state, problems, this.source.grown, job.scope)
        failing = update(job.state, problems, reporter.say, scope=job.scope)
        return replace(this.result("run", plan, problems), failing=failing)


def _bring_up(this: Held) -> tuple[Plan, Plan]:
    """Load, decide, and carry out; the plan, and the last one if another had to be made."""
    reviewed = this.job.reviewed
    this.old = load(this, repair=True)
    mind_places(this, repair=True)
    first = this.old
    plan = last = decide(this, first)
    tell_contents(this, plan)
    if reviewed is not None:
        from reconcile.phases.reviewed import check_there  # late: most plans are made here

        check_there(this, plan)
    try:
        carry_out(this, plan)
    except Stale as stale:
        if reviewed is not None:
            raise
        from reconcile.phases.catch_up import catch_up  # late: see there

        this.old = first = catch_up(this, this.old, stale, repair=True)
        plan = last = decide(this, first)
        carry_out(this, plan)
    surprised = this.tally.surprised or this.tally.immovable
    if surprised and reviewed is None and (again := decide_again(this, first)) is not None:
        last = again
        carry_out(this, last)
    return plan, last
