"""Before a run begins: whose state it goes on with, where SRC is not where it was."""

from __future__ import annotations

import os

from msgspec.structs import replace

from reconcile.core.errors import ReconcileError
from reconcile.core.fold import fold
from reconcile.core.job import Job, Reporter
from reconcile.core.model import DirectorySnapshot
from reconcile.phases.recall import left_open, recall
from reconcile.source.files import Source


def settle(job: Job, reporter: Reporter) -> Job:
    """The job with a state to be taken over, where one is likely its own and SRC holds what that has sent.

    Changes nothing. What can't be read or does not agree leaves a job of which nothing is known yet.
    """
    if job.likely is None:
        return job
    former, formerly = job.likely
    job = replace(job, likely=None)
    from reconcile.source.agree import agree  # late: once in the life of a job

    known = _known(replace(job, state=former, formerly=formerly))
    if known is None:
        return job
    with Source(os.path.realpath(job.source), job.options.links) as source:
        if not agree(known, source).agrees:
            return job
    reporter.say(f"SRC moved from {formerly!r} to {job.source!r}: what was sent from there is known")
    return replace(job, former=former, formerly=formerly)


def _known(job: Job) -> DirectorySnapshot | None:
    """What was sent, also by a run that broke off; None: nothing, or it can't be told."""
    try:
        old = recall(job)
        leftover = None if old is None else left_open(job.state, old)
    except ReconcileError:
        return None
    if old is None or leftover is None:
        return old
    return fold(old, leftover.outcomes, {}, leftover.trusted_ns)
