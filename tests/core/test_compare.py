"""What DEST shows beside what it is known to hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.core.compare import Checked, Fault, Finding, compare
from reconcile.core.model import UNSEEN, DirectorySnapshot, Entry, Kind, PlainDirectory, Seen
from reconcile.core.paths import parent
from tests.support.tags import OpaqueTags, tag_for

FILE = Entry(Kind.FILE, 0o644, 3, 7_000_000_000)
DIR = Entry(Kind.DIR, 0o755)
LINK = Entry(Kind.SYMLINK, 0o777, link="file")
PATHS = ("a", "a-b", "a/b", "a/b/c", "d", "d/e")


def snapshot(entries: dict[str, Entry]) -> DirectorySnapshot:
    names: dict[str, dict[str, Entry]] = {"": {}}
    for path, entry in entries.items():
        if entry.kind is Kind.DIR:
            names.setdefault(path, {})
        names.setdefault(parent(path), {})[path.rpartition("/")[2]] = entry
    return DirectorySnapshot({path: PlainDirectory(held) for path, held in names.items()})


def as_left(entry: Entry) -> Seen:
    if entry.kind is not Kind.FILE:
        return Seen(entry.kind, entry.mode, 0, None, link=entry.link, above="" if entry.link else None)
    return Seen(Kind.FILE, entry.mode, entry.size, entry.mtime, tag_for(entry.size, entry.mtime))


def look(known: dict[str, Entry], there: dict[str, Seen | None], *, perms: bool = True) -> list[Finding]:
    return list(compare(snapshot(known), there, OpaqueTags(), lambda _: perms))


@pytest.mark.parametrize(
    ("entry", "seen", "fault"),
    [
        (FILE, None, Fault.MISSING),
        (FILE, UNSEEN, Fault.UNSEEN),
        (FILE, replace(as_left(FILE), size=4, tag=tag_for(4, 7)), Fault.CHANGED),
        (FILE, replace(as_left(FILE), mtime=8, tag=tag_for(3, 8)), Fault.CHANGED),
        (FILE, replace(as_left(FILE), mode=0o600), Fault.MODE),
        (FILE, as_left(DIR), Fault.KIND),
        (DIR, as_left(FILE), Fault.KIND),
        (DIR, replace(as_left(DIR), mode=0o700), Fault.MODE),
        (LINK, replace(as_left(LINK), link="elsewhere"), Fault.LINK),
        (LINK, replace(as_left(LINK), mode=0o700), None),
        (FILE, replace(as_left(FILE), mode=None), None),
        (replace(FILE, mode=-1), as_left(FILE), None),
        (replace(FILE, retained=True), None, None),
        (replace(FILE, foreign=True), as_left(FILE), Fault.FOREIGN),
        (None, as_left(FILE), Fault.FOREIGN),
    ],
)
def test_each_fault(entry: Entry | None, seen: Seen | None, fault: Fault | None) -> None:
    found = look({} if entry is None else {"x": entry}, {"x": seen})
    assert [each.fault for each in found] == ([] if fault is None else [fault])


def test_modes_that_are_not_kept_are_not_wrong() -> None:
    assert not look({"x": FILE}, {"x": replace(as_left(FILE), mode=0o600)}, perms=False)


@given(known=st.sets(st.sampled_from(PATHS)), there=st.sets(st.sampled_from(PATHS)))
def test_each_path_is_counted_once(known: set[str], there: set[str]) -> None:
    """Whatever is missing or not ours is told, alone or with the directory that it lies in."""

    def close(paths: set[str]) -> dict[str, Entry]:
        above = {parent(path) for path in paths} | {parent(parent(path)) for path in paths}
        return {
            path: DIR if path in above or path in ("a", "a/b", "d") else FILE
            for path in sorted(paths | above - {""})
        }

    ours, theirs = close(known), close(there)
    found = look(ours, {path: as_left(entry) for path, entry in theirs.items()})
    told = {fault: sum(each.entries for each in found if each.fault is fault) for fault in Fault}
    assert told[Fault.MISSING] == len(ours.keys() - theirs.keys())
    assert told[Fault.FOREIGN] == len(theirs.keys() - ours.keys())
    assert [each.path for each in found] == sorted(each.path for each in found)
    for each in found:
        assert each.path in ours.keys() ^ theirs.keys()
        assert not parent(each.path) or (parent(each.path) in ours) == (parent(each.path) in theirs)


def test_what_counts() -> None:
    findings = (Finding("a", Fault.FOREIGN), Finding("b", Fault.MODE))
    assert [each.path for each in Checked(findings).wrong] == ["b"]
    assert [each.path for each in Checked(findings, strict=True).wrong] == ["a", "b"]
