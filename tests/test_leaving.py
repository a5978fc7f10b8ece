"""A signal that comes while something begins which is to be taken away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from reconcile.leaving import begin, put_off, settle


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What happens, in turn. A signal is heeded as the program heeds it: by beginning something, too."""
    happened: list[str] = []

    def heed(signum: int, frame: FrameType | None) -> None:
        if put_off(lambda: heed(signum, frame)):
            return
        happened.append("heeded")
        settle(begin(lambda: "farewell", lambda _: None))

    before = signal.signal(signal.SIGUSR1, heed)
    yield happened
    signal.signal(signal.SIGUSR1, before)


def test_it_is_heeded_once_that_can_be_taken_away(heard: list[str]) -> None:
    def make() -> str:
        os.kill(os.getpid(), signal.SIGUSR1)
        heard.append("made")
        return "it"

    settle(begin(make, lambda _: None))
    assert heard == ["made", "heeded"]
    os.kill(os.getpid(), signal.SIGUSR1)
    assert heard == ["made", "heeded", "heeded"]


def test_it_is_heeded_where_that_fails(heard: list[str]) -> None:
    def make() -> str:
        os.kill(os.getpid(), signal.SIGUSR1)
        raise OSError("no more processes")

    with pytest.raises(OSError, match="no more processes"):
        begin(make, lambda _: None)
    assert heard == ["heeded"]


def test_of_two_the_second_does_not_wait(heard: list[str]) -> None:
    def make() -> str:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
        heard.append("made")
        return "it"

    settle(begin(make, lambda _: None))
    assert heard == ["heeded", "made", "heeded"]
