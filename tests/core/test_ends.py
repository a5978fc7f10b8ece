"""Links that are told by where they end: which of them may be ours."""

from __future__ import annotations

import pytest

from reconcile.core.ends import as_known
from reconcile.core.model import Entry, Kind, Seen


def told(link: str, above: str = "/dest", *, is_end: bool = True) -> Seen:
    return Seen(Kind.SYMLINK, 0o777, 0, 0, link=link, above=above, is_end=is_end)


THERE: dict[str, Seen | None] = {
    "current": told("/dest/releases/5"),
    "again": told("/dest/releases/5"),
    "d/deep": told("/dest/releases/5/file", "/dest/d"),
    "round": told("/dest/round"),
    "releases": Seen(Kind.DIR, 0o755, 0, 0),
    "gone": None,
}


@pytest.mark.parametrize(
    ("path", "link", "is_known"),
    [
        ("again", "current", True),
        ("again", "releases/5", True),  # nobody can tell
        ("again", "d/../current", True),
        ("again", "releases/6", False),
        ("d/deep", "../again/file", True),
        ("d/deep", "again/file", False),
        ("round", "round", True),
        ("round", "current", False),
        ("gone", "current", False),
        ("releases", "current", False),
    ],
)
def test_by_way_of_others(path: str, link: str, is_known: bool) -> None:
    shown = as_known(THERE, [(path, Entry(Kind.SYMLINK, 0o777, link=link))])
    assert {each: seen.link for each, seen in shown.items()} == ({path: link} if is_known else {})


def test_what_a_link_holds_is_believed() -> None:
    there = {"current": told("/dest/releases/5", is_end=False), "again": told("releases/5", is_end=False)}
    assert as_known(there, [("again", Entry(Kind.SYMLINK, 0o777, link="current"))]) == {}
