"""What is refused before the first operation, and what is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest
from msgspec.structs import replace

from reconcile.core.diff import diff, fill, infer, unread
from reconcile.core.errors import Refused
from reconcile.core.filters import Filter, make_filter
from reconcile.core.guard import count_kept, count_rehashed, guard, tell_gone
from reconcile.core.job import Options
from reconcile.core.model import (
    Action,
    Directory,
    DirectorySnapshot,
    Entry,
    Kind,
    Op,
    PlainDirectory,
    Plan,
    Scan,
    Stamp,
)
from reconcile.core.plan import make_plan
from reconcile.state.rows import pack_directory

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
    return Entry(Kind.FILE, 0o644, stamp.size, 0, digest, None, stamp, None, **more)


def plan(old: DirectorySnapshot, scan: Scan, options: Options, filter: Filter) -> Plan:
    changes = infer(diff(old, scan, filter, options), options)
    read = dict(unread(changes))
    return make_plan(old, scan, infer(fill(changes, read, set()), options), options)


def check(
    old: DirectorySnapshot,
    scan: Scan,
    options: Options,
    *,
    other_device: bool = False,
    lines: Sequence[str] = (),
) -> Plan:
    made = plan(old, scan, options, make_filter(lines))
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


def test_a_folder_that_became_empty_without_a_mirror_is_told_once() -> None:
    assert gone(letters("ab"), found("")) == (
        "SRC is empty; the 2 entries it had stay on the remote. Is it mounted?"
    )
    assert gone(snapshot("ab", retained=True), found("")) is None
    assert gone(letters("ab"), found("x")) is None


def gone(old: DirectorySnapshot, scan: Scan) -> str | None:
    return tell_gone(check(old, scan, Options()), old, scan)


def test_much_that_is_newly_gone_is_told_once() -> None:
    every = numbers("f", 300)
    assert "30 entries are gone here" in str(gone(snapshot(every), found(every[30:])))
    assert gone(snapshot(every), found(every[29:])) is None  # less than a tenth
    assert gone(snapshot(every[:40]), found(every[20:40])) is None  # a few
    assert "21 entries are gone here" in str(gone(snapshot(every[:40]), found(every[21:40])))
    many = numbers("f", 20_000)
    assert "1,000 entries are gone here" in str(gone(snapshot(many), found(many[1000:])))
    assert gone(snapshot(many), found(many[999:])) is None


def numbers(word: str, count: int, suffix: str = "") -> list[str]:
    return [f"{word}{number:05}{suffix}" for number in range(count)]


@pytest.mark.parametrize(
    ("limit", "refused"),
    [
        ("3", True),
        ("4", False),
        ("15%", True),
        ("16%", False),
        ("0%", True),
        ("16.0%", False),
        ("100%", False),
        (None, False),
    ],
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


def test_what_was_retained_counts_among_all_that_may_go() -> None:
    """One run without a mirror does not make the next one's deletes a matter of course."""
    every = numbers("f", 502)
    old = DirectorySnapshot(
        {"": PlainDirectory({name: entry(n, retained=n != 0) for n, name in enumerate(every)})}
    )
    with pytest.raises(Refused, match="would delete 501 entries on the remote, of 502 known"):
        check(old, found(every[:1]), MIRROR)


def test_what_no_delete_could_touch_does_not_count() -> None:
    every = numbers("f", 60)
    flagged = {name: entry(n, excluded=n >= 30) for n, name in enumerate(every)}
    old = DirectorySnapshot({"": PlainDirectory(flagged)})
    with pytest.raises(Refused, match="would delete 20 entries on the remote, of 30 known"):
        check(old, found(every[20:30]), Options(mirror=True), lines=["/f0003*", "/f0004*", "/f0005*"])


HASHES = ["9f86d081", "60303ae2", "fd61a03a", "a4e62444", "2c624232", "19581e27", "4a44dc15"]


@pytest.mark.parametrize(
    ("olds", "news"),
    [
        ([f"chunk{n}-0001.js" for n in range(40)], [f"chunk{n}-0002.js" for n in range(40)]),
        ([f"a/app{n}.9f86d081.css" for n in range(40)], [f"a/app{n}.60303ae2.css" for n in range(40)]),
        (
            [f"x{n}_{h}.js" for n in range(6) for h in HASHES[:3]],
            [f"x{n}_{h}.js" for n in range(6) for h in HASHES[3:]],
        ),
    ],
)
def test_a_build_whose_files_have_other_hashes_is_no_mass_delete(olds: list[str], news: list[str]) -> None:
    made = check_tree(olds, news)
    assert count_rehashed(made.actions) == len(olds)


