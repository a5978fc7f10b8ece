"""How something comes to stand at its final path: looked at first, then put there in one step.

What may live here: the recipes by which anything staged replaces or makes a
path, and symlinks, which need nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.model import PERMISSIONS, Action, Entry, Kind, Outcome, Problem, Reason
from reconcile.core.paths import parent
from reconcile.remotes.tree.disks import note_elsewhere
from reconcile.remotes.tree.drift import NO_REPLACE, Way, clear, meet, ours_to_go, save
from reconcile.remotes.tree.failure import explain
from reconcile.remotes.tree.layout import STAGING
from reconcile.remotes.tree.link import intended, look, make_room, matches, symlink
from reconcile.remotes.tree.names import is_changed
from reconcile.remotes.tree.site import SPECIAL_BITS, Site, absent, act, problem
from reconcile.remotes.tree.steps import Recipe
from reconcile.remotes.tree.verbs import OK, UNCLEAR, Attrs, Remove, Rename, Replace, Set, Status
from reconcile.source.files import Source, SourceError

_NO_TEXT = (
    "what the link holds is not UTF-8, and would be changed there; not brought. Let it lead elsewhere, "
    "or exclude it"
)


class Published(Struct, frozen=True):
    """What came of a publish. All None: it stands."""

    outcome: Outcome | None = None  # there is nothing more to do
    refused: Status | None = None  # the target was free, or ours; and yet it did not work
    effects: Mapping[str, Entry | None] = MappingProxyType({})  # true even though refused


STANDS = Published()


def judge(site: Site, action: Action, there: Attrs | Status) -> Recipe[Way | Outcome]:
    """Decide how we may write to the action's path, of which LSTAT said ``there``.

    Else the action has come to its end, well or not.
    """
    assert action.new is not None
    if isinstance(there, Status):
        if absent(there):
            return Way.FREE
        return Outcome(action, problem=(yield from explain(site, action.path, "look at the target", there)))
    path = site.layout.at(action.path)
    if action.old is not None and (yield from matches(site, path, there, action.old)):
        return Way.KEEP if action.keep else ours_to_go(site, replaced=True)
    if (yield from intended(site, path, there, action.new)):
        return (yield from done_already(site, action, there, action.new.digest))
    return (yield from meet(site, action, there, action.old))


def done_already(site: Site, action: Action, there: Attrs, digest: bytes | None) -> Recipe[Outcome]:
    """The target has the intended size and time, though we do not know of it: a run was cut short.

    RACE: its mode is set through a link that was put here since we looked.
    """
    new = action.new
    assert new is not None
    if new.kind is Kind.FILE:
        mode, shown = site.mode_for(new), there.mode & PERMISSIONS
        if mode is not None and mode != shown:
            full = mode | there.mode & SPECIAL_BITS
            if (yield from act(Set(site.layout.at(action.path), full, None))) is OK:
                shown = mode
        new = site.recorded(new, there.mtime, digest, None if mode is None else shown)
    return Outcome(action, {action.path: new})


def publish(
    site: Site, action: Action, staged: bytes, *, way: Way, digest: bytes | None
) -> Recipe[Published]:
    """Rename ``staged`` to the action's path. What is not published is not removed either."""
    target = site.layout.at(action.path)
    status: Status
    effects: dict[str, Entry | None] = {}
    if way in (Way.KEEP, Way.RETIRE):
        kept = yield from save(site, action, way)
        if isinstance(kept, Problem):
            return Published(Outcome(action, problem=kept))
        way = kept
        if way is Way.FREE:
            effects = {action.path: None}
    if way is Way.OURS and (status := (yield from make_room(site, target))) is not OK:
        return Published(refused=status, effects=effects)
    if way is Way.OURS and Replace in site.can:
        # RACE: what somebody wrote there since we looked is lost.
        status = yield Replace(staged, target)
        return STANDS if status is OK else Published(refused=status, effects=effects)
    if way is Way.OURS:
        site.say_once(NO_REPLACE)
        if (status := (yield from act(Remove(target)))) is not OK and not absent(status):
            return Published(refused=status)
        effects = {action.path: None}
    # RACE: but for files on OpenSSH, a server may overwrite what came here since we looked.
    status = yield Rename(staged, target)
    if status is OK:
        return STANDS
    there = yield from look(site, target)
    if isinstance(there, Status):
        return Published(refused=status, effects=effects)
    # Somebody else was here first, or we did not look before.
    assert action.new is not None
    if (yield from intended(site, target, there, action.new)):
        return Published((yield from done_already(site, action, there, digest)))
    met = yield from meet(site, action, there, None)
    if isinstance(met, Outcome):
        return Published(replace(met, effects=effects))
    if effects:  # twice in a row: whoever writes there is at it right now
        return Published(refused=status, effects=effects)
    return (yield from publish(site, action, staged, way=met, digest=digest))


