"""What a look at DEST came to, where it tells only what it can do."""

from __future__ import annotations

from reconcile.core.checkup import Checkup, Standing, in_order, of_caps
from reconcile.core.model import Caps


def test_what_can_do_all_is_healthy() -> None:
    checkup = in_order("x", of_caps(Caps()))
    assert checkup.healthy
    assert {fact.standing for fact in checkup.facts} == {Standing.WORKS}


def test_what_keeps_less_is_not() -> None:
    checkup = in_order("x", of_caps(Caps(links=False, modes=False, dirs=False)))
    assert [fact.name for fact in checkup.having(Standing.LACKS)] == ["links", "modes"]
    assert [fact.name for fact in checkup.having(Standing.OTHERWISE)] == ["dirs"]
    assert not checkup.healthy
    assert all(fact.means for fact in checkup.facts if fact.standing is not Standing.WORKS)


def test_nothing_known_is_no_complaint() -> None:
    assert Checkup("x").healthy
