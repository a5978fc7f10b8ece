"""Releases: what they are called, and what in one of them is nobody's of ours. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

RELEASES, NEXT, SHARED, CURRENT = "releases", "next", "shared", "current"  # in DEST
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
_MOST = 256 * 1024 * 1024  # bytes of names


def is_release(name: str) -> bool:
    """Whether a folder is called as releases are: by the time in UTC, so that later ones come later."""
    return _ID.fullmatch(name) is not None


def name_release(moment: str, nonce: str, before: Iterable[str]) -> str:
    """``moment``: as YYYYMMDD-HHMMSS. Where the clock is behind one of those ``before``: right after that."""
    last = max(before, default="")
    if f"{moment}-" > last[: len(moment) + 1]:
        return f"{moment}-{nonce}"
    day, time, _ = last.split("-")
    return f"{day}-{min(int(time) + 1, 999_999):06}-{nonce}"


def name_list(job: str, release: str) -> str:
    """Where the store keeps what a release has of ours."""
    return f"job-{job}.release-{release}"


def name_shown(job: str, release: str) -> str:
    """What is in the store once it was shown: whoever shows another one then means it."""
    return f"job-{job}.shown-{release}"


def newest_of(names: Iterable[str], job: str) -> str | None:
    """The last release of a job that the ``names`` in the store tell of."""
    before = name_list(job, "")
    return max((n[len(before) :] for n in names if n.startswith(before)), default=None)


class Listed(Struct, frozen=True):
    """What a release has of ours, each path with its look; and what DEST held then."""

    stamp: str
    looks: Mapping[str, str]


def look_of(size: int, mtime: int) -> str:
    """How a file looks, which is never written to; "" is how all else does, and what is not known."""
    return f"{size} {mtime}"


def stamp_of(lineage: str, marks: Sequence[str]) -> str:
    """What DEST held then: the mark gets another name with each run that writes there."""
    return " ".join([lineage, *marks])


def pack_list(stamp: str, looks: Mapping[str, str]) -> bytes:
    """For the store. No path has two slashes in a row."""
    told = (f"{path}//{look}" if look else path for path, look in sorted(looks.items()))
    return zlib.compress("\0".join([stamp, *told]).encode("utf-8", "surrogateescape"))


def read_list(value: bytes | None) -> Listed | None:
    """None: it is not known. What is in the store is anybody's word, and only ever compared with names."""
    if value is None:
        return None
    try:
        opened = zlib.decompressobj()
        text = opened.decompress(value, _MOST).decode("utf-8", "surrogateescape")
    except (zlib.error, UnicodeError):
        return None
    stamp, *told = text.split("\0")
    parts = (each.partition("//") for each in told)
    return Listed(stamp, {path: look for path, _, look in parts}) if opened.eof else None


def find_replaced(there: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Files of ours in a release that have another look by now: somebody has written them anew."""
    return [path for path, look in ours.items() if look and there.get(path, look) != look]


def find_foreign(
    there: Iterable[str], ours: Iterable[str], shared: Iterable[str], replaced: Iterable[str] = ()
) -> list[str]:
    """What a release has that we did not put there, sorted; of a folder of others' the folder alone."""
    common, known = frozenset(shared), frozenset(ours).difference(replaced)
    foreign = sorted(path for path in there if path not in known and path not in common)
    parents = {top for path in common for top in _tops(path)}
    inside = frozenset(foreign)
    return [path for path in foreign if path not in parents and not any(top in inside for top in _tops(path))]


def expired(releases: Sequence[str], current: str | None, keep: int) -> list[str]:
    """Those that are too old to be kept beside ``keep`` others; the current one is never among them."""
    others = [name for name in sorted(releases, reverse=True) if name != current]
    return others[max(keep - (current is not None), 0) :]


def _tops(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
