"""What became of an action whose outcome is unknown: asked of the remote. Pure.

After a crash or a cut, the reply to a request may be lost although the work was
done. A path is claimed only if the remote shows the old tag (not done) or the
intended size and mtime (done). Anything else is somebody else's: the entry is
dropped, and the next write there is careful. What a remote shows of a file that has
arrived only the remote can tell (``TagOf``): where we set no time, equal size and
second prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from reconcile.core.model import Action, Entry, Kind, Op, Outcome, Problem, Reason, RemoteStat, Stage, Tag
from reconcile.core.paths import join

Seen = Mapping[str, RemoteStat | None]
TagOf = Callable[[Entry], Tag | None]  # what a file will show that is as wished; None: nobody knows

HOUR = 3600  # seconds that file systems without time zones are off for half of the year


def questions(action: Action) -> Iterator[str]:
    """The paths to look at before ``claim`` can tell."""
    yield action.path
    if action.op is Op.MOVE and action.source is not None:
        yield action.source
    for inside, _ in action.members:
        yield join(action.path, inside)


def claim(action: Action, seen: Seen, tag_of: TagOf, parked: frozenset[int] | None = None) -> Outcome | None:
    """What is now true of ``action``; None if it was not done and nothing has changed.

    ``tag_of`` is the remote's; ``parked`` are the parking places that hold something; None: nobody knows.
    An outcome without a problem: it was done. With one: neither, and its effects
    drop what can't be told any more.
    """
    match action.op:
        case Op.CREATE | Op.MODIFY | Op.SETMETA | Op.MKDIR:
            return _claim_content(action, seen.get(action.path), tag_of)
        case Op.DELETE:
            return _claim_delete(action, seen, tag_of)
        case Op.MOVE if action.parked is None:
            return _claim_move(action, seen, tag_of)
        case Op.MOVE:
            if parked is not None and action.parked in parked:
                return None
            return _claim_unparked(action, seen.get(action.path), tag_of)
        case Op.PARK if parked is not None:
            return Outcome(action) if action.parked in parked else None
        case Op.PARK:
            return Outcome(action) if seen.get(action.path) is None else None


def matches(stat: RemoteStat | None, entry: Entry | None, tag_of: TagOf) -> bool:
    """Whether the remote shows what ``entry`` says it holds."""
    if stat is None or entry is None or stat.kind is not entry.kind:
        return False
    if entry.kind is Kind.FILE:
        return is_left(Tag(stat.size, stat.mtime), entry, tag_of(entry))
    return entry.kind is Kind.DIR or leads_alike(stat.link, entry.link, stat.above)


def leads_alike(told: str | None, link: str | None, above: str | None) -> bool:
    """Whether what is told of a link is what one with ``link`` in it shows. ``above``: see ``RemoteStat``."""
    if told is None or link is None or above is None or told == link:
        return told == link
    return _whole(above, told) == _whole(above, link)


def _whole(above: str, link: str) -> list[str]:
    """Where a link in the directory ``above`` leads, name by name."""
    names: list[str] = []
    for name in (link if link.startswith("/") else f"{above}/{link}").split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return names


def is_left(shown: Tag, entry: Entry, wished: Tag | None) -> bool:
    """Whether a file shows what it showed when we left it, or what it was to show.

    A server may show the time of writing until its cache has caught up. By the very hour all
    times are off where summer time begins or ends and the file system knows of none.
    """
    left = entry.tag or Tag(entry.size, entry.mtime)
    return any(
        tag is not None and tag.size == shown.size and shown.mtime - tag.mtime in (0, HOUR, -HOUR)
        for tag in (left, wished)
    )


def _claim_content(action: Action, stat: RemoteStat | None, tag_of: TagOf) -> Outcome | None:
    old, new = action.old, action.new
    assert new is not None
    is_shown = stat is not None and shows(stat, new, tag_of)
    is_done = action.op is Op.SETMETA and stat is not None and stat.mode == new.mode and is_shown
    if action.op in (Op.MODIFY, Op.SETMETA) and matches(stat, old, tag_of) and not is_done:
        return None
    if stat is None:
        return None if old is None else _unknown(action, {action.path: None})
    if not is_shown:
        return _unknown(action, {action.path: None})
    return Outcome(action, {action.path: observed(new, stat)})


def shows(stat: RemoteStat, new: Entry, tag_of: TagOf) -> bool:
    """Whether the remote shows the intended content."""
    if stat.kind is not new.kind:
        return False
    if new.kind is Kind.FILE:
        return Tag(stat.size, stat.mtime) == tag_of(new)
    return new.kind is Kind.DIR or (new.link is not None and leads_alike(stat.link, new.link, stat.above))


def observed(new: Entry, stat: RemoteStat) -> Entry:
    """The entry that holds for what was found, its mode and tag as they were found."""
    if new.kind is Kind.FILE:
        return replace(new, mode=stat.mode, tag=Tag(stat.size, stat.mtime))
    return replace(new, mode=stat.mode) if new.kind is Kind.DIR else new


def _claim_delete(action: Action, seen: Seen, tag_of: TagOf) -> Outcome | None:
    effects: dict[str, Entry | None] = {}
    for inside, entry in action.members:
        path = join(action.path, inside)
        if not matches(seen.get(path), entry, tag_of):
            effects[path] = None
    stat = seen.get(action.path)
    if stat is None:
        return Outcome(action, {action.path: None})
    if matches(stat, action.old, tag_of) and not effects:
        return None
    if not matches(stat, action.old, tag_of):
        effects = {action.path: None}
    return _unknown(action, effects)


def _claim_move(action: Action, seen: Seen, tag_of: TagOf) -> Outcome | None:
    assert action.source is not None
    assert action.new is not None
    here, there = seen.get(action.source), seen.get(action.path)
    is_free = there is None or (action.old is not None and matches(there, action.old, tag_of))
    if matches(here, action.moved, tag_of) and is_free:
        return None
    if here is None and action.new.kind is Kind.DIR and there is not None and there.kind is Kind.DIR:
        return Outcome(action)
    if here is None and there is not None and shows(there, action.new, tag_of):
        return Outcome(action, {action.source: None, action.path: observed(action.new, there)})
    effects: dict[str, Entry | None] = {}
    if not matches(here, action.moved, tag_of):
        effects[action.source] = None
    if here is None and action.moved is not None and matches(there, action.moved, tag_of):
        effects[action.path] = action.moved  # renamed, its mode or time not yet set
    elif action.old is not None and not matches(there, action.old, tag_of):
        effects[action.path] = None
    return _unknown(action, effects)


def is_parted(action: Action, seen: Seen) -> bool:
    """Whether a directory that moves is at both places now: what was ours of it may be at either."""
    if action.op is not Op.MOVE or action.parked is not None or action.kind is not Kind.DIR:
        return False
    ends = (seen.get(action.source or ""), seen.get(action.path))
    return all(end is not None and end.kind is Kind.DIR for end in ends)


def claim_parted(action: Action, seen: Seen, tag_of: TagOf) -> Outcome | None:
    """What of such a directory is where. ``seen`` has all of it, at both places. None: all is here."""
    assert action.source is not None
    moved: dict[str, Entry | None] = {}
    gone: dict[str, Entry | None] = {}
    for name, entry in action.inside:
        before, after = join(action.source, name), join(action.path, name)
        if matches(seen.get(after), entry, tag_of) and not entry.excluded:
            moved[after] = entry
        if not matches(seen.get(before), entry, tag_of):
            gone[before] = None
    if not moved and not gone:
        return None
    return _unknown(action, {action.path: action.moved, **moved, **gone} if moved else gone)


def _claim_unparked(action: Action, there: RemoteStat | None, tag_of: TagOf) -> Outcome | None:
    """Whether what was parked has come to its place. What has not is still parked."""
    assert action.new is not None
    if there is None or not shows(there, action.new, tag_of):
        return None
    effects = {} if action.new.kind is Kind.DIR else {action.path: observed(action.new, there)}
    return Outcome(action, effects)


def _unknown(action: Action, effects: Mapping[str, Entry | None]) -> Outcome:
    message = "the connection was lost in the middle of it; looked at again"
    return Outcome(action, effects, Problem(action.path, Stage.RECOVER, Reason.DRIFT, message))
