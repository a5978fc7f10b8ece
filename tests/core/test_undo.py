"""What a run has changed, and the plan that takes it back: ``undo``."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from reconcile.core.done import find_changes
from reconcile.core.job import Options
from reconcile.core.model import (
    NS,
    RETIRED,
    DirectorySnapshot,
    Entry,
    Kind,
    Op,
    PlainDirectory,
    Reason,
    Seen,
)
from reconcile.core.undo import Item, plan_undo, wish
from tests.support.tags import OpaqueTags, tag_for

DIR = Entry(Kind.DIR, 0o755)


def file(content: str, mtime: int = 7, mode: int = 0o644, *, digest: bool = True) -> Entry:
    return Entry(Kind.FILE, mode, len(content), mtime * NS, content.encode() if digest else None)


def snapshot(**entries: Entry) -> DirectorySnapshot:
    """Names in which ``_`` is the slash, parents first."""
    dirs: dict[str, dict[str, Entry]] = {"": {}}
    for path, entry in ((name.replace("_", "/"), entry) for name, entry in entries.items()):
        above, _, name = path.rpartition("/")
        dirs[above][name] = entry
        if entry.kind is Kind.DIR:
            dirs[path] = {}
    return DirectorySnapshot({path: PlainDirectory(names) for path, names in dirs.items()})


def in_trash(entries: Mapping[str, Entry], run: str = "r1") -> list[Item]:
    return [
        Item(f"{RETIRED}/{run}/{path}", path, Seen(e.kind, e.mode, e.size, e.mtime, tag_for(e.size, e.mtime)))
        for path, e in entries.items()
    ]


def take_back(
    old: DirectorySnapshot, new: DirectorySnapshot, trash: Mapping[str, Entry], **retired: Entry
) -> list[tuple[Op, str, str | None]]:
    """What undoes a run that led from one to the other, and left this in the trash."""
    undone = plan_undo(
        new,
        wish(new, find_changes(old, new)),
        in_trash(trash),
        {path.replace("_", "/"): entry for path, entry in retired.items()},
        OpaqueTags(),
        Options(),
    )
    assert not undone.lacking
    assert not any(
        entry.digest and entry.digest.startswith(b"no digest") for entry in _entries(undone.plan.actions)
    )
    return [
        (a.op, a.path, a.source.removeprefix(f"{RETIRED}/") if a.source else None)
        for a in undone.plan.actions
    ]


def _entries(actions: object) -> list[Entry]:
    found = []
    for action in list(actions):  # type: ignore[call-overload]
        found += [entry for entry in (action.new, action.old, action.moved) if entry is not None]
        found += [entry for entry in action.carried.values() if entry is not None]
        found += [entry for _, entry in action.inside]
    return found


def test_what_is_new_goes_and_what_went_comes_back() -> None:
    old = snapshot(a=file("1"), b=file("22"), m=file("333"))
    new = snapshot(a=file("one"), n=file("4444"), m=replace(file("333"), mode=0o600))
    assert take_back(old, new, {"a": file("1"), "b": file("22")}) == [
        (Op.MOVE, "a", "r1/a"),
        (Op.MOVE, "b", "r1/b"),
        (Op.SETMETA, "m", None),
        (Op.DELETE, "n", None),
    ]


def test_a_folder_comes_back_whole_if_it_went_so() -> None:
    old = snapshot(d=DIR, d_x=file("1"), d_e=DIR, d_e_y=file("22"))
    trash = {"d": DIR, "d/x": file("1"), "d/e": DIR, "d/e/y": file("22")}
    assert take_back(old, snapshot(), trash) == [(Op.MOVE, "d", "r1/d")]


def test_a_folder_that_was_made_in_the_trash_stays_there() -> None:
    old = snapshot(d=DIR, d_x=file("1"), d_e=DIR, d_e_y=file("22"))
    made = replace(DIR, mode=0o700)
    trash = {"d": made, "d/x": file("1"), "d/e": made, "d/e/y": file("22")}
    assert take_back(old, snapshot(), trash) == [
        (Op.MKDIR, "d", None),
        (Op.MKDIR, "d/e", None),
        (Op.MOVE, "d/e/y", "r1/d/e/y"),
        (Op.MOVE, "d/x", "r1/d/x"),
    ]


def test_a_folder_with_something_of_others_in_it_stays_there() -> None:
    old = snapshot(d=DIR, d_x=file("1"))
    trash = {"d": DIR, "d/x": file("1"), "d/theirs": file("999")}
    assert take_back(old, snapshot(), trash) == [(Op.MKDIR, "d", None), (Op.MOVE, "d/x", "r1/d/x")]


def test_a_folder_that_moved_and_changed_goes_back_with_what_was_in_it() -> None:
    old = snapshot(d=DIR, d_x=file("1"), d_y=file("22"), d_z=file("333"))
    new = snapshot(r=DIR, r_x=file("1"), r_y=file("two"), r_z=file("333"))
    made = replace(DIR, mode=0o700)
    assert take_back(old, new, {"r": made, "r/y": file("22")}, r_y=file("22")) == [
        (Op.MOVE, "d", "r"),
        (Op.MOVE, "d/y", "r1/r/y"),
    ]


def test_files_of_which_no_digest_is_known_are_told_by_size_and_time() -> None:
    one, other = file("12345", 7, digest=False), file("12345", 8, digest=False)
    old = snapshot(a=one, b=other)
    assert take_back(old, snapshot(c=one), {"b": other}) == [(Op.MOVE, "a", "c"), (Op.MOVE, "b", "r1/b")]


def test_what_is_nowhere_is_lacking() -> None:
    old, new = snapshot(a=file("1"), e=file("")), snapshot(a=file("22"))
    undone = plan_undo(new, wish(new, find_changes(old, new)), [], {}, OpaqueTags(), Options())
    assert sorted(undone.lacking) == ["a", "e"]
    known = wish(new, find_changes(old, new), {"a"})
    assert known.reverts.keys() == known.held.keys() == {"e"}
    assert [(problem.path, problem.reason) for problem in known.problems] == [("a", Reason.CHANGED)]


def test_what_another_run_has_changed_since_is_left() -> None:
    old, new = snapshot(a=file("1"), b=file("2")), snapshot(a=file("11"), b=file("22"))
    known = wish(snapshot(a=file("111"), b=file("22")), find_changes(old, new))
    assert known.reverts.keys() == {"b"}
    assert [problem.path for problem in known.problems] == ["a"]


def test_nothing_that_came_since_goes_along_with_a_folder() -> None:
    old, new = snapshot(), snapshot(d=DIR, d_x=file("1"), e=DIR)
    now = snapshot(d=DIR, d_x=file("1"), d_later=file("22"), e=DIR)
    known = wish(now, find_changes(old, new))
    assert known.reverts == {"d/x": None, "e": None}
    assert [problem.path for problem in known.problems] == ["d"]


def test_nothing_comes_back_into_a_folder_that_is_gone_since() -> None:
    old, new = snapshot(d=DIR, d_x=file("1")), snapshot(d=DIR)
    known = wish(snapshot(), find_changes(old, new))
    assert not known.reverts
    assert [problem.path for problem in known.problems] == ["d/x"]
