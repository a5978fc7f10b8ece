"""What changes a path that stands: modes and times, moves.

What may live here: recipes that send no content. Each looks at what it touches
before, and at what is in the way.
"""

from __future__ import annotations

import os

from msgspec.structs import replace

from reconcile.core.job import OnDrift
from reconcile.core.model import (
    PERMISSIONS,
    UNKNOWN_MODE,
    Action,
    Entry,
    Kind,
    Outcome,
    Problem,
    Reason,
    unkept,
)
from reconcile.remotes.tree.carry import (
    Pieces,
    is_careful,
    left_behind,
    look_inside,
    move_apart,
    note_staying,
)
from reconcile.remotes.tree.drift import NO_REPLACE, Way, clear, keep, meet
from reconcile.remotes.tree.failure import explain, not_sent
from reconcile.remotes.tree.link import intended, look, make_room, matches, rename
from reconcile.remotes.tree.parents import blocked, meet_link
from reconcile.remotes.tree.refusal import why_not_moved
from reconcile.remotes.tree.site import (
    PARKING,
    SPECIAL_BITS,
    Site,
    absent,
    act,
    describe,
    drift,
    kind_of,
    problem,
    wire_time,
)
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Code, Remove, Replace, Set, SetLink, Status

_OTHERS = "modes and times of what others own on the server are not ours to set: left as they are"
_LEAVE_OUT = "if the server can't at all, --perms ignore and --times ignore leave them out"


def set_meta(site: Site, action: Action) -> Recipe[Outcome]:
    """Change mode and/or time of a file, or the mode of a directory."""
    new, old = action.new, action.old
    assert new is not None
    path = site.at(action.path)
    there = yield from look(site, path)
    if not isinstance(there, Attrs):
        failed = yield from explain(site, action.path, "change mode or time", there)
        return Outcome(action, {action.path: None} if absent(there) else {}, failed)
    if new.kind is Kind.DIR and kind_of(there) is Kind.SYMLINK:
        return blocked(site, action, (yield from meet_link(site, action.path)))
    is_known = (yield from matches(site, path, there, old or new)) or (
        yield from intended(site, path, there, new)
    )
    if not is_known:
        outcome = drift(action, describe(there, old or new))
        if site.options.on_drift is OnDrift.SKIP:
            return outcome
        # What is not ours can't be mended by mode and time: dropped, it is brought anew.
        return replace(outcome, effects={action.path: None})
    entry, failed_ = yield from _set(site, action.path, there, old, new)
    if failed_ is not None:
        return Outcome(action, problem=failed_)
    return Outcome(action, {action.path: entry})


def _set(
    site: Site, path: str, there: Attrs, old: Entry | None, new: Entry
) -> Recipe[tuple[Entry, Problem | None]]:
    """Set what differs between ``old`` and ``new``; returns what is true then.

    What the server does not keep is not asked for again: its wish stays the same.
    """
    if new.kind is Kind.SYMLINK:
        return new, None
    mode, mtime = _to_set(site, there, old, new)
    seen = there
    if mode is not None or mtime is not None:
        full = None if mode is None else mode | there.mode & SPECIAL_BITS
        status = yield from _set_attributes(site, site.at(path), full, mtime)
        is_others = status.code == Code.DENIED and site.user not in (None, there.uid)
        if status is not OK and not is_others:
            failed = yield from explain(site, path, "change mode or time", status)
            return new, replace(failed, message=f"{failed.message}; {_LEAVE_OUT}")
        if is_others:
            site.say_once(f"{_OTHERS} ({path!r}, for one)", _OTHERS)
        is_timed = mtime is not None and site.caps.times
        seen = there if mtime is None or not is_timed else replace(there, mtime=site.quirks.shown(mtime))
        seen = seen if full is None else replace(seen, mode=full)
        if site.reads_back() or is_others:
            looked = yield from look(site, site.at(path))
            if not isinstance(looked, Attrs):
                return new, (yield from explain(site, path, "look at what was changed", looked))
            as_set = site.as_set(mode if site.caps.modes else None, looked)
            as_timed = not is_timed or site.time_of(new) is None or looked.mtime == seen.mtime
            if not is_others and not (as_set and as_timed):
                site.doubt()
            seen = looked
    kept = site.as_set(mode if site.caps.modes else None, seen)
    claimed = site.mode_claimed(new) if kept else unkept(new.mode)
    if mode is None and old is not None and old.mode < UNKNOWN_MODE and old.wished_mode == new.mode:
        claimed = old.mode
    if new.kind is Kind.DIR:
        return replace(new, mode=claimed), None
    digest = new.digest or (old.digest if old is not None else None)
    return site.recorded(new, seen.mtime, digest, claimed), None


