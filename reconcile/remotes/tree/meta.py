"""Modes and times of what stands.

What may live here: recipes that set them, once it was looked at whose they are.
"""

from __future__ import annotations

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
    unkept,
)
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.link import intended, look, matches
from reconcile.remotes.tree.parents import blocked, meet_link
from reconcile.remotes.tree.site import SPECIAL_BITS, Site, absent, act, describe, drift, kind_of, wire_time
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Code, Set, SetLink, Status

_OTHERS = "modes and times of what others own there are not ours to set: left as they are"
_LEAVE_OUT = "if that is never possible there, --perms ignore and --times ignore leave them out"


def set_meta(site: Site, action: Action) -> Recipe[Outcome]:
    """Change mode and/or time of a file, or the mode of a directory."""
    new, old = action.new, action.old
    assert new is not None
    path = site.layout.at(action.path)
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
    entry, failed_ = yield from set_what_differs(site, action.path, there, old, new)
    if failed_ is not None:
        return Outcome(action, problem=failed_)
    return Outcome(action, {action.path: entry})


def set_what_differs(
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
        status = yield from _set_attributes(site, site.layout.at(path), full, mtime)
        is_others = status.code == Code.DENIED and site.memory.user not in (None, there.uid)
        if status is not OK and not is_others:
            failed = yield from explain(site, path, "change mode or time", status)
            return new, replace(failed, message=f"{failed.message}; {_LEAVE_OUT}")
        if is_others:
            site.say_once(f"{_OTHERS} ({path!r}, for one)", _OTHERS)
        is_timed = mtime is not None and site.caps.times
        seen = there if mtime is None or not is_timed else replace(there, mtime=site.quirks.shown(mtime))
        seen = seen if full is None else replace(seen, mode=full)
        if site.reads_back() or is_others:
            looked = yield from look(site, site.layout.at(path))
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
