"""What we left, what was intended, what is held now, and what became of actions: with opaque tags.

All of it goes by the nouns of ``model``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconcile.core.model import NS, UNKNOWN_MODE, Action, Entry, Kind, Op, Seen
from reconcile.core.observe import Tags, claim, held, intended, is_parted, leads_alike, matches
from reconcile.core.paths import parking_place
from tests.support.tags import NoTimes, OpaqueTags, tag_for

TAGS = OpaqueTags()
SIZES = st.integers(0, 3)
SECONDS = st.integers(-1, 2)
MODES = st.sampled_from([None, 0o600, 0o644])
LINKS = st.sampled_from(["a", "../b", "/c"])


@st.composite
def sights(draw: st.DrawFn, kind: Kind | None = None) -> Seen:
    """What a remote may show."""
    kind = kind or draw(st.sampled_from(Kind))
    mode = draw(MODES)
    if kind is not Kind.FILE:
        return Seen(kind, mode, 0, None, link=draw(LINKS) if kind is Kind.SYMLINK else None)
    size, mtime = draw(SIZES), draw(SECONDS)
    return Seen(kind, mode, size, mtime, tag_for(size, mtime))


@st.composite
def wishes(draw: st.DrawFn, kind: Kind | None = None) -> Entry:
    """What is to be brought."""
    kind = kind or draw(st.sampled_from(Kind))
    if kind is not Kind.FILE:
        return Entry(kind, 0o755, link=draw(LINKS) if kind is Kind.SYMLINK else None)
    return Entry(kind, 0o644, draw(SIZES), draw(SECONDS) * NS + draw(st.integers(0, NS - 1)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Entry, Seen]:
    """A wish, and something of its kind."""
    wish = draw(wishes())
    return wish, draw(sights(wish.kind))


@given(pairs(), sights())
def test_what_is_held_is_what_was_left_as_long_as_it_shows_the_same(
    pair: tuple[Entry, Seen], other: Seen
) -> None:
    wish, seen = pair
    if wish.kind is Kind.SYMLINK:
        wish = replace(wish, link=seen.link)
    now = held(wish, seen, TAGS)
    assert matches(seen, now, TAGS)
    assert matches(other, now, TAGS) == (
        other.kind is now.kind and (other.tag, other.link) == (seen.tag, seen.link)
    )
    assert (now.size, now.mtime_ns, now.link) == (wish.size, wish.mtime_ns, wish.link)
    assert not matches(None, now, TAGS)
    assert not matches(seen, None, TAGS)


@given(pairs())
def test_a_tag_is_kept_only_where_it_says_more_than_the_entry(pair: tuple[Entry, Seen]) -> None:
    wish, seen = pair
    now = held(wish, seen, TAGS)
    is_plain = wish.kind is not Kind.FILE or (seen.size, seen.mtime) == (wish.size, wish.mtime)
    assert now.tag == (None if is_plain else seen.tag)


@given(pairs())
def test_a_remote_without_modes_leaves_them_unknown(pair: tuple[Entry, Seen]) -> None:
    wish, seen = pair
    if wish.kind is not Kind.SYMLINK:
        assert held(wish, seen, TAGS).mode == (UNKNOWN_MODE if seen.mode is None else seen.mode)


@given(pairs())
def test_what_is_intended_is_known_by_its_tag(pair: tuple[Entry, Seen]) -> None:
    wish, seen = pair
    is_file = wish.kind is Kind.FILE
    as_wished = not is_file or (seen.size, seen.mtime) == (wish.size, wish.mtime)
    as_wished = as_wished and (wish.kind is not Kind.SYMLINK or wish.link == seen.link)
    assert intended(seen, wish, TAGS) == as_wished
    assert intended(seen, wish, NoTimes()) == (as_wished and not is_file), "no time of ours proves nothing"
    assert not intended(None, wish, TAGS)


@pytest.mark.parametrize(
    ("told", "link", "above", "alike"),
    [
        ("a", "a", None, True),
        ("a", "b", None, False),
        ("/d/a", "a", None, False),
        ("/d/a", "a", "/d", True),
        ("/a", "../a", "/d", True),
        ("/d/a", "./x/../a", "/d", True),
        ("/d/b", "a", "/d", False),
        (None, None, None, True),
        (None, "a", "/d", False),
    ],
)
def test_links_by_what_a_server_tells_of_them(
    told: str | None, link: str | None, above: str | None, alike: bool
) -> None:
    assert leads_alike(told, link, above) == alike


OLD = Entry(Kind.FILE, 0o644, 1, 1 * NS)
NEW = Entry(Kind.FILE, 0o600, 2, 2 * NS, b"d" * 16)


def show(entry: Entry | None) -> Seen | None:
    """A remote that holds this."""
    if entry is None or entry.kind is not Kind.FILE:
        return None if entry is None else Seen(entry.kind, entry.mode, 0, None, link=entry.link)
    return Seen(Kind.FILE, entry.mode, entry.size, entry.mtime, tag_for(entry.size, entry.mtime))


FOREIGN = show(Entry(Kind.FILE, 0o644, 3, 3 * NS))
FOLDER = Entry(Kind.DIR, 0o755)
# An action, what shows before it, and what shows after it.
STEPS: Mapping[str, tuple[Action, Mapping[str, Entry | None], Mapping[str, Entry | None]]] = {
    "create": (Action(Op.CREATE, "f", NEW), {"f": None}, {"f": NEW}),
    "modify": (Action(Op.MODIFY, "f", NEW, OLD), {"f": OLD}, {"f": NEW}),
    "setmeta": (
        Action(Op.SETMETA, "f", replace(OLD, mode=0o600), OLD),
        {"f": OLD},
        {"f": replace(OLD, mode=0o600)},
    ),
    "mkdir": (Action(Op.MKDIR, "f", FOLDER), {"f": None}, {"f": FOLDER}),
    "delete": (Action(Op.DELETE, "f", None, OLD), {"f": OLD}, {"f": None}),
    "move": (Action(Op.MOVE, "f", OLD, None, "g", OLD), {"g": OLD, "f": None}, {"g": None, "f": OLD}),
    "move onto": (Action(Op.MOVE, "f", OLD, NEW, "g", OLD), {"g": OLD, "f": NEW}, {"g": None, "f": OLD}),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_was_not_done_is_done_anew(name: str) -> None:
    action, before, _ = STEPS[name]
    assert claim(action, {path: show(entry) for path, entry in before.items()}, TAGS) is None


@pytest.mark.parametrize("name", STEPS)
def test_what_was_done_is_claimed(name: str) -> None:
    action, _, after = STEPS[name]
    outcome = claim(action, {path: show(entry) for path, entry in after.items()}, TAGS)
    assert outcome is not None
    assert outcome.done
    for path, entry in after.items():
        assert outcome.effects[path] == entry


@pytest.mark.parametrize("tags", [TAGS, NoTimes()], ids=["times", "no times"])
@pytest.mark.parametrize("name", [name for name in STEPS if name != "delete"])
def test_what_is_somebody_elses_is_dropped(name: str, tags: Tags) -> None:
    action, _, after = STEPS[name]
    seen = {path: show(entry) for path, entry in after.items()}
    outcome = claim(action, {**seen, "f": FOREIGN}, tags)
    assert outcome is not None
    assert not outcome.done
    assert outcome.effects.get("f") is None, "not known"
    assert "f" in outcome.effects or action.old is None, "and no longer believed in"


PLACE = parking_place(0)
OURS, THEIRS = (Seen(Kind.FILE, 0o644, size, 1, tag_for(size, 1)) for size in (1, 2))
MINE = Entry(Kind.FILE, 0o644, 1, NS)
ASIDE = Action(Op.MOVE, PLACE, MINE, None, "a", MINE)
ON = Action(Op.MOVE, "b", MINE, None, PLACE, MINE, home="a")
LATER = replace(ON, new=replace(MINE, mtime_ns=2 * NS))


@pytest.mark.parametrize(
    ("action", "seen", "effects", "done"),
    [
        (ASIDE, {"a": None, PLACE: OURS}, {"a": None, PLACE: MINE}, True),
        (ASIDE, {"a": THEIRS, PLACE: None}, {"a": None}, False),
        (ASIDE, {"a": None, PLACE: None}, {"a": None}, False),
        (ON, {PLACE: None, "b": OURS}, {PLACE: None, "b": MINE}, True),
        (LATER, {PLACE: None, "b": OURS}, {PLACE: None, "b": MINE}, False),
    ],
)
def test_what_made_way_is_where_it_shows(
    action: Action, seen: Mapping[str, Seen | None], effects: Mapping[str, Entry | None], *, done: bool
) -> None:
    outcome = claim(action, seen, TAGS)
    assert outcome is not None
    assert (outcome.done, outcome.effects) == (done, effects)
    assert outcome.problem is None or outcome.problem.path == action.subject != PLACE


@pytest.mark.parametrize(
    ("action", "seen"),
    [
        (ASIDE, {"a": OURS, PLACE: None}),
        (ASIDE, {"a": OURS, PLACE: THEIRS}),
        (ON, {PLACE: OURS, "b": None}),
        (ON, {PLACE: OURS, "b": THEIRS}),  # which is met when it goes on
        (ON, {PLACE: None, "b": None}),  # it may be home
        (ON, {PLACE: None, "b": THEIRS}),
    ],
)
def test_what_makes_way_and_has_not_moved_goes_on(action: Action, seen: Mapping[str, Seen | None]) -> None:
    assert claim(action, seen, TAGS) is None


def test_a_folder_that_is_half_aside_goes_on() -> None:
    there, folder = Seen(Kind.DIR, 0o755, 0, None), Entry(Kind.DIR, 0o755)
    for action in (replace(ASIDE, new=folder, moved=folder), replace(ON, new=folder, moved=folder)):
        seen = {"a": there, PLACE: there, "b": there}
        assert not is_parted(action, seen)
        assert claim(action, seen, TAGS) is None
