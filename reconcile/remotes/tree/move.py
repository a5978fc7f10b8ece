"""Moves of files, links and whole directories, to parking places and from there too.

What may live here: recipes that send no content. Each looks at what it touches
before, and at what is in the way.
"""

from __future__ import annotations

import os

from msgspec.structs import replace

from reconcile.core.model import (
    PERMISSIONS,
    Action,
    Entry,
    Kind,
    Outcome,
    Problem,
    Reason,
)
from reconcile.remotes.tree.carry import (
    Pieces,
    is_careful,
    left_behind,
    look_inside,
    move_apart,
    note_staying,
)
from reconcile.remotes.tree.drift import NO_REPLACE, Way, clear, meet, ours_to_go, save
from reconcile.remotes.tree.failure import explain, not_sent
from reconcile.remotes.tree.layout import PARKING
from reconcile.remotes.tree.link import intended, look, make_room, matches, rename
from reconcile.remotes.tree.meta import set_what_differs
from reconcile.remotes.tree.refusal import why_not_moved
from reconcile.remotes.tree.site import Site, absent, act, describe, drift, kind_of, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, Attrs, Remove, Replace, Status


def move(site: Site, action: Action) -> Recipe[Outcome]:
    """Rename a file, link or whole directory; to its parking place, too, and from there."""
    new, moved, origin = action.new, action.moved, action.source
    assert new is not None
    assert moved is not None
    assert origin is not None
    if action.parks and PARKING not in site.layout.parts:
        return Outcome(action, problem=not_sent(site, action.subject))
    source, target = site.layout.at(origin), site.layout.at(action.path)
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
        site.memory.forget_parents(action.path)
        site.memory.rename_parents(origin, action.path)
        site.memory.parents[action.path] = None
        return Outcome(action, left_behind(action) if is_careful(site, action) else {})
    if action.parks:
        return Outcome(action)
    entry, unset = yield from set_what_differs(site, action.path, here, moved, new)
    if unset is not None:
        kept = replace(moved, digest=moved.digest or new.digest, stamp=None)
        return Outcome(action, {origin: None, action.path: kept}, unset)
    return Outcome(action, {origin: None, action.path: replace(entry, foreign=new.foreign)})


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
    failed = yield from move_apart(
        site, pieces, action.subject, source, site.layout.at(action.path), here.mode
    )
    for path in (action.source, action.path):
        site.memory.forget_parents(path)
    if failed is not None:
        part = pieces.effects(action, action.source) if pieces.moved and action.home is None else {}
        return Outcome(action, part, failed)
    site.memory.parents[action.path] = None
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
        place = site.layout.at(action.path)
        yield from rename(site, place, place + b"-" + os.urandom(6).hex().encode())
        return Way.FREE
    if action.path == action.home:  # not by driving out what lives there now
        return drift(action, describe(there, None))
    is_dir = action.new.kind is Kind.DIR
    old = None if is_dir else action.old  # a directory is moved only to where nothing is
    if old is not None and (yield from matches(site, site.layout.at(action.path), there, old)):
        way: Way | Outcome = Way.KEEP if action.keep else ours_to_go(site, replaced=True)
    else:
        way = yield from meet(site, action, there, action.old)
    if isinstance(way, Outcome):
        return way
    if is_dir:
        failed = yield from clear(site, action, way)
        return Outcome(action, problem=failed) if failed is not None else Way.FREE
    if way in (Way.KEEP, Way.RETIRE):
        kept = yield from save(site, action, way)
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
        and (yield from intended(site, site.layout.at(action.path), there, new))
    ):
        mode = there.mode & PERMISSIONS if site.mode_for(new) is not None else None
        return Outcome(action, {**gone, action.path: site.recorded(new, there.mtime, new.digest, mode)})
    text = f"{_known_as(action)!r}, to be renamed, is gone from the remote"
    return Outcome(action, gone, problem(action.subject, Reason.MISSING, text))


def _rename(site: Site, action: Action, source: bytes, *, replacing: bool) -> Recipe[Status]:
    """RACE: what came to the target since we looked may be overwritten, and surely is where we replace."""
    moved = action.moved
    assert moved is not None
    target = site.layout.at(action.path)
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
