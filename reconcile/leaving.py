"""How our process ends: at once, by ``os._exit``, which asks nobody.

What may live here: what would outlive us, and is taken away before that by whoever made it. Only a kill
leaves it there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_left: dict[object, Callable[[], object]] = {}


def before_leaving(what: object, take_away: Callable[[], object]) -> None:
    """Have something taken away should we leave before `settle` is told of it. It is to take no time."""
    _left[what] = take_away


def settle(what: object) -> None:
    """It is gone. May be told twice."""
    _left.pop(what, None)


def leave(code: int) -> NoReturn:
    """End the process with ``code``, whatever other threads are at."""
    for take_away in reversed(list(_left.values())):
        with suppress(Exception):
            take_away()
    os._exit(code)
