"""The row codec: nothing is lost, a scan packs the same bytes, rubbish is a ValueError."""

from __future__ import annotations

from collections.abc import Mapping
from stat import S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.core.diff import diff
from reconcile.core.filters import Filter
from reconcile.core.job import Options
from reconcile.core.model import NS, UNKNOWN_MODE, DirectorySnapshot, Entry, Kind, Scan, Stamp
from reconcile.core.settings import fingerprint
from reconcile.remotes.tree.tags import note
from reconcile.state.entries import pack_entry, unpack_entry
from reconcile.state.rows import PackedDirectory, pack_directory, pack_stamps, scanned

NAMES = st.one_of(
    st.sampled_from(["a", "a.b", "\udcff", "x [/x]".replace("/", ""), "\n", "é", "n" * 255]),
    st.binary(min_size=1, max_size=6)
    .filter(lambda name: not {0, ord("/")} & set(name) and name not in (b".", b".."))
    .map(lambda name: name.decode("utf-8", "surrogateescape")),
)
TAG = 6  # where it stands in a long fact
SIZES = st.integers(0, 2**63 - 1)
TIMES = st.integers(-(2**63), 2**63 - 1)
MODES = st.one_of(
    st.integers(0, 0o777),
    st.builds(int.__or__, st.sampled_from([S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO]), st.integers(0, 0o7777)),
)
STAMPS = st.builds(Stamp, st.integers(0, 2**64 - 1), SIZES, TIMES, TIMES, MODES)
ENTRIES = st.builds(
    Entry,
    st.sampled_from(Kind),
    st.one_of(st.just(UNKNOWN_MODE), st.integers(0, 0o777)),
    SIZES,
    TIMES,
    digest=st.one_of(st.none(), st.binary(min_size=16, max_size=16), st.binary(max_size=3)),
    link=st.one_of(st.none(), NAMES),
    stamp=st.one_of(st.none(), STAMPS),
    tag=st.one_of(st.none(), st.binary(max_size=12)),
    retained=st.booleans(),
    excluded=st.booleans(),
    foreign=st.booleans(),
)


@st.composite
def scanned_entries(draw: st.DrawFn) -> Entry:
    """What a scan shows."""
    kind = draw(st.sampled_from(Kind))
    mode = draw(st.integers(0, 0o777))
    if kind is Kind.DIR:
        return Entry(kind, mode)
    special = draw(st.sampled_from([0, 0o2000, 0o4000])) | (S_IFREG if kind is Kind.FILE else S_IFLNK)
    stamp = replace(draw(STAMPS), mode=special | mode)
    return Entry(kind, mode, stamp.size, stamp.mtime_ns, stamp=stamp)


def published(entry: Entry) -> Entry:
    """The same after it was sent."""
    if entry.kind is Kind.FILE:
        return replace(entry, digest=b"d" * 16)
    return replace(entry, link="to") if entry.kind is Kind.SYMLINK else entry


@given(st.dictionaries(NAMES, ENTRIES | scanned_entries() | scanned_entries().map(published), max_size=8))
def test_nothing_is_lost(entries: Mapping[str, Entry]) -> None:
    packed = pack_directory(entries)
    fresh = PackedDirectory(packed.raw, packed.facts)
    assert fresh.entries() == entries
    assert list(fresh.entries()) == sorted(entries)
    shown = scanned(packed.raw).entries()
    assert packed.hidden == (len(shown) < len(entries))
    assert all(entries[name].kind is entry.kind for name, entry in shown.items())


@given(st.dictionaries(NAMES, scanned_entries(), max_size=8))
def test_a_scan_and_its_snapshot_have_the_same_bytes(entries: Mapping[str, Entry]) -> None:
    scan = scanned(pack_directory(entries).raw)
    assert not scan.hidden
    assert scan.entries() == entries
    saved = pack_directory({name: published(entry) for name, entry in scan.entries().items()})
    assert saved.raw == scan.raw
    assert not saved.hidden


@given(ENTRIES, SIZES, TIMES)
def test_tags_of_the_first_format_are_what_their_remote_makes_of_them(
    entry: Entry, size: int, mtime: int
) -> None:
    fact = [*pack_entry(entry)]
    for shown_size, shown_time in ((size, mtime), (entry.size, entry.mtime), (entry.size, mtime)):
        fact[TAG] = [shown_size, shown_time]
        assert unpack_entry(fact, entry.stamp) == replace(entry, tag=note(shown_size, shown_time, entry))


@pytest.mark.parametrize("tag", [[], [1], [1, 2, 3], ["1", 2], [None, 0], 7, "5 9", [b"5", b"9"]])
def test_tags_that_are_none(tag: object) -> None:
    fact = [*pack_entry(Entry(Kind.FILE, 0o644))]
    fact[TAG] = tag
    with pytest.raises(ValueError):
        unpack_entry(fact, None)


