"""How something comes to stand at its final path: looked at first, then put there in one step.

What may live here: the recipes by which anything staged replaces or makes a
path, and symlinks, which need nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from reconcile.model import Action, Entry, Kind, Outcome, Problem
from reconcile.remotes.sftp import wire
from reconcile.remotes.sftp.session import Recipe
from reconcile.remotes.sftp.site import (
    Site,
    absent,
    act,
    drift,
    explain,
    intended,
    kind_of,
    look,
    matches,
    parent_of,
    problem,
    read_link,
    tag_of,
)
from reconcile.remotes.sftp.wire import OK, Attrs, Status
from reconcile.source import Source, SourceError

POSIX_RENAME = b"posix-rename@openssh.com"
NO_REPLACE = "the server can't replace a file in one step: it is removed first, and readers see a gap"


class Published(NamedTuple):
    """What came of a publish. All None: it stands."""

    outcome: Outcome | None = None  # there is nothing more to do
    refused: Status | None = None  # the target was free, or ours; and yet it did not work
    effects: Mapping[str, Entry | None] = MappingProxyType({})  # true even though refused


STANDS = Published()


def judge(site: Site, action: Action, there: Attrs | Status) -> Recipe[bool | Outcome]:
    """Decide whether we may write to the action's path, of which LSTAT said ``there``.

    True: what we believe is there, to be replaced. False: nothing is. Else the
    action has come to its end, well or not.
    """
    assert action.new is not None
    if isinstance(there, Status):
        if absent(there):
            return False
        return Outcome(action, problem=(yield from explain(site, action.path, "look at the target", there)))
    path = site.at(action.path)
    if action.old is not None and (yield from matches(path, there, action.old)):
        return True
    if (yield from _is_intended(path, there, action.new)):
        return done_already(site, action, there, action.new.digest)
    return drift(action, describe(there, action.old))


def describe(there: Attrs, old: Entry | None) -> str:
    """What is wrong with what the remote holds."""
    kind = kind_of(there) or "special file"
    if old is None:
        return (
            f"a {kind} exists on the remote that we did not put there; left alone. "
            "Remove it, or let --adopt-existing take over what is there"
        )
    return (
        f"the {kind} on the remote is not the {old.kind} we put there; left alone. "
        "Remove it, or take it over with a new --state and --adopt-existing"
    )


def done_already(site: Site, action: Action, there: Attrs, digest: bytes | None) -> Outcome:
    """The target has the intended size and time, though we do not know of it: a run was cut short."""
    new = action.new
    assert new is not None
    if new.kind is Kind.FILE:
        mode = site.mode_for(new)
        shown = there.mode & 0o777 if mode is not None else None
        new = site.recorded(new, mode=shown, tag=tag_of(there), digest=digest)
    return Outcome(action, {action.path: new})


def _is_intended(path: bytes, there: Attrs, new: Entry) -> Recipe[bool]:
    if new.kind is Kind.SYMLINK and kind_of(there) is Kind.SYMLINK:
        return (yield from read_link(path)) == new.link
    return new.kind is Kind.FILE and intended(there, new)


def publish(
    site: Site, action: Action, staged: bytes, *, replacing: bool, digest: bytes | None
) -> Recipe[Published]:
    """Rename ``staged`` to the action's path. What is not published is not removed either."""
    target = site.at(action.path)
    status: Status
    effects: dict[str, Entry | None] = {}
    if replacing and action.keep:
        failed = yield from keep(site, action.path)
        if failed is not None:
            return Published(Outcome(action, problem=failed))
        effects = {action.path: None}
        replacing = False
    if replacing and POSIX_RENAME in site.extensions:
        # RACE: what somebody wrote there since we looked is lost.
        status = yield wire.posix_rename(staged, target)
    else:
        if replacing:
            site.say_once(NO_REPLACE)
            if (status := (yield from act(wire.remove(target)))) is not OK and not absent(status):
                return Published(refused=status)
            effects = {action.path: None}
        # RACE: but for files on OpenSSH, a server may overwrite what came here since we looked.
        status = yield wire.rename(staged, target)
    if status is OK:
        return STANDS
    if not replacing:
        there = yield from look(target)
        if isinstance(there, Attrs):
            assert action.new is not None
            if (yield from _is_intended(target, there, action.new)):
                return Published(done_already(site, action, there, digest))
            return Published(drift(action, describe(there, None)))
    return Published(refused=status, effects=effects)


def keep(site: Site, path: str) -> Recipe[Problem | None]:
    """Move what ``path`` holds to the part of the trash that is not purged."""
    kept = site.run + b"/trash/kept"
    place = kept
    yield from act(wire.mkdir(kept, 0o700))
    for name in parent_of(path).split("/") if parent_of(path) else ():
        place += b"/" + os.fsencode(name)
        yield from act(wire.mkdir(place, 0o700))
    place = kept + b"/" + os.fsencode(path)
    source = site.at(path)
    status = yield from act(wire.rename(source, place))
    if status is not OK:  # the place may be taken, by a directory made for something below it
        status = yield from act(wire.rename(source, site.fresh(b"trash/kept")))
    if status is not OK:
        return (yield from explain(site, path, "move what is there to the trash", status))
    site.say_once(f"what was replaced is kept on the remote in {kept.decode(errors='backslashreplace')}")
    return None


def make_link(site: Site, action: Action, source: Source) -> Recipe[Outcome]:
    """Make a symlink, or put one in the place of a file or another link."""
    new = action.new
    assert new is not None
    if new.link is None:
        try:
            new = Entry(Kind.SYMLINK, new.mode, link=source.readlink(action.path), stamp=new.stamp)
        except SourceError as error:
            return Outcome(action, problem=problem(action.path, error.reason, error.message))
    target, content = site.at(action.path), os.fsencode(new.link or "")
    wish = Action(action.op, action.path, new, action.old, keep=action.keep)
    replacing: bool | Outcome = False
    if action.old is not None:
        replacing = yield from judge(site, wish, (yield from look(target)))
    if isinstance(replacing, Outcome):
        return Outcome(action, replacing.effects, replacing.problem)
    # symlink(2) refuses whatever exists: without anything to replace there is nothing to stage.
    staged = site.fresh(b"staging") if replacing else target
    status = yield from act(wire.symlink(content, staged))
    if status is not OK:
        there = yield from look(staged)
        if isinstance(there, Attrs):
            if (yield from _is_intended(staged, there, new)):
                return Outcome(action, {action.path: new})
            return drift(action, describe(there, None))
        return Outcome(action, problem=(yield from explain(site, action.path, "make the link", status)))
    if replacing:
        published = yield from publish(site, wish, staged, replacing=True, digest=None)
        if published != STANDS:
            yield from act(wire.remove(staged))
            if published.outcome is not None:
                return Outcome(action, published.outcome.effects, published.outcome.problem)
            assert published.refused is not None
            failed = yield from explain(site, action.path, "put the link in place", published.refused)
            return Outcome(action, published.effects, failed)
    return Outcome(action, {action.path: new})
