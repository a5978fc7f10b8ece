"""What is refused before the first operation, and what is not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from reconcile.diff import diff, fill, infer, unread
from reconcile.errors import Refused
from reconcile.filters import Filter
from reconcile.guard import guard
from reconcile.model import DirectorySnapshot, Entry, Kind, Options, PlainDirectory, Plan, Scan, Stamp, Tag
from reconcile.plan import make_plan

MIRROR = Options(mirror=True)


def snapshot(names: Iterable[str], **more: bool) -> DirectorySnapshot:
    return DirectorySnapshot(
        {"": PlainDirectory({name: entry(number, **more) for number, name in numbered(names)})}
    )


def found(names: Iterable[str], unknown: Iterable[str] = ()) -> Scan:
    entries = {name: entry(number) for number, name in numbered(names)}
    return Scan({"": PlainDirectory(entries)}, 0, 0, unknown=frozenset(unknown), entry_count=len(entries))


def numbered(names: Iterable[str]) -> list[tuple[int, str]]:
    """Each name has a number of its own, whatever stands beside it: an inode, a size, a digest."""
    return [(int.from_bytes(name.encode()), name) for name in names]


def entry(number: int, **more: bool) -> Entry:
    stamp = Stamp(number % (1 << 40), number % 1000, 0, 0, 0o100644)
    digest = (number % (1 << 64)).to_bytes(16)
    return Entry(Kind.FILE, 0o644, stamp.size, 0, digest, None, stamp, Tag(stamp.size, 0), **more)


def plan(old: DirectorySnapshot, scan: Scan, options: Options) -> Plan:
    changes = infer(diff(old, scan, Filter(), options), options)
    read = dict(unread(changes))
    return make_plan(old, scan, infer(fill(changes, read, set()), options), options)


def check(old: DirectorySnapshot, scan: Scan, options: Options, *, other_device: bool = False) -> Plan:
    made = plan(old, scan, options)
    guard(made, old, scan, options, other_device=other_device)
    return made


def letters(text: str) -> DirectorySnapshot:
    return snapshot(text)


@pytest.mark.parametrize("options", [Options(), MIRROR])
def test_another_disk_in_the_place_of_the_first(options: Options) -> None:
    with pytest.raises(Refused) as caught:
        check(letters("abcd"), found("axyz"), options, other_device=True)
    assert "another device" in str(caught.value)
    assert "4 names at its top 3 are gone" in str(caught.value)
    assert "--allow-mass-delete" in str(caught.value)


@pytest.mark.parametrize("options", [Options(), MIRROR])
def test_the_same_disk_under_another_number(options: Options) -> None:
    check(letters("abcd"), found("ab"), options, other_device=True)
    check(letters("abcd"), found("abxyz"), options, other_device=True)
    check(letters(""), found("abc"), options, other_device=True)


def test_the_same_disk_may_change_as_it_likes() -> None:
    check(letters("abcd"), found("xyz"), MIRROR)


def test_another_disk_on_purpose() -> None:
    check(letters("abcd"), found("xyz"), Options(allow_mass_delete=True), other_device=True)


def test_what_could_not_be_looked_at_is_not_gone() -> None:
    check(letters("abcd"), found("ab", unknown="cd"), MIRROR, other_device=True)


def test_what_was_retained_was_gone_before() -> None:
    check(snapshot("abcd", retained=True), found("x"), Options(), other_device=True)


def test_what_is_excluded_is_not_gone() -> None:
    check(snapshot("abcd", excluded=True), found("x"), Options(), other_device=True)


def test_a_mirror_of_a_folder_that_became_empty() -> None:
    with pytest.raises(Refused) as caught:
        check(letters("ab"), found(""), MIRROR)
    assert "all 2 entries" in str(caught.value)
    assert "Is it mounted?" in str(caught.value)
    assert "--allow-mass-delete" in str(caught.value)
    check(letters("ab"), found(""), Options(mirror=True, allow_mass_delete=True))
    check(letters("ab"), found("", unknown=["a"]), MIRROR)


def test_a_folder_that_became_empty_without_a_mirror_is_noted_once() -> None:
    assert [note.message for note in check(letters("ab"), found(""), Options()).notes] == [
        "SRC is empty; the 2 entries it had stay on the remote. Is it mounted?"
    ]
    assert not check(snapshot("ab", retained=True), found(""), Options()).notes
    assert not check(letters("ab"), found("x"), Options()).notes


@pytest.mark.parametrize(
    ("limit", "refused"),
    [("3", True), ("4", False), ("15%", True), ("16%", False), ("0%", True), ("100%", False), (None, False)],
)
def test_more_deletions_than_allowed(limit: str | None, refused: bool) -> None:
    every = [chr(number) for number in range(97, 122)]
    options = Options(mirror=True, max_delete=limit)
    if not refused:
        check(snapshot(every), found(every[4:]), options)
        return
    with pytest.raises(Refused) as caught:
        check(snapshot(every), found(every[4:]), options)
    assert "would delete 4 entries" in str(caught.value)
    assert f"--max-delete {limit}" in str(caught.value)
    assert "--allow-mass-delete" in str(caught.value)
    check(snapshot(every), found(every[4:]), Options(mirror=True, max_delete=limit, allow_mass_delete=True))


def test_more_than_half_of_more_than_twenty() -> None:
    every = [chr(number) for number in range(97, 121)]
    check(snapshot(every), found(every[12:]), MIRROR)
    with pytest.raises(Refused, match="the default --max-delete 50%"):
        check(snapshot(every), found(every[13:]), MIRROR)
    check(snapshot(every[:20]), found(every[19:]), MIRROR)