def _to_set(site: Site, there: Attrs, old: Entry | None, new: Entry) -> tuple[int | None, int | None]:
    """The mode and the time that are to be asked for; None: is as it should be, or as it was left."""
    mode = site.mode_for(new)
    mtime = wire_time(new) if new.kind is Kind.FILE and site.sends_times else None
    if mode == there.mode & PERMISSIONS or (old is not None and old.wished_mode == new.mode):
        mode = None
    if mtime is not None and (
        site.quirks.shown(mtime) == there.mtime or (old is not None and old.mtime == new.mtime)
    ):
        mtime = None
    return mode, mtime


def _set_attributes(site: Site, path: bytes, mode: int | None, mtime: int | None) -> Recipe[Status]:
    """Both in one request; where that is refused, each alone. What the server can't do is done without."""
    if SetLink in site.can:
        status = yield from act(SetLink(path, mode, mtime))
        if status is OK:
            return status
    # RACE: SETSTAT follows a link that was put here since we looked.
    status = yield from act(Set(path, mode, mtime))
    if status is not OK and mode is not None and mtime is not None:
        status = yield from _set_attributes(site, path, None, mtime)
        return status if status is not OK else (yield from _set_attributes(site, path, mode, None))
    if status.code == Code.UNSUPPORTED:
        site.lose(modes=mode is not None, times=mtime is not None)
        return OK
    return status


def move(site: Site, action: Action) -> Recipe[Outcome]:
    """Rename a file, link or whole directory; to its parking place, too, and from there."""
    new, moved, origin = action.new, action.moved, action.source
    assert new is not None
    assert moved is not None
    assert origin is not None
    if action.parks and PARKING not in site.parts:
        return Outcome(action, problem=not_sent(site, action.subject))
    source, target = site.at(origin), site.at(action.path)
    here, there = yield [look(site, source), look(site, target)]
    if isinstance(here, Status):
        return (yield from _move_of_nothing(site, action, here, there))
    if not (yield from matches(site, source, here, moved)):
        text = f"{_known_as(action)!r}, to be renamed, is not what we put on the remote; left alone"
        drifted = problem(action.subject, Reason.DRIFT, text)
        return Outcome(action, _no_more_ours(action, origin, moved), drifted, _note_staying(site, action))
    pieces = yield from look_inside(site, action, source, there)
    if isinstance(pieces, Problem):
        return Outcome(action, problem=pieces)
    if pieces is not None and isinstance(there, Attrs) and kind_of(there) is Kind.DIR:
        return (yield from _move_apart(site, action, pieces, source, here))
    way = yield from _way_to_move(site, action, there)
    if isinstance(way, Outcome):
        return way
    if pieces is not None:
        return (yield from _move_apart(site, action, pieces, source, here))
    status = yield from _rename(site, action, source, replacing=way is Way.OURS)
    if status is not OK:
        failed = yield from explain(site, action.subject, _doing(action), status)
        return Outcome(action, problem=(yield from why_not_moved(site, action.subject, failed, status)))
    if new.kind is Kind.DIR:
        site.forget_parents(action.path)
        site.rename_parents(origin, action.path)
        site.parents[action.path] = None
        return Outcome(action, left_behind(action) if is_careful(site, action) else {})
    if action.parks:
        return Outcome(action)
    entry, unset = yield from _set(site, action.path, here, moved, new)
    if unset is not None:
        kept = replace(moved, digest=moved.digest or new.digest, stamp=None)
        return Outcome(action, {origin: None, action.path: kept}, unset)
    return Outcome(action, {origin: None, action.path: entry})


def _known_as(action: Action) -> str | None:
    """What people call what is to move."""
    return action.source if action.home is None else action.home


def _doing(action: Action) -> str:
    return "move it out of the way" if action.parks else f"rename {_known_as(action)!r}"


