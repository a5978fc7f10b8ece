"""The pipeline: scan, load, diff, plan, apply, commit. Read it top to bottom; ``phases`` has the details."""

from __future__ import annotations

import os
from contextlib import closing

from msgspec.structs import replace

from reconcile.apply.connection import Connect, Retrying
from reconcile.core.errors import Stale
from reconcile.core.job import Job, Reporter, Result, Stop
from reconcile.phases.carry_out import carry_out
from reconcile.phases.decide import decide, decide_again, foresee_failing
from reconcile.phases.held import Held
from reconcile.phases.load import asks_the_remote, catch_up, load
from reconcile.phases.look import look, mind_mounts, tell_contents
from reconcile.remotes import scheme_of
from reconcile.source.way import open_root
from reconcile.state.device import remember_device
from reconcile.state.growing import note_growing
from reconcile.state.lock import hold_lock
from reconcile.state.memo import Memo
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
    stop = stop or Stop()
    job = replace(job, state=job.former or job.state)
    memo, opener = Memo(job.state, keeps=False), scheme_of(job.target).make_opener()
    job = _as_kept(job, memo)
    remote = Retrying(job, reporter, connect or opener, stop, memo)
    with closing(remote), Held(job, reporter, remote, stop, opener) as this:
        look(this)
        this.old = load(this, repair=False)
        mind_mounts(this, repair=False)
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
    stop = stop or Stop()
    os.close(open_root(job.source))  # a slip of the pen shall leave no folder behind
    job = take_over_state(job)
    memo, opener = Memo(job.state, keeps=True), scheme_of(job.target).make_opener()
    job = _as_kept(job, memo)
    remote = Retrying(job, reporter, connect or opener, stop, memo)
    with (
        closing(remote),
        hold_lock(job.state, job.options.wait),
        Held(job, reporter, remote, stop, opener) as this,
    ):
        look(this, sure_to_connect=not has_snapshot(job.state) or asks_the_remote(job.options))
        this.old = load(this, repair=True)
        mind_mounts(this, repair=True)
        first = this.old
        plan = last = decide(this, first)
        tell_contents(this, plan)
        try:
            carry_out(this, plan)
        except Stale as stale:
            this.old = first = catch_up(this, this.old, stale, repair=True)
            plan = last = decide(this, first)
            carry_out(this, plan)
        surprised = this.tally.surprised or this.tally.immovable
        if surprised and (again := decide_again(this, first)) is not None:
            last = again
            carry_out(this, last)
        problems = [*last.problems, *this.tally.problems, *this.cleanup]
        remember_device(job.state, job.source)
        note_overdue(job.state, this.tally.undeleted)
        note_growing(job.state, problems, this.source.grown)
        failing = update(job.state, problems, reporter.say)
        return replace(this.result("run", plan, problems), failing=failing)


def _as_kept(job: Job, memo: Memo) -> Job:
    """The job without the modes or times that its remote is known not to keep: nobody asks for them again."""
    caps, options = scheme_of(job.target).recall_caps(memo), job.options
    perms, times = options.keep_perms and caps.modes, options.keep_times and caps.times
    return replace(job, options=replace(options, keep_perms=perms, keep_times=times))
