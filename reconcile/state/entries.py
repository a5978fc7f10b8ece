"""The packed form of one entry, the same in a snapshot and in a journal. Only the codec lives here.

An entry without its stamp is a list of eight: kind, mode, size, mtime_ns, digest, link, tag, flags. In a
directory (``rows``) its row has the stamp, and in most cases says the rest as well; in a journal
(``actions``) the stamp follows in the same list.
"""

from __future__ import annotations

from typing import Any

from reconcile.core.model import Entry, Kind, Stamp, Tag

LENGTH = 8  # without a stamp
FLAGS = 7  # where they stand
RETAINED, EXCLUDED, FOREIGN, UNSTAMPED = 1, 2, 4, 8
_CODES = (Kind.FILE, Kind.DIR, Kind.SYMLINK)  # the position is what is written: only ever append


def pack_entry(entry: Entry) -> list[object]:
    """All of an entry but its stamp."""
    return [
        _CODES.index(entry.kind),
        entry.mode,
        entry.size,
        entry.mtime_ns,
        entry.digest,
        entry.link,
        None if entry.tag is None else [entry.tag.size, entry.tag.mtime],
        entry.retained * RETAINED
        + entry.excluded * EXCLUDED
        + entry.foreign * FOREIGN
        + (entry.stamp is None) * UNSTAMPED,
    ]


def unpack_entry(fact: list[Any], stamp: Stamp | None) -> Entry:
    """What ``pack_entry`` packed; the stamp counts if it had one. Raises ValueError if it is nothing such."""
    match fact:
        case [
            int(code),
            int(mode),
            int(size),
            int(mtime_ns),
            (bytes() | None) as digest,
            (str() | None) as link,
            tag,
            int(flags),
        ] if 0 <= code < len(_CODES) and 0 <= flags < 2 * UNSTAMPED:
            pass
        case _:
            raise ValueError("a long fact is malformed")
    return Entry(
        kind=_CODES[code],
        mode=mode,
        size=size,
        mtime_ns=mtime_ns,
        digest=digest,
        link=link,
        stamp=None if flags & UNSTAMPED else stamp,
        tag=_unpack_tag(tag),
        retained=bool(flags & RETAINED),
        excluded=bool(flags & EXCLUDED),
        foreign=bool(flags & FOREIGN),
    )


def _unpack_tag(tag: object) -> Tag | None:
    match tag:
        case None:
            return None
        case [int(size), int(mtime)]:
            return Tag(size, mtime)
        case _:
            raise ValueError("a tag is malformed")
