"""When something is due, and how each of those that start things by the clock say it. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct

from reconcile.core.errors import UsageError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = r"([01]?[0-9]|2[0-3]):([0-5][0-9])"
_STEPS = (*(step for step in range(1, 60) if not 60 % step), *(60 * step for step in (1, 2, 3, 4, 6, 8, 12)))
_HOUR, _DAY = 60, 1440  # minutes


class Kind(StrEnum):
    """In which manner it comes again."""

    DAILY = "daily"
    WEEKLY = "weekly"
    EVERY = "every"


class Timetable(Struct, frozen=True):
    """By the clock on the wall."""

    kind: Kind = Kind.DAILY
    hour: int = 3
    minute: int = 15
    day: int = 6  # weekly: 0 is Monday
    step: int = 0  # every: minutes, which divide an hour or a day

    @property
    def spread_s(self) -> int:
        """Seconds by which it may come later, so that not all machines begin at once."""
        return min(self.step * 6, 300) if self.kind is Kind.EVERY else 300


def read_daily(text: str) -> Timetable:
    """``03:15``. Raises UsageError."""
    match = re.fullmatch(_CLOCK, text)
    if match is None:
        raise UsageError("--daily takes a time of day, such as 03:15")
    return Timetable(Kind.DAILY, int(match[1]), int(match[2]))


def read_weekly(text: str) -> Timetable:
    """``sun 03:15``. Raises UsageError."""
    match = re.fullmatch(rf"({'|'.join(DAYS)})[a-z]*[ @]{_CLOCK}", text.lower())
    if match is None:
        raise UsageError("--weekly takes a day and a time, such as 'sun 03:15'")
    return Timetable(Kind.WEEKLY, int(match[2]), int(match[3]), DAYS.index(match[1]))


def read_every(text: str) -> Timetable:
    """``15m``, ``6h``. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,4})([mh])", text)
    step = 0 if match is None else int(match[1]) * (_HOUR if match[2] == "h" else 1)
    if step not in _STEPS:
        raise UsageError(
            "--every takes minutes that divide an hour or hours that divide a day: 5m, 15m, 1h, 6h"
        )
    return Timetable(Kind.EVERY, 0, 0, 0, step)


def in_cron(table: Timetable) -> str:
    """The five fields of a crontab."""
    match table.kind:
        case Kind.DAILY:
            return f"{table.minute} {table.hour} * * *"
        case Kind.WEEKLY:
            return f"{table.minute} {table.hour} * * {(table.day + 1) % 7}"
    if table.step < _HOUR:
        return f"*/{table.step} * * * *" if table.step > 1 else "* * * * *"
    hours = table.step // _HOUR
    return f"0 */{hours} * * *" if hours > 1 else "0 * * * *"


def in_systemd(table: Timetable) -> str:
    """What ``OnCalendar`` takes (systemd.time)."""
    clock = f"*-*-* {table.hour:02}:{table.minute:02}:00"
    match table.kind:
        case Kind.DAILY:
            return clock
        case Kind.WEEKLY:
            return f"{DAYS[table.day].capitalize()} {clock}"
    if table.step < _HOUR:
        return f"*-*-* *:0/{table.step}:00"
    return f"*-*-* 0/{table.step // _HOUR}:00:00"


def in_words(table: Timetable) -> str:
    """For people."""
    clock = f"{table.hour:02}:{table.minute:02}"
    match table.kind:
        case Kind.DAILY:
            return f"daily at {clock}"
        case Kind.WEEKLY:
            return f"on {DAYS[table.day].capitalize()} at {clock}"
    return f"every {table.step} min" if table.step < _HOUR else f"every {table.step // _HOUR} h"


def minutes_until(table: Timetable, day: int, minute: int) -> int:
    """From a minute of a weekday (0 is Monday) to when it is due next, which is later than that."""
    if table.kind is Kind.EVERY:
        return table.step - minute % table.step
    left = table.hour * _HOUR + table.minute - minute
    if table.kind is Kind.WEEKLY:
        left += (table.day - day) % 7 * _DAY
        return left if left > 0 else left + 7 * _DAY
    return left if left > 0 else left + _DAY
