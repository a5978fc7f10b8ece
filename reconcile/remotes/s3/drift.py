"""What somebody else put in the bucket, where we want to write: kept, left alone or overwritten.

What may live here: what is decided of one object, and the part of the trash that outlives the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from reconcile.core.job import OnDrift
from reconcile.core.model import Action, Entry, Outcome, Problem, Reason
from reconcile.remotes.s3 import tags
from reconcile.remotes.s3.copying import copy
from reconcile.remotes.s3.failure import Failing, Refusal, explain, problem
from reconcile.remotes.s3.keys import unfit
from reconcile.remotes.s3.listing import head, refusal_for
from reconcile.remotes.s3.site import Site, as_kept
from reconcile.remotes.s3.tags import Shown

TRIES = 4  # looks at what changes again and again, before it is left to who is at it
LOST_RACE = "somebody else is writing there right now; the next run looks again"


class Unlooked(Struct, frozen=True):
    """Nobody has looked: the server itself makes sure that what we believe is there."""


UNLOOKED = Unlooked()
There: TypeAlias = Shown | Unlooked | None  # None: nothing


def may_write(
    site: Site, action: Action, wish: Entry, there: Shown | Unlooked | None, *, same: str | None = None
) -> dict[str, Any] | Outcome:
    """The conditions to write to the action's path under, of which it is known what is ``there``.

    Else the action has come to its end, well or not. ``same``: the MD5 of what is to be written, if it is
    known. Raises Refusal.
    RACE: a server that heeds no conditions loses what somebody writes there between our look and our write.
    """
    path, old = action.path, action.old
    if isinstance(there, Unlooked):
        if old is None:
            return {"IfNoneMatch": "*"}
        there = tags.unpack(old.tag or b"0 ?")
    elif there is not None:
        there = look_closer(site, path, there, old)
    if there is not None and not is_left(there, old):
        if (done := _is_there(site, action, wish, there, same)) is not None:
            return done
        if site.options.on_drift is OnDrift.SKIP:
            return Outcome(action, problem=stays(path, old))
        if site.options.on_drift is OnDrift.BACKUP:
            keep(site, path, there)
        return over(site, site.keys.of(path), there)
    if there is None:
        return {"IfNoneMatch": "*"} if site.ability.puts_new else {}
    if action.keep:
        keep(site, path, there)
    else:
        retire(site, path, there, replaced=True)
    return over(site, site.keys.of(path), there)


def over(site: Site, key: str, there: Shown) -> dict[str, Any]:
    """The condition that an object is what we have seen, where the server heeds that."""
    is_heeded = site.ability.puts_over and key not in site.unequal
    return {"IfMatch": there.condition} if is_heeded and there.condition else {}


def is_unequal(site: Site, key: str, refusal: Refusal, wanted: Shown, there: Shown | None) -> bool:
    """Whether a condition was refused as not met, and is: then it is of no use for this object from now on.

    So it is of what came in parts with servers that hold it as another thing than a small object (Swift).
    RACE: what somebody writes there from now on may be lost, as with a server that heeds no conditions.
    """
    is_same = there is not None and there.condition is not None and there.etag == wanted.etag
    if refusal.status != 412 or not is_same:  # and not where somebody is at it
        return False
    site.unequal.add(key)
    return True


def _is_there(site: Site, action: Action, wish: Entry, there: Shown, same: str | None) -> Outcome | None:
    """Whether what is to come is there already: a run was cut short, or its last answer got lost."""
    if there.size != wish.size:
        return None
    is_same = same is not None and there.etag == same
    if not is_same and not there.is_asked:
        there = head(site.service, site.keys.of(action.path)) or there
    if is_same or tags.is_wished(there, wish):
        return Outcome(action, {action.path: as_kept(wish, there, wish.digest)})
    return None


def is_left(there: Shown, old: Entry | None) -> bool:
    """Whether an object is as we left it."""
    return old is not None and tags.is_left(there, old)


def look_closer(site: Site, path: str, there: Shown | None, old: Entry | None) -> Shown | None:
    """An object with what is noted with it, which no listing shows, unless it is plainly ours or another.

    Not all servers show the ETag that they answered with. Raises Refusal.
    """
    if there is None or there.is_asked or old is None or old.size != there.size or is_left(there, old):
        return there
    return head(site.service, site.keys.of(path))


def stays(path: str, old: Entry | None) -> Problem:
    """Why somebody else's is left in its place."""
    what = "is not as we left it" if old is not None else "is there, and not put there by us"
    return problem(path, Reason.DRIFT, f"{what}; left alone on the server, as --on-drift says")


def keep(site: Site, path: str, there: Shown) -> None:
    """Copy what is at a path to the kept trash. Raises Refusal: unmet, if it is another by now."""
    _copy_aside(site, path, there, site.keys.kept, site.kept)


def retire(site: Site, path: str, there: Shown, *, replaced: bool) -> None:
    """The same with what is ours, to the part of the trash that has an age, if it is to go there."""
    trash = site.options.trash
    if trash is not None and (trash.replaced or not replaced):
        _copy_aside(site, path, there, site.keys.old, site.retired)


def _copy_aside(
    site: Site, path: str, there: Shown, place_of: Callable[[str], str], taken: dict[str, int]
) -> None:
    place = place_of(path)
    with site.lock:
        if place in taken or unfit(place) is not None:
            place = place_of(os.urandom(6).hex())
        taken[place] = there.size
    try:
        copy(site, site.keys.of(path), there, place, {**site.headers.of_ours, "MetadataDirective": "COPY"})
    except Refusal:
        with site.lock:
            del taken[place]
        raise


def insist(site: Site, action: Action, there: There, attempt: Callable[[There], Outcome]) -> Outcome:
    """Try to do what depends on what is there, and look again where that was not so any more."""
    failed, key = 0, site.keys.of(action.path)
    for _ in range(TRIES):
        wanted, unmet = there, Refusal("", 0)
        try:
            return attempt(there)
        except Refusal as refusal:
            unmet = refusal
            is_final = there is None and refusal.is_absent  # which is no wonder, and no answer
            if is_final or not (refusal.is_unmet or refusal.is_absent):
                return Outcome(action, problem=explain(action.subject, "write it", refusal))
        except Failing as failing:  # of this request alone, if it answers the next: it may be done
            failed += 1
            if failed > 1:
                return Outcome(action, problem=problem(action.subject, Reason.FAILED, str(failing)))
        try:
            there = head(site.service, key)
        except Refusal as refusal:
            return Outcome(action, problem=explain(action.subject, "look at it", refusal))
        except Failing as failing:
            why = refusal_for(site.service, site.keys, failing)
            return Outcome(action, problem=explain(action.subject, "look at it", why))
        if isinstance(wanted, Shown):
            is_unequal(site, key, unmet, wanted, there)
    return Outcome(action, problem=problem(action.subject, Reason.DRIFT, LOST_RACE))
