"""Whether what the remote shows is what we left, or as it shall be; and what became of an action. Pure.

After a crash or a cut, the reply to a request may be lost although the work was
done. A path is claimed only if the remote shows what we left (not done) or what was
intended (done). Anything else is somebody else's: the entry is
dropped, and the next write there is careful. What a remote shows of a file that has
arrived only the remote can tell (``Tags``): where we set no time, equal size and
second prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from reconcile.core.model import (
    UNKNOWN_MODE,
    Action,
    Entry,
    Kind,
    Op,
    Outcome,
    Problem,
    Reason,
    Seen,
    Stage,
    Tag,
)
from reconcile.core.paths import join

Sights: TypeAlias = Mapping[str, Seen | None]  # None: nothing is there


class Tags(Protocol):
    """What only the remote can tell of its tags: a part of ``Remote``."""

    def is_wished(self, shown: Tag, wish: Entry, *, by_others: bool = False) -> bool:
        """Whether a file that shows this has arrived as wished. False, too, where that can't be told.

        ``by_others``: that somebody else has brought, with the same time as far as it can be kept.
        """

    def is_left(self, shown: Tag, entry: Entry) -> bool:
        """Whether a file that shows this may be as it was when we left it."""

    def noted(self, shown: Tag, entry: Entry) -> Tag | None:
        """The tag for the entry of a file that shows this: None where its size and time say it all."""


def questions(action: Action) -> Iterator[str]:
    """The paths to look at before ``claim`` can tell."""
    yield action.path
    if action.op is Op.MOVE and action.source is not None:
        yield action.source
    for inside, _ in action.members:
        yield join(action.path, inside)


def claim(action: Action, seen: Sights, tags: Tags) -> Outcome | None:
    """What is now true of ``action``; None if it was not done and nothing has changed.

    ``tags`` is the remote. An outcome without a problem: it was done. With one: neither, and its effects
    drop what can't be told any more.
    """
    match action.op:
        case Op.CREATE | Op.MODIFY | Op.SETMETA | Op.MKDIR:
            return _claim_content(action, seen.get(action.path), tags)
        case Op.DELETE:
            return _claim_delete(action, seen, tags)
        case Op.MOVE:
            return _claim_move(action, seen, tags)


def matches(seen: Seen | None, entry: Entry | None, tags: Tags) -> bool:
    """Whether the remote shows what ``entry`` says it holds."""
    if seen is None or entry is None or seen.kind is not entry.kind:
        return False
    if entry.kind is Kind.FILE:
        return tags.is_left(seen.tag, entry)
    return entry.kind is Kind.DIR or leads_alike(seen.link, entry.link, seen.above)


def intended(seen: Seen | None, new: Entry, tags: Tags, *, by_others: bool = False) -> bool:
    """Whether the remote shows what is to be brought there: by us, if it isn't said otherwise."""
    if seen is None or seen.kind is not new.kind:
        return False
    if new.kind is Kind.FILE:
        return tags.is_wished(seen.tag, new, by_others=by_others)
    return new.kind is Kind.DIR or (new.link is not None and leads_alike(seen.link, new.link, seen.above))


def held(new: Entry, seen: Seen, tags: Tags) -> Entry:
    """The entry that holds for what was found, its mode and tag as they were found."""
    if new.kind is Kind.SYMLINK:
        return new
    mode = UNKNOWN_MODE if seen.mode is None else seen.mode
    return replace(new, mode=mode, tag=tags.noted(seen.tag, new) if new.kind is Kind.FILE else None)


def leads_alike(told: str | None, link: str | None, above: str | None) -> bool:
    """Whether what is told of a link is what one with ``link`` in it shows. ``above``: see ``Seen``."""
    if told is None or link is None or above is None or told == link:
        return told == link
    return whole(above, told) == whole(above, link)


def whole(above: str, link: str) -> tuple[str, ...]:
    """Where a link in the directory ``above`` leads, name by name."""
    names: list[str] = []
    for name in (link if link.startswith("/") else f"{above}/{link}").split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return tuple(names)


