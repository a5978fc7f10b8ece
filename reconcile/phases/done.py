"""What a run has done, and what of SRC it leaves alone since that was undone: remembered for ``undo``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from reconcile.core.diff import fill
from reconcile.core.done import Done, find_changes, find_retired
from reconcile.core.errors import Refused, Unreachable
from reconcile.core.held import find_settled, leave_held, unread
from reconcile.core.model import Action, Change, DirectorySnapshot
from reconcile.core.paths import within
from reconcile.core.units import show_count, show_some
from reconcile.phases.held import Held
from reconcile.remotes import Back, Binning, Remote
from reconcile.source.files import read_contents
from reconcile.state.done import forget_done, knows_any, name_of, note_done, outgrown
from reconcile.state.undone import Undone, keep_undone

MOST = 200_000  # paths that one run changes: of more it is not remembered which


def note_begun(run: Held) -> None:
    """Remember that there is a run, and what it is called at DEST: should it break off, or no more be
    written, it is not passed over."""
    if not run.undoes and (run.job.options.trash is not None or knows_any(run.job.state)):
        done = Done(run.old.serial + 1, run.called, run.found.started_ns, is_lost=True)
        try:
            note_done(run.job.state, done)
        except OSError:  # then nothing before it is the last that has changed something
            forget_done(run.job.state)


def note_changes(
    run: Held, old: DirectorySnapshot, new: DirectorySnapshot, actions: Iterable[Action]
) -> None:
    """Remember what differs on the remote from the one to the other, by ``actions``, if it can be undone.

    Nothing that the run relies on: what can't be written is told of once it is asked for.
    """
    folder, trash = run.job.state, run.job.options.trash
    if trash is None and not knows_any(folder):
        return
    with suppress(OSError):
        if not (changes := find_changes(old, new)):
            forget_done(folder, [new.serial])
        else:
            called = run.called or name_of(folder, new.serial)
            done = Done(new.serial, called, run.found.started_ns, is_lost=True)
            if trash is not None and len(changes) <= MOST:
                retired = find_retired(actions, changes)
                done = replace(done, changes=changes, retired=retired, is_lost=False)
            note_done(folder, done)
        forget_done(folder, [*outgrown(folder, trash)])


def leave_undone(run: Held, changes: Sequence[Change], differing: Sequence[Change]) -> Sequence[Change]:
    """Those that are to be made: not those that ``undo`` has taken back, as long as SRC is as it was.

    ``differing``: those that are for later runs, too.
    """
    options, held = run.job.options, run.undone.paths
    if not held or options.release_held or options.start_over:
        return changes
    contents, problems = read_contents(run.source, unread(changes, held))
    changes = fill(changes, contents, {problem.path for problem in problems})
    unsettled = {change.path for change in differing}
    settled = {path: entry for path, entry in held.items() if path not in unsettled}
    run.released |= find_settled(settled, run.old, run.found, run.filter, options)
    olds = {change.path for change in changes if change.old is not None and change.new is None}
    changes, left, released = leave_held(changes, held, options)
    run.released |= released
    run.found = replace(run.found, unknown=run.found.unknown | olds.intersection(left))  # nor do they move
    if left:
        one = len(left) == 1
        stay = "1 path stays" if one else f"{show_count(len(left), 'path')} stay"
        run.reporter.say(
            f"{stay} as 'reconcile undo' has left {'it' if one else 'them'} ({show_some(left)}), until "
            f"{'it changes' if one else 'they change'} here, or --again is given"
        )
    return changes


def recount_trash(run: Held) -> None:
    """Have the trash tell what is left in it, run by run: before it is saved that this is done, as whoever
    sees it break off asks for it once more. If it fails, it tells of more than is there."""
    came = [action for action in run.tally.ended if action.comes_back]
    if came:
        with suppress(Refused, Unreachable):
            run.remote.ask(lambda remote: _recount(remote, run.old.lineage, came))


def _recount(remote: Remote, lineage: str, came: Sequence[Action]) -> None:
    if not isinstance(remote, Binning):
        return
    for kept in (False, True):
        bin_there = remote.bin(lineage, kept=kept)
        for name in [each.name for each in bin_there.runs()]:
            top = f"{bin_there.place_of(name)}/"
            back = [
                Back(source.removeprefix(top), action.path, kind=action.kind, size=action.new.size)
                for action in came
                if (source := action.source) is not None and source.startswith(top) and action.new is not None
            ]
            if back:
                bin_there.recount(name, back)


def settle_undone(run: Held) -> None:
    """What is not held any more is forgotten; and so is, once all of it is done, that something is being
    undone."""
    options, undone = run.job.options, run.undone
    if run.undoes:
        if not run.tally.problems:
            if run.shared is not None:
                run.shared.undone = undone.undoing
            _remember(run, replace(undone, undoing=()))
        return
    goes = run.released
    if options.release_held or options.start_over:
        goes = frozenset(p for p in undone.paths if not options.only or within(p, options.only))
    if undone.paths and goes:
        paths = {path: entry for path, entry in undone.paths.items() if path not in goes}
        _remember(run, replace(undone, undoing=undone.undoing if paths else (), paths=paths))


def _remember(run: Held, undone: Undone) -> None:
    run.undone = undone
    with suppress(OSError):  # then the next run finds the same
        keep_undone(run.job.state, undone)
