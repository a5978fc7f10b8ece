"""What the remote holds: the snapshot, what became of a run that broke off, and what others did since."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from reconcile.apply.adopt import anywhere, blank, drifted, look_at_all, nowhere, take_over
from reconcile.apply.orphans import (
    find_orphans,
    find_others,
    know_orphans,
    note_orphans,
    tell_orphans,
    tell_others,
)
from reconcile.apply.recover import foresee, recover
from reconcile.core.chosen import is_in_scope
from reconcile.core.errors import ReconcileError, Refused, Stale
from reconcile.core.fold import fold
from reconcile.core.job import Job, OnStale, Options
from reconcile.core.marks import BEFORE, serial_of
from reconcile.core.model import Action, DirectorySnapshot, Entry, Footing, Op, Seen
from reconcile.core.order import touched
from reconcile.core.paths import lookup, within
from reconcile.core.reviewed import check_footing
from reconcile.core.settings import fingerprint, tell_changed
from reconcile.phases.held import Held
from reconcile.state.journal import Leftover, read_journal
from reconcile.state.lock import find_run
from reconcile.state.names import name_run
from reconcile.state.place import recall_workdir
from reconcile.state.private import check_folder
from reconcile.state.readback import ReadBack
from reconcile.state.store import read_snapshot, save_snapshot

_TO_BE_ENDED = (
    "A run was interrupted, and what became of it is to be found out before a plan can be relied upon. "
    "Nothing was done. 'reconcile run' does that, and goes on; plan again after it."
)


def load(run: Held, *, repair: bool) -> DirectorySnapshot:
    """What the remote holds: from the snapshot, and from the journal of a run that broke off.

    Without ``repair`` nothing is changed, neither here nor there.
    """
    old, leftover = _recall(run, repair=repair)
    if old is None and not run.job.options.adopt_existing:
        return blank(run.job)  # see ``plan``
    if old is None:
        return _adopt(run, repair=repair)
    try:
        if leftover is not None:
            old = _recover(run, old, leftover, repair=repair)
        elif asks_the_remote(run.job.options) and run.shared is None:  # that was looked at there as well
            _look_at_mark(run, footing_of(run.job, old))
    except Stale as stale:
        if leftover is not None:  # what it left open is seen in the listing
            old = fold(old, leftover.outcomes, {}, leftover.trusted_ns)
        return catch_up(run, old, stale, repair=repair)
    if run.job.options.refresh or run.job.options.adopt_orphans:
        old = _refresh(run, old, repair=repair)
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
        if at_work is not None:
            run.reporter.say(f"a run of this job is at work{at_work}; this plan is from before it")
        old = None if run.job.options.start_over else recall(run.job)
        run.footing = ("", 0) if old is None else (old.lineage, old.serial)
        if old is not None and old.source != run.job.source and not run.job.name:
            old = replace(old, source=run.job.source)
            if repair:  # the link by which it was found may turn
                save_snapshot(run.job.state, old)
        leftover = left_open(run.job.state, old) if old is not None and at_work is None else None
        _tell_settings(run, old)
        _check_reviewed(run, leftover)
        return old, leftover


def recall(job: Job) -> DirectorySnapshot | None:
    """What the job has saved last; None: nothing yet. Raises what ``read_snapshot`` does."""
    return read_snapshot(job.state, job.source, job.target, job.formerly, by_name=bool(job.name))


def _check_reviewed(run: Held, leftover: Leftover | None) -> None:
    """Raises Refused where a plan that is to be relied upon does not fit what is known."""
    if (reviewed := run.job.reviewed) is not None:
        check_footing((reviewed.lineage, reviewed.serial), run.footing)
    if leftover is not None and run.job.exact:
        raise Refused(_TO_BE_ENDED)


def left_open(state: str, old: DirectorySnapshot) -> Leftover | None:
    """What a run that broke off has left of this snapshot: one of later has all that is in its journal."""
    leftover = read_journal(state)
    if leftover is None or (leftover.lineage, leftover.serial) != (old.lineage, old.serial):
        return None
    return leftover


def asks_the_remote(options: Options) -> bool:
    """Whether it takes a connection before there is a plan."""
    return options.refresh or options.check_mark or options.start_over or options.adopt_orphans


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


def catch_up(run: Held, old: DirectorySnapshot, stale: Stale, *, repair: bool) -> DirectorySnapshot:
    """What of the snapshot is true of a remote that others have changed, or rolled back.

    Raises ``stale`` if that is not wanted.
    """
    if run.job.options.on_stale is OnStale.REFUSE:
        raise stale
    run.reporter.warn(f"{stale.why}; DEST is listed, and what is not as it was left comes again")
    new = _refresh(run, old, stale.marks, repair=repair)
    if repair:
        run.settle()
    return new


def _adopt(run: Held, *, repair: bool) -> DirectorySnapshot:
    """Take DEST as it is: what a run was about to move when it broke off is not known by its look."""
    in_doubt = _set_right(run, repair=repair) if run.job.options.start_over else nowhere
    reads = repair or run.job.exact  # such a plan has to know
    run.connect()
    with run.phase("survey"):
        with ReadBack(run.job.state, keeps=repair) as known:
            say = run.reporter.say
            new, there = take_over(
                run.job, run.found, run.source, run.remote, say, in_doubt, known, reads=reads
            )
        return _with_orphans(run, new, there)


def _with_orphans(run: Held, old: DirectorySnapshot, there: Mapping[str, Seen | None]) -> DirectorySnapshot:
    """What the remote holds and SRC does not is known too, if it may be deleted. Else it is told.

    Not saved before the guard has seen it: should that be against it, it is nothing of ours.
    """
    options = run.job.options
    orphans = find_orphans(there, old, run.found, run.filter)
    if options.adopt_orphans:
        for told in tell_others(find_others(there, run.found)):
            run.reporter.say(told)
        chosen = {path: seen for path, seen in orphans.items() if is_in_scope(path, run.job.scope)}
        return fold(old, [], know_orphans(chosen, run.remote), run.trusted_ns)
    notes = note_orphans(orphans)
    run.found = replace(run.found, notes=(*run.found.notes, *notes))
    for told in tell_orphans(notes, orphans):
        run.reporter.say(told)
    return old


def _set_right(run: Held, *, repair: bool) -> Callable[[str], bool]:
    """Before all that is known is given up: let what a run that broke off had moved aside go home.

    The journal stays until there is another: should this run break off, too, it still names what is in doubt.
    """
    job = run.job
    if run.shared is not None and run.shared.is_unknown:
        return anywhere
    try:
        leftover = read_journal(job.state)
        old = recall(job) if leftover is not None else None
    except ReconcileError:
        return anywhere
    if leftover is None:
        return nowhere
    if repair and old is not None and (leftover.lineage, leftover.serial) == (old.lineage, old.serial):
        with suppress(Refused, Stale):  # the remote is of another age
            _recover(run, old, leftover, repair=True)
            run.cleanup = list(run.remote.end())
    doubtful = {path for action in leftover.actions if _may_look_alike(action) for path in touched(action)}
    return lambda path: within(path, doubtful)


def _may_look_alike(action: Action) -> bool:
    """Whether what was there before may be taken for what the action brings."""
    old, new = action.old, action.new
    if old is None or new is None or action.op not in (Op.CREATE, Op.MODIFY):
        return action.op is Op.MOVE
    return (old.kind, old.size) == (new.kind, new.size)


def _look_at_mark(run: Held, footing: Footing) -> None:
    """Raises Stale where it is not ours, Refused where it is gone."""
    run.connect()
    with run.phase("survey"):
        run.remote.check(footing)


def _refresh(
    run: Held, old: DirectorySnapshot, marks: tuple[str, ...] = (), *, repair: bool
) -> DirectorySnapshot:
    """Drop what the remote does not show as we left it. ``marks``: those that are ours from now on."""
    run.connect()
    with run.phase("survey"):
        options = run.job.options
        there = look_at_all(old, run.remote)
        seen = drifted(old, there, run.remote, options)
        held = ((path, lookup(old.dirs, path)) for path in options.again if path not in seen)
        seen |= {path: _as_foreign(entry) for path, entry in held if entry is not None}
    if seen or marks:
        serial = max(old.serial, *map(serial_of, marks or old.marks or (BEFORE,))) + 1
        new = fold(old, [], seen, run.trusted_ns)
        old = replace(new, serial=serial, settled="", marks=marks or old.marks)
        if repair:  # known for good, whatever becomes of this run
            run.keep(old)
    return _with_orphans(run, old, there) if options.adopt_orphans else old


def _as_foreign(entry: Entry) -> Entry:
    """A file that looks as it was left, and holds something else."""
    return replace(entry, foreign=True, digest=None, stamp=None)


def _tell(leftover: Leftover) -> str:
    if not leftover.held_back:
        return f"the run before was interrupted; looking at {len(leftover.open):,} paths it left open"
    return (
        "the run before was interrupted, or held back, before it published anything; "
        f"{len(leftover.staged):,} files that it has brought are there, out of sight"
    )


def _recover(run: Held, old: DirectorySnapshot, leftover: Leftover, *, repair: bool) -> DirectorySnapshot:
    run.reporter.say(_tell(leftover))
    footing = footing_of(run.job, old, leftover)
    run.connect()
    if repair:
        run.take_turn(old.lineage)
    with run.phase("recover"):
        if not repair:
            return foresee(old, leftover, footing, run.remote, run.source)
        run.remote.begin(footing, name_run(run.job.state), resume=True, before=leftover.actions)
        marks = run.remote.marks if footing.fresh in run.remote.marks else footing.marks
        say = None if run.job.options.keep_times else run.reporter.say
        new = recover(old, leftover, run.remote, run.source, say)
        new = replace(new, serial=old.serial + 1, settled="", marks=marks)
        run.keep(new)
        if not run.job.options.start_over:
            run.settle()
        run.recovered = True
        run.staged = leftover.staged if leftover.holds_files else None
        return new
