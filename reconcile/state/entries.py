"""The packed form of one entry, the same in a snapshot and in a journal. Only the codec lives here.

An entry without its stamp is a list of eight: kind, mode, size, mtime_ns, digest, link, tag, flags. In a
directory (``rows``) its row has the stamp, and in most cases says the rest as well; in a journal
(``actions``) the stamp follows in the same list.
"""

from __future__ import annotations

from typing import Any

from reconcile.core.model import NS, Entry, Kind, Stamp, Tag

LENGTH = 8  # without a stamp
FLAGS = 7  # where they stand
RETAINED, EXCLUDED, FOREIGN, UNSTAMPED = 1, 2, 4, 8
_CODES = (Kind.FILE, Kind.DIR, Kind.SYMLINK)  # the position is what is written: only ever append


def pack_entry(entry: Entry) -> list[object]:
    """All of an entry but its stamp."""
    flags = 0 if entry.stamp is not None else UNSTAMPED
    if entry.retained or entry.excluded or entry.foreign:
        flags |= entry.retained * RETAINED | entry.excluded * EXCLUDED | entry.foreign * FOREIGN
    return [
        _CODES.index(entry.kind),
        entry.mode,
        entry.size,
        entry.mtime_ns,
        entry.digest,
        entry.link,
        entry.tag,
        flags,
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
            (bytes() | list() | None) as tag,
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
        tag=tag_1(tag, size, mtime_ns) if isinstance(tag, list) else tag,
        retained=bool(flags & RETAINED),
        excluded=bool(flags & EXCLUDED),
        foreign=bool(flags & FOREIGN),
    )


def tag_1(tag: list[Any], size: int, mtime_ns: int) -> Tag | None:
    """A tag of format 1, as whoever made it packs it now: it said a size and a time, and never left them out.

    There was but one sort of remote. Directories that nobody has changed since still hold such.
    """
    match tag:
        case [int(shown_size), int(shown_time)]:
            is_same = shown_size == size and shown_time == mtime_ns // NS
            return None if is_same else b"%d %d" % (shown_size, shown_time)
        case _:
            raise ValueError("a tag is malformed")
