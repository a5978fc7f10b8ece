"""What of a trash with an age is to go: ``retired``."""

from __future__ import annotations

import pytest

from reconcile.core.job import Trash
from reconcile.remotes import Binned
from reconcile.remotes.retired import find_outgrown, tell_retired

DAY = 86_400
NOW = 100 * DAY
RUNS = [Binned(f"{day}", 1, 400, day * DAY) for day in (60, 80, 99)]


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        (Trash(), []),
        (Trash(30.0 * DAY), ["60"]),
        (Trash(10.0 * DAY), ["60", "80"]),
        (Trash(bytes=1500), []),
        (Trash(bytes=1000), ["60"]),
        (Trash(bytes=600), ["60", "80"]),
        (Trash(bytes=100), ["60", "80", "99"]),
        (Trash(30.0 * DAY, 1000), ["60"]),
    ],
)
def test_the_oldest_goes_first(limits: Trash, gone: list[str]) -> None:
    assert sorted(run.name for run in find_outgrown(RUNS, limits, NOW, 200)) == gone


def test_nothing_goes_by_age_where_nobody_can_tell_it() -> None:
    assert list(find_outgrown(RUNS, Trash(1.0), None, 0)) == []


def test_what_is_said() -> None:
    assert tell_retired(1, 5, []).startswith(
        "1 thing that was deleted or replaced went to the trash there (5 B;"
    )
    assert tell_retired(2, 100, RUNS).endswith("which has 5 since 1970-03-02 (1.3 kB)")