def _claim_content(action: Action, seen: Seen | None, tags: Tags) -> Outcome | None:
    old, new = action.old, action.new
    assert new is not None
    is_shown = intended(seen, new, tags)
    is_done = is_shown and seen is not None and action.op is Op.SETMETA and seen.mode in (None, new.mode)
    if action.op in (Op.MODIFY, Op.SETMETA) and matches(seen, old, tags) and not is_done:
        return None
    if seen is None and old is None:
        return None
    if seen is None or not is_shown:
        return _unknown(action, {action.path: None})
    return Outcome(action, {action.path: held(new, seen, tags)})


def _claim_delete(action: Action, seen: Sights, tags: Tags) -> Outcome | None:
    effects: dict[str, Entry | None] = {}
    for inside, entry in action.members:
        path = join(action.path, inside)
        if not matches(seen.get(path), entry, tags):
            effects[path] = None
    stat = seen.get(action.path)
    if stat is None:
        return Outcome(action, {action.path: None})
    if matches(stat, action.old, tags) and not effects:
        return None
    if not matches(stat, action.old, tags):
        effects = {action.path: None}
    return _unknown(action, effects)


def _claim_move(action: Action, seen: Sights, tags: Tags) -> Outcome | None:
    assert action.source is not None
    assert action.new is not None
    here, there = seen.get(action.source), seen.get(action.path)
    is_free = there is None or (action.old is not None and matches(there, action.old, tags))
    is_free |= makes_way(action)  # what has come to its new place meanwhile it meets when it goes on
    if matches(here, action.moved, tags) and is_free:
        return None
    if here is None and action.new.kind is Kind.DIR and there is not None and there.kind is Kind.DIR:
        return Outcome(action)
    if here is None and there is not None and intended(there, action.new, tags):
        return Outcome(action, {action.source: None, action.path: held(action.new, there, tags)})
    is_renamed = here is None and matches(there, action.moved, tags)  # its mode or time not yet set
    if action.home is not None and not is_renamed:
        return None  # it is neither parked nor there: it may be home
    effects: dict[str, Entry | None] = {}
    if not matches(here, action.moved, tags):
        effects[action.source] = None
    if is_renamed:
        effects[action.path] = action.moved
    elif action.old is not None and not matches(there, action.old, tags):
        effects[action.path] = None
    return _unknown(action, effects)


def makes_way(action: Action) -> bool:
    """Whether it is one of the two halves of a move that needed its own way freed."""
    return action.parks or action.home is not None


def is_parted(action: Action, seen: Sights) -> bool:
    """Whether a directory that moves is at both places now: what was ours of it may be at either.

    To and from its parking place it just goes on: what has arrived looks like what was there before.
    """
    if action.op is not Op.MOVE or action.kind is not Kind.DIR or makes_way(action):
        return False
    ends = (seen.get(action.source or ""), seen.get(action.path))
    return all(end is not None and end.kind is Kind.DIR for end in ends)


def claim_parted(action: Action, seen: Sights, tags: Tags) -> Outcome | None:
    """What of such a directory is where. ``seen`` has all of it, at both places. None: all is here."""
    assert action.source is not None
    moved: dict[str, Entry | None] = {}
    gone: dict[str, Entry | None] = {}
    for name, entry in action.inside:
        before, after = join(action.source, name), join(action.path, name)
        if matches(seen.get(after), entry, tags) and not entry.excluded:
            moved[after] = entry
        if not matches(seen.get(before), entry, tags):
            gone[before] = None
    if not moved and not gone:
        return None
    return _unknown(action, {action.path: action.moved, **moved, **gone} if moved else gone)


def _unknown(action: Action, effects: Mapping[str, Entry | None]) -> Outcome:
    message = "the connection was lost in the middle of it; looked at again"
    return Outcome(action, effects, Problem(action.subject, Stage.RECOVER, Reason.DRIFT, message))
