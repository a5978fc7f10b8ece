"""``shelf``: what releases are called, and what in one of them is not ours."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.core.shelf import (
    Listed,
    expired,
    find_foreign,
    find_replaced,
    is_release,
    look_of,
    name_release,
    pack_list,
    read_list,
    stamp_of,
)

ONE, TWO, THREE = "20261127-031500-ab12", "20261127-031501-0000", "20261128-000000-ffff"


def test_later_ones_come_later_whatever_the_clock_says() -> None:
    assert name_release("20261127-031500", "ab12", []) == ONE
    assert name_release("20261128-000000", "ffff", [ONE, TWO]) == THREE
    for before in ([THREE], [ONE, THREE, TWO]):
        name = name_release("20261127-031500", "ab12", before)
        assert name > THREE
        assert is_release(name)
    assert name_release("20261127-031500", "0000", [ONE]) > ONE


@pytest.mark.parametrize(
    "name", ["next", "", "current", f"{ONE}.new", f"{ONE}.gone", f"x{ONE}", ONE.upper(), "v1"]
)
def test_other_folders_are_no_releases(name: str) -> None:
    assert is_release(ONE)
    assert not is_release(name)


@given(st.sets(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)))
def test_a_list_is_read_back(paths: set[str]) -> None:
    paths.add("\udcff")
    looks = {
        path.replace("//", "/").strip("/"): look_of(len(path), 7) if "a" in path else "" for path in paths
    }
    assert read_list(pack_list(stamp_of("a", ["b"]), looks)) == Listed("a b", looks)


def test_a_list_of_before_tells_no_looks() -> None:
    listed = read_list(zlib.compress(b"a b\0x\0x/y"))
    assert listed == Listed("a b", {"x": "", "x/y": ""})
    assert find_replaced({"x": "1 2"}, listed.looks) == []


def test_what_has_another_look_was_written_by_others() -> None:
    ours = {"a": look_of(1, 2), "b": look_of(1, 2), "folder": "", "gone": look_of(1, 2)}
    assert find_replaced({"a": look_of(1, 3), "b": look_of(1, 2), "folder": "1 1"}, ours) == ["a"]
    assert find_replaced({"a": ""}, ours) == ["a"]
    assert find_foreign(["a", "b"], ours, [], ["a"]) == ["a"]


@pytest.mark.parametrize("value", [None, b"", b"x", zlib.compress(b"\xff" * 9)[:-4]])
def test_anybodys_word_is_no_list(value: bytes | None) -> None:
    assert read_list(value) is None


def test_what_is_foreign_is_told_by_its_top() -> None:
    ours = frozenset(["a", "a/b", "a/b/c", "x"])
    there = ["a", "a/b", "a/b/c", "a/b/d", "new", "new/1", "new/2", "up", "var", "var/cache", "x-1"]
    assert find_foreign(there, ours, ["up", "var/cache"]) == ["a/b/d", "new", "x-1"]
    assert find_foreign(there, ours, []) == ["a/b/d", "new", "up", "var", "x-1"]
    assert find_foreign(["a", "x"], ours, []) == []


def test_the_newest_stay_and_the_one_that_is_shown() -> None:
    assert expired([ONE, TWO, THREE], THREE, 2) == [ONE]
    assert expired([ONE, TWO, THREE], ONE, 2) == [TWO]
    assert expired([ONE, TWO, THREE], ONE, 1) == [THREE, TWO]
    assert expired([ONE, TWO, THREE], None, 3) == []
    assert expired([], None, 3) == []
