"""What is to be done: diff, plan and guard. Nothing is done yet."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec.structs import replace

from reconcile.core import plan as planning
from reconcile.core.chosen import at_or_below, find_former, find_young, note_young
from reconcile.core.diff import diff, fill, infer, unread
from reconcile.core.errors import Refused, UsageError
from reconcile.core.guard import count_rehashed, guard, guard_name, tell_gone
from reconcile.core.hidden import tell_newly_excluded
from reconcile.core.job import Options, Since
from reconcile.core.model import Change, DirectorySnapshot, Op, Plan, Problem, Reason, Stage
from reconcile.core.paths import lookup, within
from reconcile.phases.held import Held
from reconcile.source.doubt import leave_alone, moved_meanwhile
from reconcile.source.files import read_contents
from reconcile.state.device import is_other_device
from reconcile.state.overdue import read_overdue
from reconcile.state.place import find_others, is_elsewhere
from reconcile.state.trouble import describe_failing, recall_failing


def decide(run: Held, first: DirectorySnapshot, spent: int | None = None) -> Plan:
    """Diff the snapshot with the scan, plan, guard.

    ``first`` is what the run began with, ``spent`` how many entries it has deleted since.
    """
    options = run.job.options
    changes = _find_changes(run)
    if any(_is_sure(change, options) for change in changes):
        run.remote.open_soon()
    with run.phase("hash"):
        wanted = unread(changes, all_of_it=run.job.exact)
        contents, problems = read_contents(run.source, wanted)
    with run.phase("diff"):
        changes = infer(fill(changes, contents, {problem.path for problem in problems}), options)
        moves, careful = not run.tally.immovable, not run.filter.empty
        plan = planning.make_plan(
            run.old, run.found, changes, options, problems, caps=run.caps, moves=moves, careful=careful
        )
        if run.job.reviewed is not None:
            from reconcile.core.reviewed import check_same

            check_same(run.job.reviewed.actions, plan)
        if is_elsewhere(run.job, run.old):
            guard_name(plan, run.old, run.job, changes)
        other_device = is_other_device(run.job.state, run.job.source)
        overdue = read_overdue(run.job.state)
        try:
            guard(plan, first, run.found, options, other_device=other_device, overdue=overdue, spent=spent)
        except Refused:
            if spent is None:
                run.reporter.refused(plan)
            raise
    if (gone := tell_gone(plan, run.old, run.found)) is not None:
        run.reporter.warn(gone)
    if (hidden := tell_newly_excluded(plan, run.old, mirror=options.mirror)) is not None:
        run.reporter.warn(hidden)
    if not run.old.serial and not options.adopt_existing:
        from reconcile.apply.adopt import check_blank  # late: only a first run needs it

        run.connect()  # which was under way beside all this
        with run.phase("survey"):
            others = [place.source for place in find_others(os.path.dirname(run.job.state), run.job.target)]
            names = [] if run.shared is None else run.shared.find_others()
            check_blank(run.job, run.remote, others, names)
    for directory in run.found.dirs.values():
        directory.forget()
    return plan


def decide_again(run: Held, first: DirectorySnapshot) -> Plan | None:
    """Once more, with what is known by now: what failed may go well. None: the guard is against it."""
    done = sum(action.entries for action in run.tally.done if action.op is Op.DELETE)
    done -= count_rehashed(run.tally.done)
    try:
        plan = decide(run, first, done)
    except Refused as refused:
        run.tally.problems.append(Problem("", Stage.PLAN, Reason.FAILED, str(refused)))
        return None
    run.tally.problems.clear()
    run.tally.undeleted.clear()
    return plan


def _find_changes(run: Held) -> list[Change]:
    """What differs, but for what can't be told; the first time that is looked at again."""
    options = run.job.options
    with run.phase("diff"):
        differing = diff(run.old, run.found, run.filter, options)
        changes = _choose(run, differing)
        if run.undone.paths:
            from reconcile.phases.done import leave_undone  # late: most jobs hold nothing

            changes = leave_undone(run, changes, differing)
        changes = infer(changes, options)
        if not run.looked_again:
            run.looked_again = True
            doubts = moved_meanwhile(changes, run.found, run.filter, run.source)
            run.found = leave_alone(run.found, doubts)
            if unknown := run.found.unknown:
                changes = [change for change in changes if not within(change.path, unknown)]
    return changes


def _choose(run: Held, changes: Sequence[Change]) -> Sequence[Change]:
    """Those that are for this run."""
    if run.job.reviewed is not None:
        from reconcile.core.reviewed import leave_others

        return leave_others(changes, run.job.reviewed.actions)
    only, min_age = run.job.options.only, run.job.options.min_age
    if only:
        for path in only:
            if lookup(run.old.dirs, path) is None and lookup(run.found.dirs, path) is None:
                raise UsageError(
                    f"--only: {path!r} is not in SRC, or left out, and not known to be on DEST. Nothing was "
                    "done. Write the path as it is from SRC on."
                )
        changes = at_or_below(changes, only)
    if min_age is not None and not run.looked_again:
        young = find_young(changes, min_age, run.found.started_ns)
        former = find_former(changes, young)
        notes = (*run.found.notes, *note_young(young, former))
        run.found = replace(run.found, notes=notes, unknown=run.found.unknown | young.keys())
        run.waiting = frozenset(former)
    return [change for change in changes if change.path not in run.waiting]


def _is_sure(change: Change, options: Options) -> bool:
    """Whether it takes a connection whatever reading the files will show."""
    old, new = change.old, change.new
    if old is None or new is None:
        return old is None or options.mirror
    return (old.kind, old.size) != (new.kind, new.size)


def foresee_failing(run: Held, plan: Plan) -> dict[str, Since]:
    """What failed in the last run: said, if it is to be done again, and counted for what fails now."""
    failing = recall_failing(run.job.state)
    planned = {action.subject for action in plan.actions}
    again = {path: since for (path, _), since in failing.items() if path in planned}
    if again:
        run.reporter.say(describe_failing(again))
    return {path: since for (path, _), since in failing.items()}
