"""What a job has at DEST beside its files goes: its mark, its state there, its lock. Never a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconcile.core.errors import Refused, Unreachable, UsageError
from reconcile.core.job import Job, Reporter, Stop
from reconcile.core.turns import last_turn, outdated
from reconcile.core.units import show_count, show_some
from reconcile.phases.held import Held, hold
from reconcile.phases.recall import recall, refuse_unfinished
from reconcile.remotes import Forgetting, Remains, Remote

_ALL = 1 << 62  # more than any turn has


def forget_there(job: Job, called: str, reporter: Reporter, stop: Stop) -> None:
    """Remove it, under the lock, if that lies there. The job's lock here is held; it is ``called`` so on a
    command line.

    Raises Refused where runs have moved something aside that is there still, or one broke off; UsageError
    where nothing is known of the job; Unreachable, also where something could not be removed: then all can
    be done once more.
    """
    with hold(job, reporter, None, stop, keeps=True) as this:
        with this.phase("connect"):
            this.remote.open()
        lineages = _find_lineages(this)
        remote = this.remote.ask(lambda remote: remote)
        if not isinstance(remote, Forgetting):
            raise UsageError("--remote means nothing for this DEST; leave it out")
        if this.shared is not None and this.shared.is_there:
            this.take_turn(next(iter(lineages), ""))
        _refuse_remains(remote, lineages, called)
        stuck = [path for lineage in lineages for path in remote.forget(lineage)]
        if stuck:
            raise Unreachable(
                f"Not all that the job has at DEST could be removed: {show_some(stuck)}. What is known of it "
                "stays. Make it writable for this user, remove what is not reconcile's, and do this again."
            )
        if this.shared is not None:
            this.shared.drop()
        this.remote.end_turn(tell=True)
        if job.name:
            _drop_lock(remote, job.name)
        remote.vacate()


def _find_lineages(this: Held) -> Sequence[str]:
    """What the job's folders there are called: one, if all is in order."""
    if this.shared is None:
        known = recall(this.job)
        if known is None:
            raise UsageError("nothing is known of the job, nor what it has at DEST")
        return [known.lineage]
    try:
        this.shared.fetch(repair=False)
        known = recall(this.job)
    except Refused:  # it can't be read: so be it
        known = None
    refuse_unfinished(this.job.state, known)
    return sorted({*this.shared.lineages, *([] if known is None else [known.lineage])})


def _refuse_remains(remote: Forgetting, lineages: Sequence[str], called: str) -> None:
    remains = [left for lineage in lineages for left in remote.find_remains(lineage)]
    if remains:
        told = "; ".join(_tell(remains, called))
        raise Refused(
            f"DEST holds what runs of this job have moved aside, and nothing would tell of it any more: "
            f"{told}. Nothing was done."
        )


def _tell(remains: Sequence[Remains], called: str) -> Iterator[str]:
    if old := sum(left.old for left in remains):
        yield (
            f"{show_count(old, 'thing')} deleted or replaced: 'reconcile trash ls {called}' shows them, "
            f"'reconcile trash empty {called}' lets them go"
        )
    for kept in (left for left in remains if left.kept):
        yield (
            f"{show_count(kept.kept, 'thing')} kept as others wrote them, or as the only copy, in "
            f"{kept.folder!r}: look at them there, and remove them or bring them elsewhere"
        )
    for open_ in (left for left in remains if left.parked):
        yield (
            f"{show_count(open_.parked, 'thing')} in {open_.folder!r} from a run that broke off: run the job "
            "to its end"
        )


def _drop_lock(remote: Remote, name: str) -> None:
    """What tells whose turn it is, unless somebody has it. RACE: who takes it at this moment loses it."""
    names = remote.store.names()
    if last_turn(names, name).is_over:
        remote.store.drop_all(outdated(names, name, _ALL))
