"""What is known of the remote, and no longer true: it is looked at, and what it shows counts from then on.

A run with nothing to do never comes here, and so imports nothing of it: see ``load``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from reconcile.apply.adopt import anywhere, drifted, look_at_all, nowhere, take_over
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
from reconcile.core.job import OnStale
from reconcile.core.marks import BEFORE, serial_of
from reconcile.core.model import Action, DirectorySnapshot, Entry, Op, Seen
from reconcile.core.order import touched
from reconcile.core.paths import lookup, within
from reconcile.phases.done import note_changes
from reconcile.phases.held import Held
from reconcile.phases.recall import footing_of, recall
from reconcile.state.journal import Leftover, read_journal
from reconcile.state.names import name_run
from reconcile.state.readback import ReadBack


def catch_up(run: Held, old: DirectorySnapshot, stale: Stale, *, repair: bool) -> DirectorySnapshot:
    """What of the snapshot is true of a remote that others have changed, or rolled back.

    Raises ``stale`` if that is not wanted.
    """
    if run.job.options.on_stale is OnStale.REFUSE:
        raise stale
    run.reporter.warn(f"{stale.why}; DEST is listed, and what is not as it was left comes again")
    new = refresh(run, old, stale.marks, repair=repair)
    if repair:
        run.settle()
    return new


def adopt(run: Held, *, repair: bool) -> DirectorySnapshot:
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
            go_on(run, old, leftover, repair=True)
            run.cleanup = list(run.remote.end())
    doubtful = {path for action in leftover.actions if _may_look_alike(action) for path in touched(action)}
    return lambda path: within(path, doubtful)


def _may_look_alike(action: Action) -> bool:
    """Whether what was there before may be taken for what the action brings."""
    old, new = action.old, action.new
    if old is None or new is None or action.op not in (Op.CREATE, Op.MODIFY):
        return action.op is Op.MOVE
    return (old.kind, old.size) == (new.kind, new.size)


def refresh(
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


def go_on(run: Held, old: DirectorySnapshot, leftover: Leftover, *, repair: bool) -> DirectorySnapshot:
    """What is true after a run that broke off: its journal tells, and for what that leaves open DEST."""
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
        if leftover.serial != run.undone.since:  # what an undo has left is known already
            note_changes(run, old, new, leftover.actions)
        run.keep(new)
        if not run.job.options.start_over:
            run.settle()
        run.recovered = True
        run.staged = leftover.staged if leftover.holds_files else None
        return new
