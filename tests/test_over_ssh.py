"""Some of what is tried end to end once more, over OpenSSH's own client.

``TRANSPORT=ssh`` in the environment has all tests go that way.
"""

from __future__ import annotations

import pytest

from tests.test_end_to_end import (
    far,
    job,
    test_a_killed_run_is_finished_by_the_next,
    test_a_lost_connection_is_made_again,
    test_a_signal_ends_a_run_with_all_saved,
    test_five_hundred_random_changes,
    test_names_are_bytes,
)

__all__ = [
    "far",
    "job",
    "test_a_killed_run_is_finished_by_the_next",
    "test_a_lost_connection_is_made_again",
    "test_a_signal_ends_a_run_with_all_saved",
    "test_five_hundred_random_changes",
    "test_names_are_bytes",
]


@pytest.fixture(autouse=True)
def by_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.sshd.TRANSPORT", "ssh")
