"""How our process ends: at once, by ``os._exit``, which asks nobody.

What may live here: what would outlive us, and is taken away before that by whoever made it. Only a kill
leaves it there.
"""

from __future__ import annotations

import os
from _thread import RLock, get_ident  # without all that threading brings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

T = TypeVar("T")

_PATIENCE = 1.0  # seconds for what begins just now

_left: dict[object, Callable[[], object]] = {}
_beginning = RLock()
_beginners: list[int] = []  # threads that begin something
_put_off: list[Callable[[], object]] = []


def before_leaving(what: object, take_away: Callable[[], object]) -> None:
    """Have something taken away should we leave before `settle` is told of it. It is to take no time."""
    _left[what] = take_away


def begin(make: Callable[[], T], take_away: Callable[[T], object]) -> T:
    """Make something that is to be taken away, with no moment between in which we could leave."""
    try:
        with _beginning:
            _beginners.append(get_ident())
            try:
                made = make()
                before_leaving(made, lambda: take_away(made))
            finally:
                _beginners.pop()
    finally:
        while _put_off and get_ident() not in _beginners:
            _put_off.pop()()
    return made


def put_off(heed: Callable[[], object]) -> bool:
    """Have a signal heeded a moment later, where this thread begins something that nobody would take away.

    Not so if one is put off already: who sends two will not wait.
    """
    if _put_off or get_ident() not in _beginners:
        return False
    _put_off.append(heed)
    return True


def settle(what: object) -> None:
    """It is gone. May be told twice."""
    _left.pop(what, None)


def leave(code: int) -> NoReturn:
    """End the process with ``code``, whatever other threads are at."""
    _beginning.acquire(timeout=_PATIENCE)  # and from now on nothing begins; ours it may be if a signal came
    for take_away in reversed(list(_left.values())):
        with suppress(Exception):
            take_away()
    os._exit(code)
