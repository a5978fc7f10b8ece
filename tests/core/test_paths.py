"""Paths as text, and a dictionary by them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconcile.core.model import Entry, Kind, PlainDirectory
from reconcile.core.paths import Inside, PathDict, ancestors, below, join, lookup, parent, within

NAMES = st.sampled_from(["a", "b", "aa", "a.b"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(PATHS, NAMES)
def test_a_name_is_joined_and_taken_off_again(path: str, name: str) -> None:
    assert parent(join(path, name)) == path
    assert parent(join("", name)) == ""
    assert list(ancestors(join(path, name))) == [join(path, name), *ancestors(path)]


@given(PATHS, PATHS)
def test_within_goes_by_whole_names(path: str, top: str) -> None:
    assert within(path, {top}) == f"{path}/".startswith(f"{top}/")


@given(st.dictionaries(PATHS, st.integers()), st.lists(st.tuples(PATHS, PATHS), max_size=5))
def test_what_is_cut_is_what_was_at_or_below(items: dict[str, int], steps: list[tuple[str, str]]) -> None:
    by_path, plain = PathDict(dict(items)), dict(items)
    for top, new in steps:
        taken = {path: plain.pop(path) for path in list(plain) if within(path, {top})}
        assert by_path.cut(top) == taken
        by_path[new] = plain[new] = 7
        assert by_path == plain


def test_all_below_a_directory_with_what_is_newer_of_it() -> None:
    file, folder = Entry(Kind.FILE, 0o644), Entry(Kind.DIR, 0o755)
    hidden = Entry(Kind.FILE, 0o644, excluded=True)
    dirs = {
        "": PlainDirectory({"d": folder}),
        "d": PlainDirectory({"e": folder, "f": file, "g": hidden}),
        "d/e": PlainDirectory({"h": file}),
    }
    assert lookup(dirs, "d/e/h") is file
    assert lookup(dirs, "d/x/h") is None
    assert dict(below(dirs, "d")) == {"d/e": folder, "d/f": file, "d/g": hidden, "d/e/h": file}
    now = dict(Inside(dirs, "d", {"d/f": hidden, "d/g": file, "d/e/h": None}))
    assert now == {"e": folder, "f": hidden, "g": file, "e/h": file}
