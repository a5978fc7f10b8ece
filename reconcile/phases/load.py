"""What the remote holds: the snapshot, what became of a run that broke off, and what others did since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconcile.core.errors import Refused, Stale
from reconcile.core.fold import fold
from reconcile.core.job import Options
from reconcile.core.model import DirectorySnapshot, Footing
from reconcile.core.settings import fingerprint, tell_changed
from reconcile.phases.held import Held
from reconcile.phases.recall import footing_of, left_open, recall
from reconcile.state.lock import find_run
from reconcile.state.private import check_folder
from reconcile.state.store import blank, save_snapshot
from reconcile.state.undone import recall_undone

if TYPE_CHECKING:
    from reconcile.state.journal import Leftover

_TO_BE_ENDED = (
    "A run was interrupted, and what became of it is to be found out before a plan can be relied upon. "
    "Nothing was done. 'reconcile run' does that, and goes on; plan again after it."
)
_TO_BE_TAKEN_BACK = (
    "A run was interrupted, and what became of it is to be found out before it can be told what is to be "
    "taken back. Nothing was done. 'reconcile undo' without --dry-run does that, and shows it before it asks."
)


def load(run: Held, *, repair: bool) -> DirectorySnapshot:
    """What the remote holds: from the snapshot, and from the journal of a run that broke off.

    Without ``repair`` nothing is changed, neither here nor there.
    """
    old, leftover = _recall(run, repair=repair)
    if old is None and not run.job.options.adopt_existing:
        return blank(run.job)  # see ``plan``
    if old is not None and leftover is None and not run.came and not asks_the_remote(run.job.options):
        return old

    from reconcile.phases.catch_up import adopt, catch_up, go_on, refresh  # late: see there

    if old is None:
        return adopt(run, repair=repair)
    try:
        if leftover is not None:
            old = go_on(run, old, leftover, repair=repair)
        elif run.came or (asks_the_remote(run.job.options) and run.shared is None):  # else it was fetched
            _look_at_mark(run, footing_of(run.job, old))
    except Stale as stale:
        if leftover is not None:  # what it left open is seen in the listing
            old = fold(old, leftover.outcomes, {}, leftover.trusted_ns)
        return catch_up(run, old, stale, repair=repair)
    if run.job.options.refresh or run.job.options.adopt_orphans:
        old = refresh(run, old, repair=repair)
    return old


def _tell_settings(run: Held, old: DirectorySnapshot | None) -> None:
    """What this run undoes of what the one before has set, or the other way round."""
    now, asked = (fingerprint(options, run.filter) for options in (run.job.options, run.asked))
    if old is not None and (told := tell_changed(old.settled, now, asked)) is not None:
        run.reporter.say(told)


def _recall(run: Held, *, repair: bool) -> tuple[DirectorySnapshot | None, Leftover | None]:
    """What was saved last, and what a run has left since that broke off."""
    if run.shared is not None:
        run.connect()
    with run.phase("load"):
        check_folder(run.job.state)
        at_work = None if repair else find_run(run.job.state)
        if run.shared is not None:
            run.shared.fetch(repair=repair)
        if run.job.elsewhere and not run.job.options.start_over:
            from reconcile.phases.handover import hand_over  # late: once in the life of a job

            hand_over(run, repair=repair)
        if at_work is not None:
            run.reporter.say(f"a run of this job is at work{at_work}; this plan is from before it")
        old = None if run.job.options.start_over else recall(run.job)
        run.undone = recall_undone(run.job.state)
        run.footing = ("", 0) if old is None else (old.lineage, old.serial)
        if old is not None and old.source != run.job.source and not run.job.name:
            old = replace(old, source=run.job.source)
            if repair:  # the link by which it was found may turn
                save_snapshot(run.job.state, old)
        leftover = left_open(run.job.state, old) if old is not None and at_work is None else None
        _tell_settings(run, old)
        _check_reviewed(run, leftover, repair=repair)
        return old, leftover


def _check_reviewed(run: Held, leftover: Leftover | None, *, repair: bool) -> None:
    """Raises Refused where a plan that is to be relied upon does not fit what is known."""
    if (reviewed := run.job.reviewed) is not None:
        from reconcile.core.reviewed import check_footing

        check_footing((reviewed.lineage, reviewed.serial), run.footing)
    if leftover is not None and run.job.exact:
        raise Refused(_TO_BE_ENDED)
    if leftover is not None and run.undoes and not repair:
        raise Refused(_TO_BE_TAKEN_BACK)


def asks_the_remote(options: Options) -> bool:
    """Whether it takes a connection before there is a plan."""
    return options.refresh or options.check_mark or options.start_over or options.adopt_orphans


def _look_at_mark(run: Held, footing: Footing) -> None:
    """Raises Stale where it is not ours, Refused where it is gone."""
    run.connect()
    with run.phase("survey"):
        run.remote.check(footing)
