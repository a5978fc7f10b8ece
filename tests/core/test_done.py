"""What a run has changed on the remote: ``done``."""

from __future__ import annotations

from msgspec.structs import replace

from reconcile.core.done import Done, find_changes, find_retired, merge
from reconcile.core.model import Action, Change, Op
from tests.core.test_undo import DIR, file, snapshot


def test_several_steps_are_one() -> None:
    one, two, three = file("1"), file("22"), file("333")
    steps = [
        Done(1, "r", 0, [Change("a", one, two), Change("b", None, two), Change("c", one, None)]),
        Done(2, "r", 0, [Change("a", two, three), Change("b", two, None), Change("d", None, one)]),
    ]
    assert merge(steps) == [Change("a", one, three), Change("c", one, None), Change("d", None, one)]


def test_what_no_one_sees_is_no_change() -> None:
    kept = replace(file("1"), retained=True)
    assert (
        find_changes(snapshot(a=file("1"), b=kept), snapshot(a=kept, b=replace(file("1"), excluded=True)))
        == []
    )


def test_what_went_from_another_path_than_it_had_is_noted() -> None:
    old = snapshot(d=DIR, d_x=file("1"), a=file("2"))
    new = snapshot(r=DIR, r_x=file("11"), a=file("22"))
    actions = [
        Action(Op.MOVE, "r", new=DIR, source="d", moved=DIR),
        Action(Op.MODIFY, "r/x", new=file("11"), old=file("1")),
        Action(Op.MODIFY, "a", new=file("22"), old=file("2")),
    ]
    assert find_retired(actions, find_changes(old, new)) == {"r/x": file("1")}
