from __future__ import annotations

import pytest

from reconcile.core.errors import UsageError
from reconcile.core.timetable import (
    Timetable,
    in_cron,
    in_systemd,
    in_words,
    minutes_until,
    read_daily,
    read_every,
    read_weekly,
)

CASES = [
    (read_daily("03:15"), "15 3 * * *", "*-*-* 03:15:00", "daily at 03:15"),
    (read_daily("0:00"), "0 0 * * *", "*-*-* 00:00:00", "daily at 00:00"),
    (read_weekly("sun 03:15"), "15 3 * * 0", "Sun *-*-* 03:15:00", "on Sun at 03:15"),
    (read_weekly("Monday@23:59"), "59 23 * * 1", "Mon *-*-* 23:59:00", "on Mon at 23:59"),
    (read_every("1m"), "* * * * *", "*-*-* *:0/1:00", "every 1 min"),
    (read_every("15m"), "*/15 * * * *", "*-*-* *:0/15:00", "every 15 min"),
    (read_every("1h"), "0 * * * *", "*-*-* 0/1:00:00", "every 1 h"),
    (read_every("60m"), "0 * * * *", "*-*-* 0/1:00:00", "every 1 h"),
    (read_every("6h"), "0 */6 * * *", "*-*-* 0/6:00:00", "every 6 h"),
]


@pytest.mark.parametrize(("table", "cron", "systemd", "words"), CASES)
def test_how_each_says_it(table: Timetable, cron: str, systemd: str, words: str) -> None:
    assert (in_cron(table), in_systemd(table), in_words(table)) == (cron, systemd, words)


def test_without_a_word_it_is_by_night() -> None:
    assert Timetable() == read_daily("03:15")


@pytest.mark.parametrize("wrong", ["24:00", "3", "3:60", "noon", "03:15 ", ""])
def test_no_time_of_day(wrong: str) -> None:
    with pytest.raises(UsageError):
        read_daily(wrong)
    with pytest.raises(UsageError):
        read_weekly(f"sun {wrong}")


@pytest.mark.parametrize("wrong", ["0m", "7m", "45m", "5h", "24h", "90m", "1d", "h"])
def test_no_step_that_comes_round(wrong: str) -> None:
    with pytest.raises(UsageError):
        read_every(wrong)


def test_when_it_is_due_next() -> None:
    noon, wednesday, sunday = 720, 2, 6
    assert minutes_until(read_daily("12:01"), wednesday, noon) == 1
    assert minutes_until(read_daily("12:00"), wednesday, noon) == 1440
    assert minutes_until(read_weekly("wed 12:00"), wednesday, noon) == 7 * 1440
    assert minutes_until(read_weekly("thu 11:00"), wednesday, noon) == 23 * 60
    assert minutes_until(read_weekly("mon 00:00"), sunday, noon) == 720
    assert minutes_until(read_every("15m"), wednesday, noon) == 15
    assert minutes_until(read_every("6h"), wednesday, noon + 1) == 359
