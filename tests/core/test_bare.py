"""Stamps are of one machine: they do not leave it, and come back to what is still the same."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconcile.core.bare import with_stamps_of, without_stamps
from reconcile.core.model import NS, DirectorySnapshot, Entry, Kind, PlainDirectory, Stamp

STAMP = Stamp(7, 5, 9 * NS, 9 * NS, 0o100644)
FILE = Entry(Kind.FILE, 0o644, 5, 9 * NS + 1, b"d" * 16, stamp=STAMP)


def snapshot(**entries: Entry) -> DirectorySnapshot:
    return DirectorySnapshot({"": PlainDirectory(entries)}, lineage="l", serial=3, settled="as it was")


def test_what_is_the_same_gets_them_back() -> None:
    mine = snapshot(f=FILE, d=Entry(Kind.DIR, 0o755), gone=FILE)
    theirs = snapshot(f=replace(FILE, mtime_ns=9 * NS + 7), d=Entry(Kind.DIR, 0o755), new=FILE)
    bare = without_stamps(theirs)
    assert [entry.stamp for _, entry in bare.walk()] == [None] * 3
    assert replace(bare, dirs={}) == replace(theirs, dirs={})
    stamped = dict(with_stamps_of(bare, mine).walk())
    assert stamped["f"] == replace(FILE, mtime_ns=9 * NS + 7)
    assert stamped["new"].stamp is None
    assert stamped.keys() == {"f", "d", "new"}


@pytest.mark.parametrize(
    "other",
    [
        {"digest": b"e" * 16},
        {"size": 6},
        {"mode": 0o600},
        {"mtime_ns": 10 * NS},
        {"tag": b"5 10"},
        {"retained": True},
        {"excluded": True},
        {"foreign": True},
        {"kind": Kind.SYMLINK, "digest": None, "link": "x"},
    ],
)
def test_what_differs_is_read_again(other: dict[str, object]) -> None:
    theirs = snapshot(f=replace(FILE, stamp=None, **other))
    assert with_stamps_of(theirs, snapshot(f=FILE)).dirs[""].entries()["f"].stamp is None
