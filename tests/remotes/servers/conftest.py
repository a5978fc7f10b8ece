"""Of what each real server is asked in `make test`, a part: they are many. ``TORTURE=1`` asks all of it."""

from __future__ import annotations

import os

import pytest

WHOLE = os.environ.get("TORTURE") == "1"
CHOSEN = {
    "test_files_and_links_take_each_others_place",
    "test_nothing_is_written_through_a_planted_link",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the rest."""
    here = os.path.dirname(__file__)
    left_out = [
        item
        for item in items
        if item.path.is_relative_to(here)
        and item.path.name == "test_conformance.py"
        and item.name.partition("[")[0] not in CHOSEN
        and not WHOLE
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
