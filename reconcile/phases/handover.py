"""A job whose state is kept another way than before goes on with what is known: here before and at DEST from
now on (``--state remote``), or the other way round.

Later counts: of what is known here and there of one lineage, the higher serial. It has to be of DEST as it
is: its mark is there. What was known before stays as it is, and is the older one from then on.
"""

from __future__ import annotations

import os

from msgspec.structs import replace

from reconcile.core.errors import ReconcileError, Refused, Stale
from reconcile.core.model import DirectorySnapshot
from reconcile.core.turns import NAMELESS
from reconcile.phases.held import Held
from reconcile.phases.recall import footing_of, left_open
from reconcile.phases.shared import COPY, Shared, borrow_copy, recall_name
from reconcile.source.agree import agree
from reconcile.state import growing, lock, overdue, store, there, trouble, unfinished
from reconcile.state.journal import Leftover
from reconcile.state.lock import find_run, hold_lock
from reconcile.state.moving import copy_file
from reconcile.state.private import check_folder
from reconcile.state.store import BACKUP, is_later, make_folder, read_beginning, read_copy, save_snapshot
from reconcile.state.undone import HELD
from reconcile.state.unfinished import discard_journal, is_unfinished

_OF_THE_LAST_RUN = {overdue.NAME, growing.NAME, trouble.NAME, HELD}  # what it had left open
_ITS_OWN = {lock.NAME, lock.HOLDER, COPY, there.NAME, store.NAME, BACKUP, unfinished.NAME}


def hand_over(run: Held, *, repair: bool) -> None:
    """Have what is known of the job elsewhere where it is kept now, if that is later, and true of DEST.

    ``run.came`` tells whether it was; DEST is to be looked at then. Raises Locked where a run is at work that
    goes by what is known here, Refused where one broke off that went by what is at DEST. Without ``repair``
    nothing is changed, unless it was borrowed.
    """
    run.came = False
    if run.shared is None:
        _bring_back(run, repair=repair)
    else:
        _bring_there(run, run.shared, repair=repair)


def _bring_there(run: Held, shared: Shared, *, repair: bool) -> None:
    """What is known here goes to DEST: that is fetched by now."""
    before = run.job.elsewhere
    if not is_later(before, run.job.state):
        return
    _keep_out(run, repair=repair)
    if (old := _know(run, before)) is None:
        return
    try:
        leftover = left_open(before, old)
    except ReconcileError:  # it takes the state here to say so
        return
    if _is_true(run, before, old, leftover):
        _take(run, before, old, leftover)
        shared.is_news = run.came = True
        run.reporter.say(
            f"what is known of this job here, in {before!r}, goes along: from now on its state is at DEST"
        )


def _keep_out(run: Held, *, repair: bool) -> None:
    """From now on no run is at work that goes by what is known elsewhere; a plan says so, if one is."""
    folder = run.job.elsewhere
    check_folder(folder)
    if not repair:
        if (at_work := find_run(folder)) is not None:
            run.reporter.say(f"a run of this job is at work{at_work}; this plan is from before it")
    elif not run.keeps_others_out:
        run.stack.enter_context(hold_lock(folder, run.job.options.wait))
        run.keeps_others_out = True


def _bring_back(run: Held, *, repair: bool) -> None:
    """What is at DEST comes here."""
    if not is_later(run.job.elsewhere, run.job.state) and not is_unfinished(run.job.elsewhere):
        return
    _keep_out(run, repair=repair)
    name = recall_name(run.job.elsewhere) or run.job.name or NAMELESS
    with borrow_copy(run.job.elsewhere) as before:
        run.connect()
        job = replace(run.job, state=before, shared=True, name=name)
        try:
            Shared(job, run.remote, run.reporter.say, lambda _: ()).fetch(repair=False)
        except Refused:  # there is none any more, or none that can be used
            return
        if (old := _know(run, before)) is None:
            return
        if repair and not is_unfinished(before):  # another machine has brought it to its end
            discard_journal(run.job.elsewhere)
        if left_open(before, old) is not None:
            raise Refused(
                "The state of this job was at DEST until now, and a run that goes by it has begun there and "
                "not ended. Nothing was done. Run once with --state remote, which brings that to its end."
            )
        if is_later(before, run.job.state) and _is_true(run, before, old, None):
            _take(run, before, old, None)
            run.came = True
            run.reporter.say(
                "the state of this job was at DEST until now, and comes along: from now on it is here, and "
                "who pushes with --state remote goes by what stays there"
            )


def _know(run: Held, before: str) -> DirectorySnapshot | None:
    """What SRC has brought to DEST. What others have saved last has their path of SRC."""
    old = read_copy(before)
    if old is None or old.target != str(run.job.target):
        return None
    same = os.path.realpath(old.source) == os.path.realpath(run.job.source)
    return old if same or run.job.name or agree(old, run.source).agrees else None


def _is_true(run: Held, before: str, old: DirectorySnapshot, leftover: Leftover | None) -> bool:
    """Whether DEST is as that says; where nothing is known otherwise, it may have been changed since."""
    footing = footing_of(replace(run.job, state=before), old, leftover)
    with run.phase("survey"):
        try:
            run.remote.check(footing)
        except Stale:
            return read_beginning(run.job.state) is None
        except Refused:
            return False
    return footing.known


def _take(run: Held, before: str, old: DirectorySnapshot, leftover: Leftover | None) -> None:
    """All that has no such name there yet comes along, the snapshot last: before that nothing has come."""
    now = run.job.state
    make_folder(now)
    discard_journal(now)
    try:
        for name in os.listdir(now):
            if name in _OF_THE_LAST_RUN:
                os.unlink(os.path.join(now, name))
        for name in os.listdir(before):
            is_temporary = name.startswith(".") or name.endswith(".new")
            if not is_temporary and name not in _ITS_OWN and not os.path.lexists(os.path.join(now, name)):
                copy_file(before, now, name)
        if leftover is not None:
            copy_file(before, now, unfinished.NAME)
    except OSError as error:
        raise ReconcileError(
            f"What is known of this job in {before!r} can't be taken along to {now!r}: {error.strerror}. "
            "Nothing was done. Make room or correct the permissions there."
        ) from error
    source = old.source if run.job.name else run.job.source  # by which it is known whether SRC is elsewhere
    save_snapshot(now, replace(old, source=source))