def _no_more_ours(action: Action, origin: str, moved: Entry) -> dict[str, Entry | None]:
    """What is to move was changed there: what came in its place stays, like what was deleted here.

    With a mirror it is then deleted as what is not ours is; what was parked is left where it is.
    """
    if action.home is not None:
        return {}
    return {origin: replace(moved, retained=True) if moved.kind is not Kind.DIR else None}


def _note_staying(site: Site, action: Action) -> Problem | None:
    """Without a mirror nobody would hear of it."""
    if site.options.mirror or action.source is None or action.home is not None:
        return None
    text = "moved here, and changed on the remote since: it stays there, too"
    return problem(action.source, Reason.DRIFT, text)


def _move_apart(site: Site, action: Action, pieces: Pieces, source: bytes, here: Attrs) -> Recipe[Outcome]:
    """Move a directory as far as it is ours, or to where one is already."""
    assert action.source is not None
    failed = yield from move_apart(site, pieces, action.subject, source, site.at(action.path), here.mode)
    for path in (action.source, action.path):
        site.forget_parents(path)
    if failed is not None:
        part = pieces.effects(action, action.source) if pieces.moved and action.home is None else {}
        return Outcome(action, part, failed)
    site.parents[action.path] = None
    effects = {**left_behind(action), **pieces.left(action, action.source)}
    return Outcome(action, effects, note=note_staying(pieces, action.source))


def _way_to_move(site: Site, action: Action, there: Attrs | Status) -> Recipe[Way | Outcome]:
    """FREE, or OURS: to be replaced by the rename itself."""
    assert action.new is not None
    if isinstance(there, Status):
        if absent(there):
            return Way.FREE
        return Outcome(
            action, problem=(yield from explain(site, action.subject, "look at the target", there))
        )
    if action.parks:  # taken by what a dead run had parked and could not bring home: it may be the only copy
        place = site.at(action.path)
        yield from rename(site, place, place + b"-" + os.urandom(6).hex().encode())
        return Way.FREE
    if action.path == action.home:  # not by driving out what lives there now
        return drift(action, describe(there, None))
    is_dir = action.new.kind is Kind.DIR
    old = None if is_dir else action.old  # a directory is moved only to where nothing is
    if old is not None and (yield from matches(site, site.at(action.path), there, old)):
        way: Way | Outcome = Way.KEEP if action.keep else Way.OURS
    else:
        way = yield from meet(site, action, there, action.old)
    if isinstance(way, Outcome):
        return way
    if is_dir:
        failed = yield from clear(site, action, way)
        return Outcome(action, problem=failed) if failed is not None else Way.FREE
    if way is Way.KEEP:
        kept = yield from keep(site, action.path, leave=True)
        return Outcome(action, problem=kept) if isinstance(kept, Problem) else kept
    return way


def _move_of_nothing(site: Site, action: Action, here: Status, there: Attrs | Status) -> Recipe[Outcome]:
    """The source does not show: already moved, by a run that was cut short, or gone."""
    new, origin = action.new, action.source
    assert new is not None
    assert origin is not None
    if not absent(here):
        failed = yield from explain(site, action.subject, "look at what is moved", here)
        return Outcome(action, problem=failed)
    gone: dict[str, Entry | None] = {origin: None}
    if (
        isinstance(there, Attrs)
        and new.kind is Kind.FILE
        and (yield from intended(site, site.at(action.path), there, new))
    ):
        mode = there.mode & PERMISSIONS if site.mode_for(new) is not None else None
        return Outcome(action, {**gone, action.path: site.recorded(new, there.mtime, new.digest, mode)})
    text = f"{_known_as(action)!r}, to be renamed, is gone from the remote"
    return Outcome(action, gone, problem(action.subject, Reason.MISSING, text))


def _rename(site: Site, action: Action, source: bytes, *, replacing: bool) -> Recipe[Status]:
    """RACE: what came to the target since we looked may be overwritten, and surely is where we replace."""
    moved = action.moved
    assert moved is not None
    target = site.at(action.path)
    if replacing and (status := (yield from make_room(site, target))) is not OK:
        return status
    in_one_step = site.quirks.moves_links or moved.kind is not Kind.SYMLINK
    if replacing and in_one_step and Replace in site.can:
        return (yield from act(Replace(source, target)))
    if replacing:
        site.say_once(NO_REPLACE)
        status = yield from act(Remove(target))
        if status is not OK and not absent(status):
            return status
    return (yield from rename(site, source, target, moved.link))
