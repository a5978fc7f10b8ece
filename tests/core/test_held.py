"""What was undone stays so, as long as nobody changes it here: ``held``."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconcile.core.held import leave_held, unread
from reconcile.core.job import Options
from reconcile.core.model import NS, Change, Entry, Kind, Stamp

STAMP = Stamp(7, 3, 9 * NS, 9 * NS, 0o100644)
OLD = Entry(Kind.FILE, 0o644, 1, 8 * NS, b"before")
FILE = Entry(Kind.FILE, 0o644, 3, 9 * NS, b"after", stamp=STAMP)
FOUND = replace(FILE, digest=None)
DIR = Entry(Kind.DIR, 0o755)
LINK = Entry(Kind.SYMLINK, 0o777, link="to")


def made(*changes: Change, options: Options = Options(), **held: Entry | None) -> tuple[list[str], set[str]]:
    """The paths of changes that are made, and those that are held no more."""
    known = {path.replace("_", "/"): entry for path, entry in held.items()}
    rest, left, released = leave_held(changes, known, options)
    assert {change.path for change in rest}.isdisjoint(left)
    return [change.path for change in rest], set(released)


@pytest.mark.parametrize(
    ("was", "new"), [(FILE, FOUND), (None, None), (DIR, DIR), (LINK, LINK), (FILE, replace(FILE, stamp=None))]
)
def test_what_is_as_it_was_stays(was: Entry | None, new: Entry | None) -> None:
    assert made(Change("a", OLD, new), Change("b", None, FILE), a=was) == (["b"], set())


@pytest.mark.parametrize(
    "new",
    [
        None,
        DIR,
        LINK,
        replace(FILE, digest=b"other"),
        replace(FOUND, stamp=replace(STAMP, mtime_ns=10 * NS)),
        replace(FILE, mode=0o600, stamp=replace(STAMP, mode=0o100600)),
        replace(FILE, mtime_ns=77 * NS, stamp=replace(STAMP, mtime_ns=77 * NS)),
        replace(FILE, mode=0o600, stamp=None),
    ],
)
def test_what_has_changed_here_does_not(new: Entry | None) -> None:
    assert made(Change("a", OLD, new), a=FILE) == (["a"], {"a"})


def test_another_option_is_no_change() -> None:
    chmod = replace(FOUND, mode=0o600, digest=FILE.digest)
    assert made(Change("a", OLD, chmod), a=FILE) == ([], set())


def test_what_is_kept_of_it_counts() -> None:
    new = replace(FILE, mtime_ns=77 * NS)
    assert made(Change("a", OLD, new), options=Options(keep_times=False), a=FILE) == ([], set())


def test_what_a_filter_hides_is_held_still() -> None:
    assert made(Change("a", OLD, replace(OLD, excluded=True)), a=FILE) == (["a"], set())


def test_a_folder_is_made_for_what_is_new_in_it() -> None:
    changes = [Change("d", None, DIR), Change("d/x", None, FILE), Change("d/y", None, FILE)]
    assert made(*changes, d=DIR, d_x=FILE) == (["d", "d/y"], {"d"})
    assert made(*changes[:2], d=DIR, d_x=FILE) == ([], set())


def test_a_folder_that_is_there_is_as_it_was() -> None:
    changes = [Change("d", DIR, replace(DIR, mode=0o700)), Change("d/y", None, FILE)]
    assert made(*changes, d=replace(DIR, mode=0o700)) == (["d/y"], set())


def test_only_what_may_be_the_same_is_read() -> None:
    touched = replace(FOUND, stamp=replace(STAMP, mtime_ns=10 * NS))
    changes = [
        Change("same", OLD, FOUND),
        Change("touched", OLD, touched),
        Change("longer", OLD, replace(touched, size=4)),
        Change("link", OLD, replace(LINK, link=None)),
        Change("other", OLD, touched),
    ]
    held = {"same": FILE, "touched": FILE, "longer": FILE, "link": LINK}
    assert [path for path, _ in unread(changes, held)] == ["touched", "link"]
