"""When a job that is watched is run: after a quiet moment, when it is due, seldom where nobody answers."""

from __future__ import annotations

from reconcile.core.errors import Exit
from reconcile.core.rounds import Rounds


def ran(code: Exit = Exit.OK) -> Rounds:
    """A job that has ended a run at 100 s."""
    rounds = Rounds(settle=2, every=900)
    assert rounds.is_due(100)
    rounds.begin()
    rounds.end(100, code)
    return rounds


def test_it_runs_once_it_is_quiet() -> None:
    rounds = ran()
    assert not rounds.is_quiet(500)
    rounds.changed(500)
    assert not rounds.is_quiet(501.9)
    rounds.changed(501.9)
    assert not rounds.is_quiet(503.8)
    assert rounds.is_quiet(503.9)
    rounds.begin()
    assert not rounds.is_quiet(600)


def test_what_changes_all_the_time_is_sent_all_the_same() -> None:
    rounds = ran()
    for second in range(500, 520):
        rounds.changed(second)
        assert not rounds.is_quiet(second)
    rounds.changed(520)
    assert rounds.is_quiet(520)


def test_what_changes_during_a_run_is_for_the_next() -> None:
    rounds = ran()
    rounds.changed(500)
    rounds.begin()
    rounds.changed(503)
    rounds.end(510, Exit.OK)
    assert rounds.is_quiet(510)


def test_it_runs_now_and_then_whatever_is_seen() -> None:
    rounds = ran()
    assert not rounds.is_due(999)
    assert rounds.is_due(1000)


def test_whom_a_run_did_not_get_to_is_asked_again_ever_less_often() -> None:
    rounds = ran(Exit.UNREACHABLE)
    pauses = []
    now = 100.0
    for _ in range(10):
        pauses.append(rounds.due - now)
        now = rounds.due
        rounds.begin()
        rounds.end(now, Exit.LOCKED)
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    rounds.end(now, Exit.PROBLEMS)
    assert rounds.due == now + 900


def test_a_change_meanwhile_has_it_asked_within_a_minute() -> None:
    rounds = ran(Exit.UNREACHABLE)
    for _ in range(8):
        rounds.end(100, Exit.UNREACHABLE)
    rounds.changed(110)
    assert not rounds.is_quiet(160)
    assert not rounds.is_due(169)
    assert rounds.is_due(170)
