"""What a run has done is taken back on DEST, and later runs leave it so. Nothing of SRC is read or sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from msgspec.structs import replace

from reconcile.core.errors import ReconcileError, Refused, UsageError
from reconcile.core.guard import guard
from reconcile.core.job import Job, Reporter, Result, Stop
from reconcile.core.model import Action, Op, Plan, Publish, Scan
from reconcile.core.observe import matches
from reconcile.core.undo import Done, Item, Undo, Wish, merge, plan_undo, wish
from reconcile.core.units import show_count, show_some
from reconcile.phases.carry_out import carry_out
from reconcile.phases.done import settle_undone
from reconcile.phases.held import Held, hold
from reconcile.phases.load import load
from reconcile.phases.look import find_filter
from reconcile.phases.recall import where_it_lies
from reconcile.phases.settle import settle
from reconcile.remotes import Back, Binning, Remote
from reconcile.source.files import Source
from reconcile.state.done import read_done
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
        _hold_back(this, known, runs)
        if plan.empty:
            settle_undone(this)
        else:
            carry_out(this, plan)
            with suppress(ReconcileError):  # all is done; it may tell of more in the trash than is left there
                this.remote.ask(lambda remote: _recount(remote, this.old.lineage, this.tally.ended))
        return this.result("run", plan, [*plan.problems, *this.tally.problems, *this.cleanup])


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
    options = replace(
        job.options, adopt_existing=False, refresh=False, start_over=False, publish=Publish.EACH
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
    known = read_done(run.job.state)
    ended = read_runs(run.job.state)
    if name:
        chosen = [each for each in known if _is_called(each, name, ended)]
        if not chosen and not any(_is_number(each, name) for each in ended):
            raise UsageError(
                f"no run {name!r} is known: 'reconcile history' shows their numbers, 'reconcile trash ls' "
                "the names of those that have something in the trash"
            )
    else:
        chosen = [each for each in known if each.serial in run.undone.undoing] or known[:1]
    if not chosen or chosen[0].is_lost:
        raise Refused(_tell_lost(name, ended))
    # A run may have come to its end in several steps: what one that broke off had done, a second pass.
    last = chosen[0]
    return [each for each in reversed(known) if each.began_ns == last.began_ns and not each.is_lost]


def _is_number(run: Run, name: str) -> bool:
    return name == str(run.n)


def _is_called(done: Done, name: str, ended: Sequence[Run]) -> bool:
    """Whether it is the run of this number in the history, or of this name in the trash."""
    began = done.began_ns / 1e9
    if any(_is_number(run, name) and -1 < began - run.began < run.seconds + 1 for run in ended):
        return True
    return name.count("-") == 2 and done.run.startswith(name.rpartition("-")[2])


def _tell_lost(name: str, ended: Sequence[Run]) -> str:
    """Why there is no way back, and what there will be."""
    changed = [
        each for each in ended if each.counts and not each.undid and (not name or _is_number(each, name))
    ]
    gone = []
    for each in changed[-1:]:
        for op, deed in ((Op.DELETE, "deleted"), (Op.MODIFY, "replaced")):
            if count := each.entries.get(op) or each.counts.get(op):
                gone.append(f"{count:,} {deed}")
    what = f" ({' and '.join(gone)})" if gone else ""
    return (
        f"{'That' if name else 'The last'} run can't be undone: it is not kept what was there before{what}. "
        f"Nothing was done. {_TRASH}"
    )


def _decide(run: Held, name: str, *, repair: bool, partial: bool) -> tuple[Plan, Wish, Sequence[Done]]:
    """What is to be done, what of it is to stay, and what it undoes. Raises Refused."""
    run.undoes = True
    _open_nothing(run)
    run.old = load(run, repair=repair)
    runs = _choose(run, name)
    options = run.job.options
    run.found = Scan(run.old.dirs, runs[-1].began_ns, 0)
    changes = merge(runs)
    retired = {path: entry for each in runs for path, entry in each.retired.items()}
    goes_on = any(each.serial in run.undone.undoing for each in runs)
    begun = run.undone.paths if goes_on else {}
    known, trash = wish(run.old, changes, begun=begun), list[Item]()
    if known.content:
        run.connect()
        with run.phase("survey"):
            trash = run.remote.ask(lambda remote: [*_look_into_trash(remote, run.old.lineage, known)])

    def plan() -> Undo:
        careful = not run.filter.empty
        return plan_undo(run.old, known, trash, retired, run.remote, options, caps=run.caps, careful=careful)

    with run.phase("diff"):
        undone, lost = plan(), set[str]()
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
            guard(undone.plan, run.old, run.found, options)
        except Refused:
            run.reporter.refused(undone.plan)
            raise
    return undone.plan, known, runs


def _look_into_trash(remote: Remote, lineage: str, known: Wish) -> Iterator[Item]:
    """What the latest runs have there: so many of them as it takes to find what is wanted."""
    if not isinstance(remote, Binning):
        raise UsageError("there is no trash at a DEST of this kind")
    wanted = known.content
    bin_there = remote.bin(lineage)
    for each in reversed(bin_there.runs()):
        top = bin_there.place_of(each.name)
        for path, seen in bin_there.walk(each.name):
            yield Item(f"{top}/{path}", path, seen)
            if path in wanted and matches(seen, wanted[path], remote):
                del wanted[path]
        if not wanted:
            return


def _recount(remote: Remote, lineage: str, done: Sequence[Action]) -> None:
    """Have the trash tell what is left in it, run by run."""
    came = [action for action in done if action.comes_back]
    if not came or not isinstance(remote, Binning):
        return
    bin_there = remote.bin(lineage)
    for name in [each.name for each in bin_there.runs()]:
        top = f"{bin_there.place_of(name)}/"
        back = [
            Back(source.removeprefix(top), action.path, kind=action.kind, size=action.new.size)
            for action in came
            if (source := action.source) is not None and source.startswith(top) and action.new is not None
        ]
        if back:
            bin_there.recount(name, back)


def _hold_back(run: Held, known: Wish, runs: Sequence[Done]) -> None:
    """Before anything is done: should that break off, no run brings it again. Raises ReconcileError."""
    paths = {**known.held, **run.undone.paths}  # what SRC has is what the latest of several had brought
    run.undone = Undone(tuple(each.serial for each in runs), paths)
    try:
        keep_undone(run.job.state, run.undone)
    except OSError as error:
        raise ReconcileError(
            f"What is to stay as it was can't be noted in {run.job.state!r}: {error.strerror}. Nothing was "
            "done. Make room or correct the permissions there."
        ) from error
