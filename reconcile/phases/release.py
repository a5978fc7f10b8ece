"""What was brought becomes a release, and is shown: see ``remotes.Shelf``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress

from reconcile.core.errors import Refused, UsageError
from reconcile.core.job import Release
from reconcile.core.model import Problem, Reason, Stage
from reconcile.core.shelf import (
    CURRENT,
    NEXT,
    RELEASES,
    SHARED,
    Listed,
    expired,
    find_foreign,
    find_replaced,
    name_list,
    name_release,
    name_shown,
    newest_of,
    pack_list,
    read_list,
    stamp_of,
)
from reconcile.core.turns import NAMELESS
from reconcile.core.units import show_some
from reconcile.phases.held import Held
from reconcile.remotes import Remote, Shelf, Shelving
from reconcile.state import small

RELEASED = "released"  # in the state folder: of what DEST the last release was made


def prepare_release(run: Held) -> None:
    """Before anything is done: whether releases are to be had there. Raises Refused."""
    if run.job.options.release is not None and not _recall(run):
        run.connect()
        run.remote.ask(lambda remote: shelf_of(remote).try_out())
        run.remote.ask(lambda remote: shelf_of(remote).current())


def release(run: Held) -> list[Problem]:
    """Make a release of what DEST holds by now, and show it, unless that was done.

    Nothing is shown where something could not be brought: a problem says so. Raises Refused where the release
    that is shown holds what others have put there.
    """
    wanted, stamp = run.job.options.release, stamp_of(run.old.lineage, run.old.marks)
    if wanted is None or _recall(run) == stamp:
        return []
    if (failed := len(run.tally.problems)) and not run.job.options.publish_partial:
        total = failed + len(run.tally.done)
        said = f"nothing released: {failed:,} of {total:,} failed; {CURRENT} is as it was"
        return [Problem(run.tally.problems[0].path, Stage.APPLY, Reason.FAILED, said)]
    run.connect()
    with run.phase("release"):
        now = run.remote.ask(lambda remote: shelf_of(remote).current())
        listed = read_list(run.remote.store.get(name_list(_job(run), now))) if now is not None else None
        if (listed is None or listed.stamp != stamp) and not _was_shown(run, now, stamp):
            run.take_turn(run.old.lineage)
            run.remote.ask(lambda remote: shelf_of(remote).try_out())
            if now is not None and not wanted.leave_foreign:
                _refuse_foreign(run, now, listed, wanted)
            name = _make(run, stamp, wanted)
            run.remote.ask(lambda remote: shelf_of(remote).switch(name))
            run.remote.store.claim(name_shown(_job(run), name))
            before = f", before to {now}" if now is not None else ""
            run.reporter.say(f"released: {CURRENT} leads to {RELEASES}/{name}{before}")
            _forget_old(run, name, wanted)
    with suppress(OSError):  # then the next run looks once more
        small.remember(run.job.state, RELEASED, stamp)
    return []


def _job(run: Held) -> str:
    return run.job.name or NAMELESS


def _recall(run: Held) -> object:
    """Of which DEST the last release was made, as far as is known here."""
    try:
        return small.recall(run.job.state, RELEASED)
    except ValueError:
        return None


def shelf_of(remote: Remote) -> Shelf:
    """Raises UsageError where there is none."""
    if not isinstance(remote, Shelving):
        raise UsageError("--publish release means nothing where DEST has no links; leave it out")
    return remote.shelf


def _was_shown(run: Held, now: str | None, stamp: str) -> bool:
    """Whether what DEST holds was shown before, and somebody has gone back to ``now`` since: that stays."""
    names = run.remote.store.names() if now is not None else []
    last = newest_of(names, _job(run))
    if last is None or last == now or name_shown(_job(run), last) not in names:
        return False
    listed = read_list(run.remote.store.get(name_list(_job(run), last)))
    if listed is None or listed.stamp != stamp:
        return False
    run.reporter.say(
        f"{CURRENT} leads to {RELEASES}/{now}, to which somebody has gone back from {last}; there is nothing "
        "new to be shown"
    )
    return True


def _make(run: Held, stamp: str, wanted: Release) -> str:
    """A new release, which nobody sees yet."""
    before = run.remote.ask(lambda remote: shelf_of(remote).ids())
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    name = name_release(moment, os.urandom(2).hex(), before)
    looks = run.remote.ask(lambda remote: shelf_of(remote).make(name, wanted.shared))
    run.remote.store.put_new(name_list(_job(run), name), pack_list(stamp, looks))
    run.remote.ask(lambda remote: shelf_of(remote).ready(name))
    return name


def _refuse_foreign(run: Held, now: str, listed: Listed | None, wanted: Release) -> None:
    """Raises Refused where the release that is shown has what would be seen no more."""
    if listed is None:
        raise Refused(
            f"What of {RELEASES}/{now} is not ours is not known: its list is gone. {CURRENT} is as it was. "
            "Look there for what the site has written, and run with --leave-foreign."
        )
    if foreign := _find_foreign(run, now, listed, wanted):
        raise Refused(
            f"{RELEASES}/{now}, which is shown now, holds what we did not put there: {show_some(foreign)}. "
            f"{CURRENT} is as it was. Move what the site writes to {SHARED}/, at the same path, and name "
            "it by --shared PATH; or leave it behind with --leave-foreign."
        )


def _forget_old(run: Held, now: str, wanted: Release) -> None:
    """Let go of the releases that are too many, but of none that holds what is not ours."""
    ids = run.remote.ask(lambda remote: shelf_of(remote).ids())
    for name in expired(ids, now, wanted.keep):
        listed = read_list(run.remote.store.get(name_list(_job(run), name)))
        if listed is None:
            continue  # another job's, or nobody knows
        if foreign := _find_foreign(run, name, listed, wanted):
            run.reporter.say(f"{RELEASES}/{name} stays: it holds what is not ours, {show_some(foreign)}")
        else:
            _drop(run, name)
    run.remote.ask(lambda remote: shelf_of(remote).tidy())


def _find_foreign(run: Held, name: str, listed: Listed, wanted: Release) -> list[str]:
    """What others have put into a release. What they have written into a file that ``next`` has, too, as it
    has a second name there, goes along."""
    there = _holds(run, name)
    if replaced := find_replaced(there, listed.looks):
        to_come = _holds(run, NEXT)
        replaced = [path for path in replaced if there[path] != to_come.get(path)]
    return find_foreign(there, listed.looks, wanted.shared, replaced)


def _holds(run: Held, name: str) -> Mapping[str, str]:
    return run.remote.ask(lambda remote: shelf_of(remote).holds(name))


def _drop(run: Held, name: str) -> None:
    run.remote.ask(lambda remote: shelf_of(remote).drop(name))
    run.remote.store.drop_all([name_list(_job(run), name), name_shown(_job(run), name)])
