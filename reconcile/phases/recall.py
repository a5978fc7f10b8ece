"""What the runs before have left here: the snapshot, a journal, and what both say of our folder at DEST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconcile.core.errors import Refused
from reconcile.core.job import Job
from reconcile.core.marks import BEFORE
from reconcile.core.model import DirectorySnapshot, Footing
from reconcile.state.place import recall_workdir
from reconcile.state.store import read_snapshot
from reconcile.state.unfinished import is_unfinished

if TYPE_CHECKING:
    from reconcile.state.journal import Leftover


def where_it_lies(job: Job) -> Job:
    """The job with its state where that is now, though a run would take it over: for who only looks."""
    former, formerly = job.likely or (job.former, job.formerly)
    return replace(job, state=former or job.state, formerly=formerly)


def recall(job: Job) -> DirectorySnapshot | None:
    """What the job has saved last; None: nothing yet. Raises what ``read_snapshot`` does."""
    return read_snapshot(job.state, job.source, job.target, job.formerly, by_name=bool(job.name))


def left_open(state: str, old: DirectorySnapshot) -> Leftover | None:
    """What a run that broke off has left of this snapshot: one of later has all that is in its journal."""
    if not is_unfinished(state):
        return None
    from reconcile.state.journal import read_journal  # late: few runs break off

    leftover = read_journal(state)
    if leftover is None or (leftover.lineage, leftover.serial) != (old.lineage, old.serial):
        return None
    return leftover


def refuse_unfinished(state: str, known: DirectorySnapshot | None) -> None:
    """Raises Refused where a run broke off, and is not to be forgotten."""
    if known is not None and left_open(state, known) is not None:
        raise Refused(
            "A run broke off, and what it has moved aside at DEST is known nowhere else. Nothing was done. "
            "Run it to its end first; if that is no more to be had, with --start-over."
        )


def footing_of(job: Job, old: DirectorySnapshot, leftover: Leftover | None = None) -> Footing:
    """What the snapshot, and the journal of a run that broke off, say of our folder on the remote."""
    marks = old.marks or (BEFORE,)
    workdir = recall_workdir(job.state)
    if leftover is None:
        filled = job.options.remote_workdir is not None and bool(old.dirs[""].entries())
        return Footing(old.lineage, marks, "", old.serial > 1, job.state, workdir, filled)
    names = leftover.marks
    if leftover.began is not None:  # the names before are gone
        marks = leftover.began
    known = old.serial > 1 or bool(leftover.outcomes)
    return Footing(old.lineage, (*marks, *names), names[-1] if names else "", known, job.state, workdir)