@pytest.mark.parametrize(
    ("olds", "news"),
    [
        ([f"IMG_{n:04}.JPG" for n in range(40)], [f"IMG_{n:04}.JPG" for n in range(40, 80)]),
        (
            [f"IMG-20240501-WA{n:04}.jpg" for n in range(40)],
            [f"IMG-20240501-WA{n:04}.jpg" for n in range(50, 99)],
        ),
        ([f"DSCF{n:04}.JPG" for n in range(40)], [f"DSCF{n:04}.JPG" for n in range(40, 80)]),
        (  # in another directory
            [f"a/app{n}.9f86d081.css" for n in range(40)],
            [f"b/app{n}.60303ae2.css" for n in range(40)],
        ),
        (  # more than one run, or one too short
            [f"app{n}.9f86d081-1234.css" for n in range(40)],
            [f"app{n}.60303ae2-5678.css" for n in range(40)],
        ),
        ([f"app{n}-abc.css" for n in range(40)], [f"app{n}-xyz.css" for n in range(40)]),
    ],
)
def test_a_card_changed_for_another_is_one(olds: list[str], news: list[str]) -> None:
    kept = [*numbers("k", 3), "a/kept", "b/kept"]
    more = numbers("d", 40)  # deleted anyhow, if there are few others
    with pytest.raises(Refused) as caught:
        check_tree([*kept, *more, *olds], [*kept, *news])
    assert f"would delete {len(more) + len(olds)} entries" in str(caught.value)
    assert "another hash" not in str(caught.value)


def check_tree(olds: list[str], news: list[str]) -> Plan:
    old, scan = tree_of(olds), tree_of(news)
    return check(DirectorySnapshot(old), Scan(scan, 0, 0), MIRROR)


def tree_of(paths: list[str]) -> dict[str, Directory]:
    dirs: dict[str, dict[str, Entry]] = {"": {}}
    for number, path in numbered(paths):
        above, _, name = path.rpartition("/")
        if above:
            dirs[""][above] = Entry(Kind.DIR, 0o755)
        dirs.setdefault(above, {})[name] = entry(number)
    return {path: PlainDirectory(names) for path, names in dirs.items()}


def test_a_refusal_tells_what_goes_and_what_only_changes_its_hash() -> None:
    olds = [*numbers("d", 40), *(f"app{n}.9f86d081.css" for n in range(10)), "kept"]
    news = [*(f"app{n}.60303ae2.css" for n in range(8)), "kept"]
    with pytest.raises(Refused) as caught:
        check_tree(olds, news)
    assert "would delete 50 entries on the remote (42 without the 8 that come again with another hash" in str(
        caught.value
    )
    assert "of 51 known" in str(caught.value)


def test_each_is_paired_with_one_only() -> None:
    made = check_tree(
        [*numbers("k", 60), "app.9f86d081.css", "app.4a44dc15.css"], [*numbers("k", 60), "app.60303ae2.css"]
    )
    assert count_rehashed(made.actions) == 1


class Counted(PlainDirectory, frozen=True):
    """Tells how often directories were looked into."""

    looks = 0

    def entries(self) -> Mapping[str, Entry]:
        Counted.looks += 1
        return super().entries()


def test_a_few_deletes_are_not_held_against_all_that_is_known() -> None:
    """To see that they are few, no more is decoded than it takes."""
    for many in (400, 800):
        names = {f"d{n:03}": Entry(Kind.DIR, 0o755) for n in range(many)}
        old = DirectorySnapshot({"": Counted(names)} | {name: Counted({"f": entry(1)}) for name in names})
        made = Plan([[Action(Op.DELETE, "f", old=entry(2), entries=15)]])
        Counted.looks = 0
        guard(made, old, found("x"), MIRROR)
        assert Counted.looks == 1
        guard(made, old, found("x"), Options(mirror=True, max_delete="1%", allow_mass_delete=True))
        assert Counted.looks == 1


def test_what_is_kept_is_counted_from_packed_directories() -> None:
    flags = [
        {},
        {"retained": True},
        {"retained": True, "excluded": True},
        {"excluded": True},
        {"retained": True},
    ]
    entries = {f"f{n}": entry(n, **each) for n, each in enumerate(flags)}
    unstamped = {"racy": replace(entry(9), stamp=None)}
    for names, kept in ((entries, 2), (unstamped, 0), ({"a": entry(1)}, 0), ({}, 0)):
        assert count_kept(DirectorySnapshot({"": pack_directory(names)})) == kept
        assert count_kept(DirectorySnapshot({"": PlainDirectory(names)})) == kept
