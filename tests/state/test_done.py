"""What runs have done, and what is held since that was undone: in the state folder, and at DEST."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconcile.core.done import Done
from reconcile.core.errors import Refused
from reconcile.core.job import Trash
from reconcile.core.model import NS, Change, Entry, Kind, Stamp
from reconcile.state.done import (
    MOST,
    forget_done,
    knows_any,
    note_done,
    outgrown,
    parcel_of,
    put_parcel,
    read_done,
)
from reconcile.state.small import remember
from reconcile.state.undone import HELD, Undone, keep_undone, recall_undone

GOLDEN = Path(__file__).parents[1] / "golden"
FILE = Entry(Kind.FILE, 0o644, 5, 9 * NS, b"d" * 16, stamp=Stamp(7, 5, 9 * NS, 9 * NS, 0o100644))
LINK = Entry(Kind.SYMLINK, 0o777, link="to \udcfe")
CHANGES = [
    Change("a", FILE, None),
    Change("b \udcff\n", None, LINK),
    Change("d", Entry(Kind.DIR, 0o755), Entry(Kind.DIR, 0o700)),
]
DONE = Done(7, "0123456789ab-x", 42, CHANGES, {"moved/a": FILE})
UNDONE = Undone((6, 7), {"a": None, "b \udcff\n": LINK, "d/f": FILE})


def test_it_is_as_it_was_written(tmp_path: Path) -> None:
    for serial in (3, 10, 7):
        note_done(str(tmp_path), Done(serial, "run", serial))
    note_done(str(tmp_path), DONE)
    keep_undone(str(tmp_path), UNDONE)
    assert [done.serial for done in read_done(str(tmp_path))] == [10, 7, 3]
    assert read_done(str(tmp_path))[1] == DONE
    assert recall_undone(str(tmp_path)) == UNDONE
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    forget_done(str(tmp_path), [3, 7, 8, 10])
    keep_undone(str(tmp_path), Undone())
    assert not list(tmp_path.iterdir())
    assert not knows_any(str(tmp_path))
    assert recall_undone(str(tmp_path)) == Undone()


def test_what_was_written_by_any_version_is_read(tmp_path: Path) -> None:
    for name in ("done.7", HELD):
        (tmp_path / name).write_bytes((GOLDEN / f"{name}-v1").read_bytes())
    assert read_done(str(tmp_path)) == [DONE]
    assert recall_undone(str(tmp_path)) == UNDONE


BAD = [((), {"../a": None}), ((), {"a": 7}), (7, {}), (("x",), {}), ((), 7)]


@pytest.mark.parametrize("value", ["", 7, [], [2, (), {}], *([1, *bad] for bad in BAD)])
def test_what_is_held_is_never_forgotten_in_silence(tmp_path: Path, value: object) -> None:
    remember(str(tmp_path), HELD, value)
    with pytest.raises(Refused, match="Remove it, and what was undone comes again"):
        recall_undone(str(tmp_path))


@pytest.mark.parametrize(
    "value",
    [
        7,
        [],
        [1, "r", 1, {"a": None}, {}, {}, False],
        [1, "r", 1, {"../a": None}, {"../a": None}, {}, False],
        [1, "r", 1, {"a": None}, {"a": [7]}, {}, False],
        [1, "r", 1, {"a": None}, {"a": None}, {"/etc": None}, False],
        [2, "r", 1, {}, {}, {}, False],
    ],
)
def test_what_is_damaged_can_not_be_undone(tmp_path: Path, value: object) -> None:
    remember(str(tmp_path), "done.9", value)
    (done,) = read_done(str(tmp_path))
    assert (done.serial, done.is_lost, done.changes) == (9, True, ())


def test_what_goes_to_dest_is_what_comes_from_there(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    note_done(str(here), DONE)
    keep_undone(str(here), UNDONE)
    keep_undone(str(there), Undone((), {"x": None}))
    assert parcel_of(str(here)).keys() == {HELD}
    assert parcel_of(str(here), 8).keys() == {HELD, "done"}
    put_parcel(str(there), {**parcel_of(str(here), 7), "../evil": b"", "snapshot": b"", "done.x": b""})
    assert sorted(path.name for path in there.iterdir()) == ["done.7", HELD]
    assert read_done(str(there)) == [DONE]
    assert recall_undone(str(there)) == UNDONE
    put_parcel(str(there), {})
    assert recall_undone(str(there)) == Undone(), "what is held no more there is held no more here"
    assert read_done(str(there)) == [DONE]


def test_no_more_is_kept_than_the_trash_may_have(tmp_path: Path) -> None:
    folder = str(tmp_path)
    for serial in range(1, MOST + 3):
        note_done(folder, Done(serial, "run", 0))
    assert sorted(outgrown(folder, None)) == sorted(outgrown(folder, Trash(bytes=5))) == [1, 2]
    os.utime(tmp_path / "done.5", (0, 0))
    assert sorted(outgrown(folder, Trash(60.0))) == [1, 2, 5]
