"""Links of which a server tells only where they lead in the end, past all others on the way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from reconcile.core.model import Entry, Kind, Seen
from reconcile.core.observe import whole

_MOST = 40  # links on one way, as systems have it


def as_known(there: Mapping[str, Seen | None], known: Iterable[tuple[str, Entry]]) -> dict[str, Seen]:
    """Of the links that are ``there``, those that end where one of ours would: shown as ours.

    Each alone can't be told from one that leads there directly.
    """
    if not any(seen is not None and seen.is_end for seen in there.values()):
        return {}
    ends = {
        whole(seen.above, path.rpartition("/")[2]): whole(seen.above, seen.link)
        for path, seen in there.items()
        if seen is not None and seen.link is not None and seen.above is not None
    }
    shown: dict[str, Seen] = {}
    for path, entry in known:
        seen = there.get(path)
        if seen is None or not seen.is_end or entry.kind is not Kind.SYMLINK or entry.link is None:
            continue
        if seen.above is not None and seen.link is not None:
            ways = (_end(whole(seen.above, link), ends) for link in (entry.link, seen.link))
            if len(set(ways)) == 1:
                shown[path] = replace(seen, link=entry.link)
    return shown


def _end(way: tuple[str, ...], ends: Mapping[tuple[str, ...], tuple[str, ...]]) -> tuple[str, ...]:
    """Where a way leads once all links on it are followed, as far as they are known."""
    for _ in range(_MOST):
        tops = (way[:count] for count in range(1, len(way) + 1))
        link = next((top for top in tops if top in ends), None)
        if link is None or ends[link] == link:
            break
        way = ends[link] + way[len(link) :]
    return way
