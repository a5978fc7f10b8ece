"""``turns``: names in the store, and what they say of whose turn it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.core.turns import (
    COARSE,
    EXPIRY,
    LATE,
    RENEWAL,
    Holder,
    Turn,
    has_expired,
    last_turn,
    name_end,
    name_turn,
    outdated,
    pack_holder,
    read_holder,
)

HOLDER = Holder("0a1b-c", "build-7", 4711, 1_700_000_000, "https://ci.example.org/7", "11-22")


@pytest.mark.parametrize(
    ("names", "turn"),
    [
        ([], Turn(0, is_over=True)),
        (["job-web.lock-7"], Turn(7, is_over=False)),
        (["job-web.lock-7", "job-web.lock-7.over"], Turn(7, is_over=True)),
        (["job-web.lock-7", "job-web.lock-7.over", "job-web.lock-8"], Turn(8, is_over=False)),
        (["job-web.lock-9", "job-web.lock-10"], Turn(10, is_over=False)),
        (["job-web.lock-7.over"], Turn(7, is_over=True)),  # its own name went first
        (
            ["job-web.2.lock-9", "job-web.lock-3", "job-we.lock-8", "job-xweb.lock-8"],
            Turn(3, is_over=False),
        ),
        (
            [
                "job-web.lock-",
                "job-web.lock-0",
                "job-web.lock-x",
                "job-web.lock-1.overs",
                "job-web.lock-" + 20 * "9",
            ],
            Turn(),
        ),
    ],
)
def test_the_highest_counts(names: list[str], turn: Turn) -> None:
    assert last_turn(names, "web") == turn


def test_names_of_one_job_are_no_others() -> None:
    for job in ("a", "a.lock-1", "a.b", "lock-1"):
        for other in ("a", "a.lock-1", "a.b", "lock-1"):
            names = [name_turn(other, 3), name_end(other, 3)]
            assert last_turn(names, job) == (Turn(3) if job == other else Turn())


def test_the_turn_before_stays() -> None:
    """Who lists a folder while one name comes and another goes may see neither of them."""
    names = [
        name(job, number)
        for job in ("web", "other")
        for number in (5, 6, 7, 8)
        for name in (name_turn, name_end)
    ]
    assert outdated(names, "web", 8) == [
        "job-web.lock-5",
        "job-web.lock-5.over",
        "job-web.lock-6",
        "job-web.lock-6.over",
    ]
    assert outdated(names, "web", 1) == []


@pytest.mark.parametrize(
    ("age", "expired"),
    [
        (0, False),
        (EXPIRY - 1, False),
        (EXPIRY, False),
        (EXPIRY + 1, True),
        (540, False),
        (COARSE, True),
        (599, True),
    ],
)
def test_whole_minutes_may_be_all_that_a_clock_shows(age: int, expired: bool) -> None:
    assert has_expired(age) is expired


def test_who_holds_it_stops_long_before_another_may_begin() -> None:
    assert RENEWAL * 2 < LATE < EXPIRY - 60


def test_who_has_it_is_read_back() -> None:
    assert read_holder(pack_holder(HOLDER)) == HOLDER


@given(st.binary(max_size=40) | st.just(b'{"id": 7}') | st.just(b'{"id": "a", "pid": "x"}') | st.none())
def test_anybodys_word_is_no_crash(value: bytes | None) -> None:
    holder = read_holder(value)
    assert holder is None or isinstance(holder.id, str)