def make_link(site: Site, action: Action, source: Source) -> Recipe[Outcome]:
    """Make a symlink, or put one in the place of a file or another link."""
    new = action.new
    assert new is not None
    if new.link is None:
        try:
            new = Entry(Kind.SYMLINK, new.mode, link=source.readlink(action.path), stamp=new.stamp)
        except SourceError as error:
            return Outcome(action, problem=problem(action.path, error.reason, error.message))
    if not site.quirks.makes_links:
        return Outcome(action, problem=_no_links(site, action.path))
    if (yield from is_changed(site, new.link or "")):
        return Outcome(action, problem=problem(action.path, Reason.BAD_NAME, _NO_TEXT))
    target, content = site.layout.at(action.path), os.fsencode(new.link or "")
    wish = replace(action, new=new)
    way: Way | Outcome = Way.FREE
    if action.old is not None:
        way = yield from judge(site, wish, (yield from look(site, target)))
    if way is Way.FREE:
        # symlink(2) refuses whatever exists: without anything to replace there is nothing to stage.
        status = yield from act(symlink(site, content, target))
        if status is OK:
            return Outcome(action, {action.path: new})
        there = yield from look(site, target)
        if isinstance(there, Status):
            return Outcome(action, problem=(yield from explain(site, action.path, "make the link", status)))
        way = yield from judge(site, wish, there)
    if isinstance(way, Outcome):
        return replace(way, action=action)
    if not site.quirks.moves_links:
        return replace((yield from _make_in_place(site, wish, content, way)), action=action)
    return replace((yield from _put_in_place(site, wish, content, way)), action=action)


def _put_in_place(site: Site, action: Action, content: bytes, way: Way) -> Recipe[Outcome]:
    """Stage a link and rename it to its path: from beside that, where none leads there from our folder."""
    is_beside = site.memory.is_elsewhere(parent(action.path))
    staged = site.layout.fresh_beside(action.path) if is_beside else site.layout.fresh(STAGING)
    status = yield from act(symlink(site, content, staged))
    if status is not OK:
        return Outcome(action, problem=(yield from explain(site, action.path, "make the link", status)))
    published = yield from publish(site, action, staged, way=way, digest=None)
    if published == STANDS:
        return Outcome(action, {action.path: action.new})
    yield from act(Remove(staged))
    if published.outcome is not None:
        return published.outcome
    assert published.refused is not None
    refused, effects = published.refused, published.effects
    if not is_beside and refused.code in UNCLEAR and (yield from note_elsewhere(site, action.path)):
        # What was to be kept has been: either it was moved away, or it may be replaced by now.
        outcome = yield from _put_in_place(site, action, content, Way.FREE if effects else Way.OURS)
        return replace(outcome, effects={**effects, **outcome.effects})
    failed = yield from explain(site, action.path, "put the link in place", refused)
    return Outcome(action, effects, failed)


def _make_in_place(site: Site, action: Action, content: bytes, way: Way) -> Recipe[Outcome]:
    """Where a staged link could not be renamed: what is there goes first."""
    site.say_once(NO_REPLACE)
    failed = yield from clear(site, action, way)
    if failed is not None:
        return Outcome(action, problem=failed)
    status = yield from act(symlink(site, content, site.layout.at(action.path)))
    if status is OK:
        return Outcome(action, {action.path: action.new})
    failed = yield from explain(site, action.path, "make the link", status)
    return Outcome(action, {action.path: None}, failed)


def _no_links(site: Site, path: str) -> Problem:
    if site.quirks.makes_links is None:
        text = f"how {site.who} makes links could not be tried out, so none is made; the next run tries again"
        return problem(path, Reason.FAILED, text)
    text = (
        f"{site.who} makes no links, or none that lead where they should; later runs leave them out, until "
        "it is tried anew (--refresh). --links follow brings what they lead to"
    )
    return problem(path, Reason.UNSUPPORTED, text)
