"""What must have arrived before another copy of it may go. Pure.

A move that the remote can't make becomes an upload and a delete. The delete waits for the
upload: if that fails, what it takes away is the only copy there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from reconcile.core.model import Action, Entry, Kind

Arriving = Mapping[object, Sequence[str]]


def arriving(uploads: Iterable[Action], unread: Iterable[tuple[str, Entry]]) -> Arriving:
    """The paths to which content comes, by what tells it. What can't be read in this run counts: it fails.

    Content that nobody has read yet is told by size and time: no proof, but reason enough to wait.
    """
    found: dict[object, list[str]] = defaultdict(list)
    for path, new in [*((a.path, a.new) for a in uploads if a.size and a.new is not None), *unread]:
        found[new.digest or (new.size, new.mtime_ns)].append(path)
    return found


def wait(action: Action, found: Arriving) -> Action:
    """The delete, knowing the uploads that bring what it takes away to another place."""
    entries = [action.old, *(entry for _, entry in action.members)]
    awaited = {path: None for entry in entries if entry is not None for path in _copies(entry, found)}
    return replace(action, awaits=tuple(awaited)) if awaited else action


def keep_back(action: Action, found: Arriving) -> Action:
    """The same of a delete that makes room, and so can't wait: it is kept in the trash."""
    waiting = wait(action, found)
    return replace(waiting, keep=True) if waiting.awaits else action


def lost(action: Action) -> int:
    """How many entries a delete takes away that come to no other place in the same run."""
    contents = sum(entry.kind is not Kind.DIR for _, entry in action.members) or 1
    return action.entries - len(action.awaits) if len(action.awaits) < contents else 0


def _copies(entry: Entry, found: Arriving) -> Sequence[str]:
    if entry.kind is not Kind.FILE or entry.excluded:
        return ()
    return found.get(entry.digest) or found.get((entry.size, entry.mtime_ns), ())
