"""Moves of files: copied by the server, then deleted where they were.

What may live here: what has to be so before, and the copy. The deletes are made many at a time.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from reconcile.core.job import OnDrift
from reconcile.core.model import Action, Entry, Outcome, Problem, Reason
from reconcile.core.paths import is_ours
from reconcile.remotes.s3 import tags
from reconcile.remotes.s3.copying import copy
from reconcile.remotes.s3.delete import Doomed
from reconcile.remotes.s3.drift import is_left, keep, look_closer, retire, stays
from reconcile.remotes.s3.failure import Refusal, explain, problem
from reconcile.remotes.s3.listing import head
from reconcile.remotes.s3.site import Site, as_kept
from reconcile.remotes.s3.tags import Shown


class Copied(Struct, frozen=True):
    """It is at its new place, and still at the old one."""

    action: Action
    held: Entry
    left: Doomed


def move(site: Site, action: Action, looked: dict[str, Shown | None]) -> Copied | Outcome:
    """The first half. ``looked``: what is at paths. RACE: what comes to the new one since is overwritten."""
    try:
        return _move(site, action, looked)
    except Refusal as refusal:
        return Outcome(action, problem=explain(action.subject, f"move {_known_as(action)!r}", refusal))


def _move(site: Site, action: Action, looked: dict[str, Shown | None]) -> Copied | Outcome:
    new, moved, origin = action.new, action.moved, action.source
    assert new is not None
    assert moved is not None
    assert origin is not None
    source, target = site.keys.of(origin), site.keys.of(action.path)
    if is_ours(origin) or is_ours(action.path):
        site.is_used = True
    here = looked[origin] if origin in looked else head(site.service, source)
    there = looked[action.path] if action.path in looked else head(site.service, target)
    if not is_ours(origin):
        here = look_closer(site, origin, here, moved)
    if here is None:
        return _move_of_nothing(site, action, there)
    if not is_left(here, moved) and not is_ours(origin):
        text = f"{_known_as(action)!r}, to be moved, is not what we put on the remote; left alone"
        drifted = problem(action.subject, Reason.DRIFT, text)
        return Outcome(
            action, {origin: replace(moved, retained=True)} if action.home is None else {}, drifted
        )
    wish = replace(new, digest=new.digest or moved.digest)
    if there is not None and not action.parks:
        if not is_left(there, action.old):
            there = there if there.is_asked else head(site.service, target) or there
            if tags.is_wished(there, wish):  # a run was cut short in between
                return Copied(action, as_kept(wish, there, wish.digest), Doomed(source, here))
        if (trouble := _make_room(site, action, there)) is not None:
            return Outcome(action, problem=trouble)
    if is_ours(action.path):
        headers = {**site.headers.of_ours, "MetadataDirective": "COPY"}
    else:
        known = origin if action.home is None else action.home
        headers = site.headers.of_copy(known, action.path, wish, wish.digest)
    try:
        shown = copy(site, source, here, target, headers)
    except Refusal as refusal:
        if refusal.is_unmet or refusal.is_absent:
            text = f"{_known_as(action)!r}, to be moved, was changed on the remote right now; left alone"
            return Outcome(action, problem=problem(action.subject, Reason.DRIFT, text))
        raise
    held = moved if action.parks else as_kept(wish, shown, wish.digest)
    return Copied(action, held, Doomed(source, here))


def bring_again(site: Site, action: Action) -> tuple[Action, Outcome | None]:
    """A new file whose content is at another key, too: copied by the server. None: it has to be sent.

    RACE: what comes there since we looked is overwritten.
    """
    new, moved, origin = action.new, action.moved, action.source
    assert new is not None
    assert moved is not None
    assert origin is not None
    source, target = site.keys.of(origin), site.keys.of(action.path)
    try:
        here = head(site.service, source)
        if here is None or not is_left(here, moved) or head(site.service, target) is not None:
            return action, None
        headers = site.headers.of_copy(origin, action.path, new, new.digest)
        shown = copy(site, source, here, target, headers)
    except Refusal:
        return action, None
    return action, Outcome(action, {action.path: as_kept(new, shown, new.digest)})


def ended(copied: Copied) -> Outcome:
    """The outcome, once it is deleted where it was."""
    action = copied.action
    if action.parks:
        return Outcome(action)
    assert action.source is not None
    return Outcome(action, {action.source: None, action.path: copied.held})


def _known_as(action: Action) -> str | None:
    """What people call what is to move."""
    return action.source if action.home is None else action.home


def _make_room(site: Site, action: Action, there: Shown) -> Problem | None:
    """What is at the new place is overwritten, and kept before where that is to be."""
    if is_left(there, action.old):
        if action.keep:
            keep(site, action.path, there)
        else:
            retire(site, action.path, there, replaced=True)
        return None
    if action.path == action.home or site.options.on_drift is OnDrift.SKIP:
        return stays(action.subject, action.old)  # not by driving out what lives there now
    if site.options.on_drift is OnDrift.BACKUP:
        keep(site, action.path, there)
    return None


def _move_of_nothing(site: Site, action: Action, there: Shown | None) -> Outcome:
    """It is not there: moved already, by a run that was cut short, or gone."""
    new, origin = action.new, action.source
    assert new is not None
    assert origin is not None
    wish = replace(new, digest=new.digest or (action.moved.digest if action.moved is not None else None))
    if there is not None and not there.is_asked:
        there = head(site.service, site.keys.of(action.path))
    if there is not None and tags.is_wished(there, wish):
        return Outcome(action, {origin: None, action.path: as_kept(wish, there, wish.digest)})
    text = f"{_known_as(action)!r}, to be moved, is gone from the remote"
    return Outcome(action, {origin: None}, problem(action.subject, Reason.MISSING, text))