def test_the_common_cases_are_short() -> None:
    stamp = Stamp(ino=7, size=3, mtime_ns=5 * NS + 1, ctime_ns=6 * NS, mode=S_IFREG | 0o640)
    file = Entry(Kind.FILE, 0o640, 3, stamp.mtime_ns, digest=b"D" * 16, stamp=stamp)
    link = Entry(Kind.SYMLINK, 0o777, 3, 1, link="abc", stamp=Stamp(8, 3, 1, 1, S_IFLNK | 0o777))
    packed = pack_directory({"f": file, "d": Entry(Kind.DIR, 0o755), "l": link})
    assert msgpack.unpackb(packed.facts) == [[], [], [None, b"D" * 16, "abc"]]
    assert msgpack.unpackb(packed.raw)[:12] == [
        *("d", S_IFDIR | 0o755, 0, 0, 0, 0),
        *("f", S_IFREG | 0o640, 3, stamp.mtime_ns, 6 * NS, 7),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        Entry(Kind.DIR, 0o700, retained=True),
        Entry(Kind.DIR, 0o700, excluded=True),
        Entry(Kind.DIR, 0o700, foreign=True),
        Entry(Kind.FILE, 0o600, digest=b"d" * 16),
    ],
)
def test_what_no_scan_shows_is_hidden(entry: Entry) -> None:
    plain = pack_directory({"d": Entry(Kind.DIR, 0o755)})
    flagged = pack_directory({"d": Entry(Kind.DIR, 0o755), "x": entry})
    assert flagged.hidden
    assert not plain.hidden
    assert flagged.raw == plain.raw


def test_times_beyond_64_bits_are_brought_to_the_limit() -> None:
    row = scanned(pack_stamps(["f", S_IFREG | 0o600, 1, 2**70, -(2**70), 3])).entries()["f"]
    assert row.mtime_ns == 2**64 - 1
    assert row.stamp is not None
    assert row.stamp.ctime_ns == -(2**63)


@settings(max_examples=300)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_rubbish_is_a_value_error(stamps: bytes, facts: bytes) -> None:
    for directory in (scanned(stamps), PackedDirectory(stamps, facts)):
        try:
            directory.entries()
        except ValueError:
            pass


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**40) | st.floats() | NAMES | st.binary(max_size=16),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=20,
)


@settings(max_examples=300)
@given(JUNK, JUNK)
def test_well_packed_rubbish_is_a_value_error(rows: object, facts: object) -> None:
    pack = msgpack.Packer(unicode_errors="surrogateescape").pack
    for value in (facts, [[], [], facts], [rows, facts, []]):
        try:
            PackedDirectory(pack(rows), pack(value)).entries()
        except ValueError:
            pass


def test_every_truncation_is_a_value_error() -> None:
    stamp = Stamp(1, 2, 3, 4, S_IFREG | 0o600)
    packed = pack_directory(
        {"a": Entry(Kind.FILE, 0o600, 2, 3, stamp=stamp), "b": Entry(Kind.DIR, 0o700, retained=True)}
    )
    for end in range(len(packed.raw)):
        with pytest.raises(ValueError):
            scanned(packed.raw[:end]).entries()
    for end in range(len(packed.facts)):
        with pytest.raises(ValueError):
            PackedDirectory(packed.raw, packed.facts[:end]).entries()


@pytest.mark.parametrize("names", [["a", "a"], ["b", "a"], [".."], ["a/b"], [""], ["\0"], [7]])
def test_names_that_are_none(names: list[str]) -> None:
    flat = [item for name in names for item in (name, S_IFREG | 0o600, 0, 0, 0, 0)]
    with pytest.raises(ValueError):
        scanned(pack_stamps(flat)).entries()


def test_what_was_saved_without_a_stamp_and_is_gone_is_a_change() -> None:
    """Of two directories with the same bytes: what was too new to be trusted is not in them."""
    stamp = Stamp(ino=7, size=3, mtime_ns=5 * NS, ctime_ns=6 * NS, mode=S_IFREG | 0o640)
    trusted = Entry(Kind.FILE, 0o640, 3, 5 * NS, digest=b"D" * 16, stamp=stamp)
    fresh = replace(trusted, stamp=None)
    kept, options = replace(fresh, retained=True), Options()
    found = Scan({"": scanned(pack_directory({"trusted": trusted}).raw)}, 0, 0)
    for hidden, changed in ((fresh, ["hidden"]), (kept, [])):
        old = DirectorySnapshot(
            {"": pack_directory({"hidden": hidden, "trusted": trusted})},
            settled=fingerprint(options, Filter()),
        )
        assert [change.path for change in diff(old, found, Filter(), options)] == changed
