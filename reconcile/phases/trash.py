"""What runs have deleted or replaced, as long as it lies in the trash at DEST. Nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from reconcile.core.errors import Refused, Stale, UsageError
from reconcile.core.job import Job, Reporter, Stop
from reconcile.phases.held import hold
from reconcile.phases.recall import footing_of, left_open, recall, where_it_lies
from reconcile.remotes import Bin, Binning
from reconcile.state.lock import hold_lock
from reconcile.state.private import check_folder


@contextmanager
def open_bin(job: Job, reporter: Reporter, stop: Stop, *, changes: bool) -> Iterator[Bin]:
    """The trash of a job. Where something ``changes`` no run is at work meanwhile.

    Raises Refused where no run has ended yet, where DEST is not the one that we know, and, to change
    something, where a run broke off; UsageError where there is none; Locked, Unreachable, ConnectionLost.
    """
    job = where_it_lies(job)
    with (
        hold_lock(job.state, job.options.wait) if changes else nullcontext(),
        hold(job, reporter, None, stop, keeps=changes) as this,
    ):
        check_folder(job.state)
        with this.phase("connect"):
            this.remote.open()
        if this.shared is not None:
            this.shared.fetch(repair=False)
        old = recall(this.job)
        if old is None:
            raise Refused("No run of this job is known, so nothing of it is in the trash.")
        leftover = left_open(this.job.state, old)
        if changes and leftover is not None:
            raise Refused(
                "A run broke off, and may need what is in the trash. Nothing was done. Run it first."
            )
        try:
            this.remote.check(footing_of(this.job, old, leftover))
        except Stale as stale:
            reporter.warn(str(stale).partition(" Nothing was done.")[0])
        if changes:
            this.take_turn(old.lineage)
        remote = this.remote.ask(lambda remote: remote)
        if not isinstance(remote, Binning):
            raise UsageError("there is no trash at a DEST of this kind")
        yield remote.bin(old.lineage)
