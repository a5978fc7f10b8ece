"""What a run has done is taken back on DEST, and later runs leave it so. Nothing of SRC is read or sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial as bind

from msgspec.structs import replace

from reconcile.core.done import Done, merge
from reconcile.core.errors import ReconcileError, Refused, UsageError
from reconcile.core.guard import guard
from reconcile.core.job import Job, Reporter, Result, Stop
from reconcile.core.model import Op, Plan, Publish, Scan
from reconcile.core.paths import basename
from reconcile.core.undo import Item, Undo, Wish, plan_undo, wish
from reconcile.core.units import show_count, show_some
from reconcile.phases.carry_out import carry_out
from reconcile.phases.done import settle_undone
from reconcile.phases.held import Held, hold
from reconcile.phases.load import load
from reconcile.phases.look import find_filter
from reconcile.phases.recall import left_open, where_it_lies
from reconcile.phases.settle import settle
from reconcile.remotes import Binning, Remote
from reconcile.remotes.retired import SHOWN
from reconcile.source.files import Source
from reconcile.state.done import forget_done, read_done
from reconcile.state.history import Run, read_runs
from reconcile.state.lock import hold_lock
from reconcile.state.place import take_over_state
from reconcile.state.undone import Undone, keep_undone

_TRASH = (
    'What a run deletes or replaces can be had back where it goes to the trash: add trash = "30d" to the '
    "job, or --trash 30d, and the next run can be undone."
)


def undo(
    job: Job,
    reporter: Reporter,
    name: str = "",
    *,
    partial: bool = False,
    may: Callable[[Result], None] = lambda _: None,
    stop: Stop | None = None,
) -> Result:
    """Have DEST as it was before a run: the last one that has changed anything, or that of this ``name``.

    ``may`` is shown what would be done, and raises what is to prevent that. ``partial``: also if something
    can't come back. Raises what ``run`` does; Refused, too, where what the run has deleted or replaced is
    gone, and UsageError for a name that none has.
    """
    job = take_over_state(settle(_as_undone(job), reporter))
    with (
        hold_lock(job.state, job.options.wait),
        hold(job, reporter, None, stop or Stop(), keeps=True) as this,
    ):
        plan, known, runs = _decide(this, name, repair=True, partial=partial)
        may(this.result("plan", plan, plan.problems))
        with _held_back(this, known, runs):
            _carry_out(this, plan)
        if not this.tally.problems:
            forget_done(this.job.state, [each.serial for each in runs])
        return this.result("run", plan, [*plan.problems, *this.tally.problems, *this.cleanup])


def _carry_out(run: Held, plan: Plan) -> None:
    if plan.empty and run.shared is None:
        run.undone = replace(run.undone, since=-1)  # it begins nothing
        settle_undone(run)
        return
    if plan.empty and run.shared is not None:
        run.shared.is_news = True  # what is held from now on
    carry_out(run, plan)


def plan_to_undo(
    job: Job, reporter: Reporter, name: str = "", *, partial: bool = False, stop: Stop | None = None
) -> Result:
    """What ``undo`` would do. Changes nothing, here or there. Raises the same."""
    job = where_it_lies(_as_undone(job))
    with hold(job, reporter, None, stop or Stop(), keeps=False) as this:
        plan, _, _ = _decide(this, name, repair=False, partial=partial)
        return this.result("plan", plan, plan.problems)


def _as_undone(job: Job) -> Job:
    """The job without what only a run with a source can be told. Raises UsageError."""
    if job.options.release is not None:
        raise UsageError(
            "a release is not undone: 'reconcile releases --activate' shows the one before again"
        )
    if job.options.only:
        raise UsageError(
            "undo takes back all that a run has done: leave --only out, or bring single paths back with "
            "'reconcile trash restore'. Nothing was done."
        )
    options = replace(
        job.options,
        adopt_existing=False,
        adopt_orphans=False,
        refresh=False,
        start_over=False,
        publish=Publish.EACH,
    )
    return replace(job, options=options)


def _open_nothing(run: Held) -> None:
    """SRC need not be there: nothing is sent, and what is found there is no matter."""
    here = os.path.realpath(run.job.source)
    is_there = os.path.isdir(here)
    run._source = run.stack.enter_context(Source(here if is_there else run.job.state))
    run.filter = find_filter(run.job) if is_there else run.filter


def _choose(run: Held, name: str) -> list[Done]:
    """What is to be undone, the earliest first. Raises Refused, or UsageError."""
    if not run.old.serial:
        raise Refused("No run of this job is known that has changed anything. Nothing was done.")
    known = [each for each in read_done(run.job.state) if each.serial <= run.old.serial]
    ended = read_runs(run.job.state)
    if name:
        chosen = _find_called(run, known, ended, name)
    elif chosen := [each for each in known if each.serial in run.undone.undoing]:
        run.reporter.say("an undo has not come to its end: it goes on. To undo another run, name it")
    else:
        chosen = known[:1]
    if not chosen:
        raise Refused(_tell_lost(name, ended))
    # A run may have come to its end in several steps: what one that broke off had done, a second pass.
    steps = [each for each in reversed(known) if each.began_ns == chosen[0].began_ns]
    if any(each.is_lost for each in steps):
        raise Refused(_tell_lost(name, ended))
    return steps


def _find_called(run: Held, known: Sequence[Done], ended: Sequence[Run], name: str) -> list[Done]:
    """What the run of this number in the history has done, or of this name in the trash."""
    numbered = [each for each in ended if name == str(each.n)]
    if numbered:
        (first, last), lineage = numbered[-1].serials, numbered[-1].of
        return [each for each in known if first < each.serial <= last and lineage in ("", run.old.lineage)]
    start = name.rpartition("-")[2] if name.count("-") == 2 else ""
    chosen = [each for each in known if len(start) == SHOWN and each.run.startswith(start)]
    if len({each.began_ns for each in chosen}) > 1:
        raise UsageError(f"several runs are called {name!r}: name it by its number in 'reconcile history'")
    if not chosen:
        raise UsageError(
            f"no run {name!r} is known: 'reconcile history' shows their numbers, 'reconcile trash ls' "
            "the names of those that have something in the trash"
        )
    return chosen


def _tell_lost(name: str, ended: Sequence[Run]) -> str:
    """Why there is no way back, and what there will be."""
    called = [each for each in ended if name == str(each.n)]
    if called and called[-1].undid:
        return (
            f"Run {name} has itself taken back what another had done; 'reconcile run --again' brings that "
            "forward. Nothing was done."
        )
    if called and not called[-1].counts:
        return f"Run {name} has changed nothing. Nothing was done."
    acted = [each for each in ended if each.counts]
    if not name and acted and acted[-1].undid:
        return "What could be undone has been undone. Nothing was done."
    changed = called or acted
    gone = []
    for each in changed[-1:]:
        for op, deed in ((Op.DELETE, "deleted"), (Op.MODIFY, "replaced")):
            if count := each.entries.get(op) or each.counts.get(op):
                gone.append(f"{count:,} {deed}")
    what = f" ({' and '.join(gone)})" if gone else ""
    undone = ", or it was undone already" if called else ""
    return (
        f"{'That' if name else 'The last'} run can't be undone: it is not kept what was there "
        f"before{what}{undone}. Nothing was done. {_TRASH}"
    )


def _decide(run: Held, name: str, *, repair: bool, partial: bool) -> tuple[Plan, Wish, Sequence[Done]]:
    """What is to be done, what of it is to stay, and what it undoes. Raises Refused."""
    run.undoes = True
    run.found = Scan({}, time.time_ns(), 0)  # what is learned of a run that broke off is of now
    _open_nothing(run)
    run.old = load(run, repair=repair)
    if run.recovered:
        run.cleanup = list(run.remote.end())  # so that what that has deleted or replaced is found
    runs = _choose(run, name)
    options = run.job.options
    run.found = Scan(run.old.dirs, runs[-1].began_ns, 0)
    changes = merge(runs)
    retired = {path: entry for each in runs for path, entry in each.retired.items()}
    goes_on = any(each.serial in run.undone.undoing for each in runs)
    begun = run.undone.paths if goes_on else {}
    known, trash = wish(run.old, changes, begun=begun), list[Item]()
    lineage, parts = run.old.lineage, list[tuple[str, bool]]()
    if known.content:
        run.connect()
        with run.phase("survey"):
            others = read_done(run.job.state)
            parts = run.remote.ask(lambda remote: _find_parts(remote, lineage, runs, others))

    def plan() -> Undo:
        careful = not run.filter.empty
        return plan_undo(run.old, known, trash, retired, run.remote, options, caps=run.caps, careful=careful)

    with run.phase("diff"):
        undone, lost = plan(), set[str]()
        for called, kept in parts:
            if undone.lacking:
                trash += run.remote.ask(bind(_look_into, lineage=lineage, name=called, kept=kept))
                undone = plan()
        while undone.lacking:
            if not partial:
                count, some = show_count(len(undone.lacking), "path"), show_some(undone.lacking)
                raise Refused(
                    f"{count} can't come back ({some}): what was there is not in the trash. Nothing was "
                    f"done. To undo the rest, add --partial. {_TRASH}"
                )
            lost.update(undone.lacking)
            known = wish(run.old, changes, lost, begun)
            undone = plan()
        try:
            guard(undone.plan, run.old, run.found, options, preview="reconcile undo -n")
        except Refused:
            run.reporter.refused(undone.plan)
            raise
    return undone.plan, known, runs


def _find_parts(
    remote: Remote, lineage: str, runs: Sequence[Done], known: Sequence[Done]
) -> list[tuple[str, bool]]:
    """Where in the trash it may be, in the order in which to look: by the names of runs, and whether it is
    the part that stays. First what the run itself has put there, step by step, as something else may look
    the same; then what no run is known to have put there; last what others have."""
    if not isinstance(remote, Binning):
        raise UsageError("there is no trash at a DEST of this kind")
    names = [each.run for each in runs], [each.run for each in known]
    parts: list[tuple[int, int, str, bool]] = []
    for kept in (False, True):
        bin_there = remote.bin(lineage, kept=kept)
        for age, each in enumerate(reversed(bin_there.runs())):
            folder = basename(bin_there.place_of(each.name))
            own, others = (
                next((n for n, name in enumerate(some) if name and folder.startswith(name)), None)
                for some in names
            )
            if own is not None:
                parts.append((0, own, each.name, kept))
            elif not kept:
                parts.append((1 if others is None else 2, age, each.name, kept))
    return [(name, kept) for _, _, name, kept in sorted(parts)]


def _look_into(remote: Remote, *, lineage: str, name: str, kept: bool) -> list[Item]:
    assert isinstance(remote, Binning)
    bin_there = remote.bin(lineage, kept=kept)
    top = bin_there.place_of(name)
    return [Item(f"{top}/{path}", path, seen) for path, seen in bin_there.walk(name)]


@contextmanager
def _held_back(run: Held, known: Wish, runs: Sequence[Done]) -> Iterator[None]:
    """Before anything is done: should that break off, no run brings it again. Raises ReconcileError."""
    before = run.undone
    paths = {**known.held, **before.paths}  # what SRC has is what the latest of several had brought
    run.undone = Undone(tuple(each.serial for each in runs), paths, run.old.serial)
    try:
        keep_undone(run.job.state, run.undone)
    except OSError as error:
        raise ReconcileError(
            f"What is to stay as it was can't be noted in {run.job.state!r}: {error.strerror}. Nothing was "
            "done. Make room or correct the permissions there."
        ) from error
    try:
        yield
    except BaseException:
        if not run.tally.ended and left_open(run.job.state, run.old) is None:  # nor was anything begun
            with suppress(OSError):
                keep_undone(run.job.state, before)
        raise
