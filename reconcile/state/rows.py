"""The packed form of one directory, the same in a scan and in a snapshot. Only the codec lives here.

A directory is two byte strings, so that "did anything change in here?" is one
comparison of bytes and a directory that did not change is never decoded:

* **stamps**: msgpack of one flat list, six items for each entry, sorted by name:
  name, raw ``st_mode``, size, mtime_ns, ctime_ns, ino. Of a directory only name
  and mode count, the rest is 0. A scan packs exactly the same bytes.
* **facts**: msgpack of ``[hidden rows, hidden facts, facts]``. ``facts`` has one
  item for each row of ``stamps``; hidden rows are those that no scan would show:
  retained, excluded, foreign, or without a stamp.

A fact is nil for a plain directory, the 16 bytes of the digest for a file whose
remote copy agrees with its stamp, the target for such a symlink, and the long
form, all but the stamp as ``entries`` packs it, for any other entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import Any

import msgpack  # type: ignore[import-untyped]

from reconcile.core.model import PERMISSIONS, Directory, Entry, Kind, Stamp
from reconcile.state.entries import EXCLUDED, FLAGS, RETAINED, pack_entry, unpack_entry

STRIDE = 6
DIGEST_SIZE = 16

_NO_HIDDEN = b"\x93\x90"  # a list of three, the first of them an empty list
_KINDS = {S_IFREG: Kind.FILE, S_IFDIR: Kind.DIR, S_IFLNK: Kind.SYMLINK}
_FILE, _DIR = Kind.FILE, Kind.DIR  # a member is twice as dear by way of its class
_FORMATS = {kind: bits for bits, kind in _KINDS.items()}
_TIME_LIMIT = 1 << 63
_MODES: dict[int, int] = {}  # each number once: there are few, and a million rows
_SHARED = tuple(range(PERMISSIONS + 1))  # likewise

_pack_utf8 = msgpack.Packer(autoreset=True).pack
_pack_bytes = msgpack.Packer(autoreset=True, unicode_errors="surrogateescape").pack


class ScannedDirectory:
    """A directory as a scan found it: stamps, and no facts yet."""

    __slots__ = ("_entries", "raw")

    hidden = unsettled = False
    retained = 0

    def __init__(self, stamps: bytes) -> None:
        self.raw = stamps
        self._entries: Mapping[str, Entry] | None = None

    def entries(self) -> Mapping[str, Entry]:
        """Name to entry, sorted by name. Raises ValueError if the bytes are no rows."""
        if self._entries is None:
            self._entries = {row[0]: _scanned_entry(row) for row in _rows(_unpack(self.raw))}
        return self._entries

    def forget(self) -> None:
        """Keep of the entries what is packed: they take ten times the room."""
        self._entries = None


class PackedDirectory:
    """A directory of a snapshot, decoded when somebody asks for its entries."""

    __slots__ = ("_entries", "facts", "raw")

    def __init__(self, stamps: bytes, facts: bytes) -> None:
        self.raw = stamps
        self.facts = facts
        self._entries: Mapping[str, Entry] | None = None

    @property
    def hidden(self) -> bool:
        """Whether there are entries that ``raw`` does not show."""
        return not self.facts.startswith(_NO_HIDDEN)

    @property
    def retained(self) -> int:
        """How many of its entries are retained, those that are excluded as well left out."""
        return sum(each & (RETAINED | EXCLUDED) == RETAINED for each in self._hidden_flags())

    @property
    def unsettled(self) -> bool:
        """Whether it hides entries that are neither retained nor excluded."""
        return not all(each & (RETAINED | EXCLUDED) for each in self._hidden_flags())

    def _hidden_flags(self) -> Iterator[int]:
        return (fact[FLAGS] for fact in _unpack(self.facts)[1]) if self.hidden else iter(())

    def entries(self) -> Mapping[str, Entry]:
        """Name to entry, sorted by name. Raises ValueError if the bytes are no directory."""
        if self._entries is None:
            self._entries = _decode(self.raw, self.facts)
        return self._entries

    def forget(self) -> None:
        """Keep of the entries what is packed: they take ten times the room."""
        self._entries = None


def pack_stamps(flat: Sequence[str | int]) -> bytes:
    """Pack flat rows, which must be sorted by name.

    Times beyond 64 bits of nanoseconds (the year 2262), which some file systems
    hold, are brought to the limit: see :func:`narrow`.
    """
    try:
        return _pack(flat)
    except OverflowError:
        return _pack([item if isinstance(item, str) else narrow(item) for item in flat])


def narrow(value: int) -> int:
    """The number as rows can hold it: a time, size or inode number within -2^63 and 2^64 - 1."""
    return max(-_TIME_LIMIT, min(value, 2 * _TIME_LIMIT - 1))


def scanned(stamps: bytes) -> Directory:
    """A directory of a scan. Its entries have no digest, link or tag yet."""
    return ScannedDirectory(stamps)


def pack_directory(entries: Mapping[str, Entry]) -> PackedDirectory:
    """Pack entries, in whatever order they come. Every entry comes back as it was."""
    shown: list[str | int] = []
    facts: list[object] = []
    hidden: list[str | int] = []
    hidden_facts: list[object] = []
    for name, entry in sorted(entries.items(), key=itemgetter(0)):
        row = _row(entry)
        if row is not None and not (entry.retained or entry.excluded or entry.foreign):
            shown.append(name)
            shown += row
            facts.append(_fact(entry))
        else:
            stamp = entry.stamp or Stamp(0, 0, 0, 0, 0)
            hidden += (name, stamp.mode, stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.ino)
            hidden_facts.append(pack_entry(entry))
    return PackedDirectory(pack_stamps(shown), _pack([hidden, hidden_facts, facts]))


def _row(entry: Entry) -> tuple[int, int, int, int, int] | None:
    """What a scan would show of the entry after its name, or None if no scan would."""
    stamp = entry.stamp
    if entry.kind is _DIR:
        plain = stamp is None and 0 <= entry.mode <= PERMISSIONS
        return (S_IFDIR | entry.mode, 0, 0, 0, 0) if plain else None
    if stamp is None or S_IFMT(stamp.mode) != _FORMATS[entry.kind]:
        return None
    return stamp.mode, stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.ino


def _fact(entry: Entry) -> object:
    """What the row of the entry does not say, in the shortest form that loses nothing."""
    kind = entry.kind
    if kind is _DIR:
        plain = entry == Entry(Kind.DIR, entry.mode)
        return None if plain else pack_entry(entry)
    stamp = entry.stamp
    assert stamp is not None
    as_scanned = (
        entry.mode == stamp.mode & PERMISSIONS
        and entry.size == stamp.size
        and entry.mtime_ns == stamp.mtime_ns
    )
    if kind is _FILE:
        digest = entry.digest
        if (
            as_scanned
            and digest is not None
            and len(digest) == DIGEST_SIZE
            and entry.link is None
            and entry.tag is None
        ):
            return digest
    elif as_scanned and entry.link is not None and entry.digest is None and entry.tag is None:
        return entry.link
    return pack_entry(entry)


def _decode(stamps: bytes, packed: bytes) -> Mapping[str, Entry]:
    parts = _unpack(packed)
    if len(parts) != 3 or any(type(part) is not list for part in parts):
        raise ValueError("the facts are not three lists")
    hidden, hidden_facts, facts = parts
    entries = _join(_rows(_unpack(stamps)), facts)
    if hidden or hidden_facts:
        shown = len(entries)
        entries += _join(_rows(hidden), hidden_facts)
        entries.sort(key=itemgetter(0))
        if len({name for name, _ in entries}) != len(entries):
            raise ValueError(f"a hidden name is among the {shown} shown ones")
    return dict(entries)


def _join(rows: list[tuple[Any, ...]], facts: list[Any]) -> list[tuple[str, Entry]]:
    if len(rows) != len(facts):
        raise ValueError(f"{len(rows)} rows have {len(facts)} facts")
    return [(row[0], _entry(row, fact)) for row, fact in zip(rows, facts, strict=True)]


def _entry(row: tuple[Any, ...], fact: object) -> Entry:
    """A row and its fact → the entry."""
    _, mode, size, mtime_ns, ctime_ns, ino = row
    if type(fact) is list:
        return unpack_entry(fact, Stamp(ino, size, mtime_ns, ctime_ns, mode))
    kind = _KINDS.get(S_IFMT(mode))
    if fact is None and kind is Kind.DIR:
        return Entry(Kind.DIR, mode & PERMISSIONS)
    stamp = Stamp(ino, size, mtime_ns, ctime_ns, mode)
    permissions = _SHARED[mode & PERMISSIONS]
    if type(fact) is bytes and len(fact) == DIGEST_SIZE and kind is Kind.FILE:
        return Entry(Kind.FILE, permissions, size, mtime_ns, digest=fact, stamp=stamp)
    if type(fact) is str and kind is Kind.SYMLINK:
        return Entry(Kind.SYMLINK, permissions, size, mtime_ns, link=fact, stamp=stamp)
    raise ValueError("a fact does not fit the mode of its row")


def _scanned_entry(row: tuple[Any, ...]) -> Entry:
    """A row → what the remote should come to hold."""
    _, mode, size, mtime_ns, ctime_ns, ino = row
    kind = _KINDS.get(S_IFMT(mode))
    if kind is None:
        raise ValueError(f"mode {mode:o} is neither file, directory nor link")
    if kind is Kind.DIR:
        return Entry(Kind.DIR, _SHARED[mode & PERMISSIONS])
    stamp = Stamp(ino, size, mtime_ns, ctime_ns, mode)
    return Entry(kind, _SHARED[mode & PERMISSIONS], size, mtime_ns, stamp=stamp)


def _rows(flat: list[Any]) -> list[tuple[Any, ...]]:
    """A flat list → checked rows: whole, typed, sorted, and with names that are names."""
    columns = [flat[column::STRIDE] for column in range(STRIDE)]
    names = columns[0]
    if len(flat) % STRIDE:
        raise ValueError("the last row is cut off")
    if set(map(type, names)) - {str} or set().union(*(map(type, column) for column in columns[1:])) - {int}:
        raise ValueError("a row has items of the wrong type")
    if not all(map(str.__lt__, names, names[1:])):
        raise ValueError("the rows are not sorted by name")
    if not {"", ".", ".."}.isdisjoint(names) or any("/" in name or "\0" in name for name in names):
        raise ValueError("a name is not the name of a file")
    columns[1] = [_MODES.setdefault(mode, mode) for mode in columns[1]]
    return list(zip(*columns, strict=True))


def _pack(value: object) -> bytes:
    # The encoder for plain UTF-8 is the faster one by far; it refuses names that are not UTF-8.
    try:
        packed: bytes = _pack_utf8(value)
    except UnicodeEncodeError:
        packed = _pack_bytes(value)
    return packed


def _unpack(packed: bytes) -> list[Any]:
    try:
        value = msgpack.unpackb(packed, unicode_errors="surrogateescape")
    except (TypeError, OverflowError, msgpack.UnpackException) as error:  # the rest are ValueErrors
        raise ValueError(f"not msgpack: {error}") from error
    if type(value) is not list:
        raise ValueError("not a list")
    return value
