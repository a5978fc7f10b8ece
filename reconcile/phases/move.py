"""What is known of a job goes over to another SRC or DEST that holds the same. Nothing is sent.

What may live here: that it is the same, and in what order what is remembered changes: the new is there whole
before the old goes, here and at DEST, so that one of them works whenever this breaks off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from msgspec import Struct
from msgspec.structs import replace

from reconcile.apply.adopt import drifted, look_at_all
from reconcile.core.bare import with_stamps_of
from reconcile.core.compare import Fault, Finding, compare
from reconcile.core.errors import Refused, Stale
from reconcile.core.fold import fold
from reconcile.core.job import Job, Reporter, Stop
from reconcile.core.marks import BEFORE, serial_of
from reconcile.core.model import DirectorySnapshot
from reconcile.core.order import touched
from reconcile.core.paths import within
from reconcile.core.units import show_some
from reconcile.phases.held import Held, hold
from reconcile.phases.recall import footing_of, left_open, recall
from reconcile.phases.shared import COPY
from reconcile.remotes import LEARNED
from reconcile.source.agree import agree
from reconcile.source.files import Source
from reconcile.state.journal import Leftover
from reconcile.state.lock import hold_lock
from reconcile.state.moving import copy_rest, let_go
from reconcile.state.private import check_folder
from reconcile.state.store import has_snapshot, read_copy, save_snapshot

# What was learned of the server, which may be another by now, and what is open there.
_OF_THE_SERVER = frozenset((LEARNED, "others", "uploads", "workdir", COPY))
_SHOWS = frozenset((Fault.MISSING, Fault.KIND, Fault.CHANGED, Fault.LINK, Fault.UNSEEN))


class Moved(Struct, frozen=True):
    """What came of it."""

    state: str  # the folder
    entries: int  # that DEST is known to hold
    again: tuple[str, ...] = ()  # of these, what it does not hold as it was left: it comes again
    unfinished: bool = False  # a run has broken off, and is to be gone on with there


def move_source(old: Job, new: Job, reporter: Reporter, stop: Stop) -> Moved:
    """From now on the job's SRC is ``new``'s, where most of what was sent is found.

    Raises Refused where it is not, where a job from there is known already, or nothing is known of this one;
    Locked; what reaching DEST raises, if the state lies there.
    """
    with _held(old, new, reporter, stop) as (this, known, leftover):
        shown = known if leftover is None else fold(known, leftover.outcomes, {}, leftover.trusted_ns)
        with this.phase("scan"), Source(os.path.realpath(new.source), new.options.links) as source:
            found = agree(shown, source)
        if not found.agrees:
            what = "nothing to compare with" if not found.entries else show_some(found.missing)
            raise Refused(
                f"{new.source!r} does not hold what was sent from {known.source!r}: of the "
                f"{found.entries:,} files and links that are known, half or more are not there, or hold "
                f"something else ({what}). Nothing was done. If it is another folder, it is another job: "
                "'reconcile run'."
            )
        _keep(this, old, new, replace(known, source=new.source))
        return Moved(new.state, sum(1 for _ in known.walk()), unfinished=leftover is not None)


def move_target(old: Job, new: Job, reporter: Reporter, stop: Stop) -> Moved:
    """From now on the job's DEST is ``new``'s, which has its mark, and most of what was sent.

    What DEST does not show as it was left is known no more, and comes again. Raises as ``move_source``, and
    what reaching the new DEST raises.
    """
    with _held(old, new, reporter, stop) as (this, known, leftover):
        with this.phase("connect"):
            this.remote.open()
        with this.phase("survey"):
            marks = _find_marks(this, old, new, known, leftover)
            moved, again = _look_there(this, new, known, leftover, marks)
        _keep(this, old, new, replace(moved, target=str(new.target)))
        count = sum(1 for _ in known.walk())
        return Moved(new.state, count, again, unfinished=leftover is not None)


@contextmanager
def _held(
    old: Job, new: Job, reporter: Reporter, stop: Stop
) -> Iterator[tuple[Held, DirectorySnapshot, Leftover | None]]:
    """Both under lock, what is known of the old one, and what a run has left that broke off."""
    with ExitStack() as stack:
        for folder in dict.fromkeys((old.state, new.state)):
            stack.enter_context(hold_lock(folder, new.options.wait))
            check_folder(folder)
        state = new.state if new.shared else old.state
        this = stack.enter_context(hold(replace(new, state=state), reporter, None, stop, keeps=new.shared))
        if this.shared is not None:
            this.shared.moved_from = str(old.target)
            with this.phase("connect"):
                this.remote.open()
            this.shared.fetch(repair=False)
        known, state = _recall(this, old, new)
        leftover = left_open(state, known)
        if leftover is not None and this.shared is not None:
            raise Refused(
                "A run of this job broke off, and what became of it is to be found out first. Nothing was "
                "done. 'reconcile run' does that."
            )
        yield this, known, leftover


def _recall(this: Held, old: Job, new: Job) -> tuple[DirectorySnapshot, str]:
    """What is known of the job, and the folder where that is: the new one, if this has broken off before.

    Raises Refused where nothing is, and where the new one is another job's.
    """
    if this.shared is not None:
        known = recall(replace(this.job, formerly=old.source))
        if known is not None and (here := read_copy(old.state)) is not None:
            known = with_stamps_of(known, here)
        there = None
    else:
        known = recall(old)
        there = recall(new) if new.state != old.state else None
    if there is not None and (known is None or known.lineage == there.lineage):
        return there, new.state
    if known is None:
        raise Refused(
            f"Nothing is known of what was sent from {old.source!r} to {old.dest!r}, so there is nothing to "
            "move. Nothing was done. Name SRC and DEST as they were, or run with --adopt-existing, which "
            "finds what DEST holds already."
        )
    if there is not None:
        raise Refused(
            f"There is a job from {there.source!r} to {there.target!r} already, and it is not this one. "
            "Nothing was done. Let go of one of them with 'reconcile forget'."
        )
    return known, new.state if this.shared is not None else old.state


def _find_marks(
    this: Held, old: Job, new: Job, known: DirectorySnapshot, leftover: Leftover | None
) -> tuple[str, ...]:
    """Our mark at the new DEST, if it is of another age than what is known. Raises Refused: there is none."""
    stale: tuple[str, ...] = ()
    try:
        this.remote.check(footing_of(replace(this.job, state=old.state), known, leftover))
    except Stale as error:
        this.reporter.warn(f"{error.why}; what DEST shows counts")
        stale = error.marks
    except Refused:  # it is empty, or the mark is not there
        pass
    if not this.remote.marks:
        raise Refused(
            f"{new.dest!r} is not where this job's DEST went: the mark that the job leaves in our folder is "
            f"not in {this.remote.workdir!r}. Nothing was done. If .reconcile stayed behind when DEST was "
            "moved or copied, bring it along and do this again; or run with --adopt-existing, which compares "
            "what is there and sends what differs."
        )
    return stale


def _look_there(
    this: Held,
    new: Job,
    known: DirectorySnapshot,
    leftover: Leftover | None,
    marks: tuple[str, ...],
) -> tuple[DirectorySnapshot, tuple[str, ...]]:
    """What holds of the snapshot at the new DEST, and what does not. Raises Refused where that is most.

    What a run has left open is for the next one to find out: then all stays as it is known.
    """
    shown, is_open = known, frozenset[str]()
    if leftover is not None:
        shown = fold(known, leftover.outcomes, {}, leftover.trusted_ns)
        is_open = frozenset(path for action in leftover.actions for path in touched(action))
    there = look_at_all(shown, this.remote)
    findings = compare(shown, there, this.remote, this.job.options.keeps_mode)
    wrong = [each for each in findings if each.fault in _SHOWS and not within(each.path, is_open)]
    _refuse_most(new, wrong, sum(1 for _, entry in shown.walk() if not (entry.retained or entry.foreign)))
    again = tuple(each.path for each in wrong if each.fault is not Fault.UNSEEN)
    if leftover is not None:
        if again:
            this.reporter.warn(
                f"not as it was left: {show_some(again)}; run with --refresh, which brings that again"
            )
        return known, ()
    effects = drifted(known, there, this.remote, this.job.options)
    if effects or marks:
        serial = max(known.serial, *map(serial_of, marks or known.marks or (BEFORE,))) + 1
        folded = fold(known, [], effects, known.taken_ns)
        known = replace(folded, serial=serial, settled="", marks=marks or known.marks)
    return known, again


def _refuse_most(new: Job, wrong: list[Finding], total: int) -> None:
    count = sum(each.entries for each in wrong)
    if 2 * count >= total > 0 and count:
        paths = show_some([each.path for each in wrong])
        raise Refused(
            f"{new.dest!r} has this job's mark, and not what was sent: of {total:,} entries {count:,} are "
            f"missing or not as they were left ({paths}). Nothing was done. If DEST was copied without its "
            "times, run with --adopt-existing, which compares what files hold; if it is only a part, "
            "complete it and do this again."
        )


def _keep(this: Held, old: Job, new: Job, snapshot: DirectorySnapshot) -> None:
    """Save it under the new name, with all else that is remembered, and let go of the old one."""
    if this.shared is not None:
        this.take_turn(snapshot.lineage)
    if new.state != old.state and (this.shared is not None or not has_snapshot(new.state)):
        copy_rest(old.state, new.state, () if old.target == new.target else _OF_THE_SERVER)
    if this.shared is not None:
        this.keep(snapshot)
    else:
        save_snapshot(new.state, snapshot)
    if new.state != old.state:
        let_go(old.state)
