"""What every remote's store must do: see ``reconcile.remotes.Store``."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconcile.core.errors import ConnectionLost
from reconcile.core.job import Options
from reconcile.core.model import Footing
from reconcile.remotes import Remote, Store
from tests.remotes.conformance import Heard, OpenRemote
from tests.support.processes import wait_for

RIVALS = 3
HOUR = 3600  # seconds


class Watched:
    """A lease that is due when it is told so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.due = self.over = False
        self.names: list[list[str] | None] = []
        self.told = threading.Event()

    def check(self) -> None:
        if self.over:
            raise ConnectionLost("it is overdue")

    def is_due(self) -> bool:
        due, self.due = self.due, False
        return due

    def renewed(self, names: Sequence[str] | None) -> None:
        self.names.append(None if names is None else sorted(names))
        self.told.set()


class StoreConformance:
    """The part of the suite that is about the store. ``open_remote`` and ``dest`` come as fixtures."""

    @pytest.fixture
    def rivals(self, open_remote: OpenRemote, dest: Path) -> Iterator[Sequence[Remote]]:
        """Several who push to the same DEST, none of whom has begun."""
        remotes = [open_remote(dest, Options(), Heard()) for _ in range(RIVALS)]
        yield remotes
        for remote in remotes:
            remote.close()

    @pytest.fixture
    def store(self, rivals: Sequence[Remote]) -> Store:
        return rivals[0].store

    @pytest.mark.parametrize("size", [0, 1, 40_000, 1_000_000])
    def test_what_is_put_is_there_for_all(self, rivals: Sequence[Remote], size: int) -> None:
        one, other, _ = (remote.store for remote in rivals)
        value = os.urandom(size)
        assert one.get("state-7") is None
        assert one.put_new("state-7", value)
        assert other.get("state-7") == value
        assert not other.put_new("state-7", b"another")
        assert not other.claim("state-7")
        assert one.get("state-7") == value

    def test_names(self, store: Store) -> None:
        assert store.names() == []
        for name in ("b", "a-1", "A.2_x", "9"):
            assert store.put_new(name, b"")
        assert store.claim("claimed")
        assert store.names() == sorted(["b", "a-1", "A.2_x", "9", "claimed"])
        for bad in ("", ".", "..", ".hidden", "a/b", "ä", "a\n", "a" * 101):
            with pytest.raises(ValueError, match="no name"):
                store.claim(bad)
        assert len(store.names()) == 5

    def test_what_is_dropped_is_gone_once(self, rivals: Sequence[Remote]) -> None:
        one, other, _ = (remote.store for remote in rivals)
        assert not one.drop("f")
        assert one.put_new("f", b"1")
        assert one.claim("g")
        assert [other.drop("f"), one.drop("f"), one.drop("g"), other.drop("g")] == [True, False, True, False]
        assert other.names() == []
        assert other.get("f") is None
        assert other.put_new("f", b"2")
        assert one.get("f") == b"2"

    def test_all_of_them_are_dropped_that_are_there(self, rivals: Sequence[Remote]) -> None:
        names = [f"n{number}" for number in range(20)]
        assert all(map(rivals[0].store.claim, names[::2]))
        assert all(rivals[0].store.put_new(name, b"value") for name in names[1::2])
        assert rivals[1].store.drop("n0")
        rivals[2].store.drop_all([*names[:18], "nothing"])
        assert rivals[0].store.names() == ["n18", "n19"]

    def test_of_those_who_claim_a_name_one_has_it(self, rivals: Sequence[Remote]) -> None:
        locks, states = ([f"{name}-{number}" for number in range(8)] for name in ("lock", "state"))

        def take_all(remote: Remote) -> list[str]:
            store = remote.store
            return [*filter(store.claim, locks), *(name for name in states if store.put_new(name, b"x"))]

        with ThreadPoolExecutor(RIVALS) as pool:
            won = list(pool.map(take_all, rivals))
        assert sorted(name for mine in won for name in mine) == [*locks, *states]
        assert {rivals[0].store.get(name) for name in locks} == {None}
        assert {rivals[1].store.get(name) for name in states} == {b"x"}

    def test_of_those_who_drop_a_name_one_did(self, rivals: Sequence[Remote]) -> None:
        names = [f"n{number}" for number in range(12)]
        assert all(rivals[0].store.put_new(name, b"value") for name in names)
        with ThreadPoolExecutor(RIVALS) as pool:
            dropped = list(
                pool.map(lambda remote: [name for name in names if remote.store.drop(name)], rivals)
            )
        assert sorted(name for mine in dropped for name in mine) == sorted(names)
        assert rivals[1].store.names() == []

    def test_its_age_is_by_the_clock_over_there(self, store: Store) -> None:
        assert store.age("lock") is None
        assert store.claim("lock")
        assert store.age("lock") in range(5)

    def test_what_is_renewed_stays_what_it_is(self, rivals: Sequence[Remote]) -> None:
        one, other, _ = (remote.store for remote in rivals)
        assert not one.renew("f")
        assert one.names() == []
        assert one.put_new("f", b"1")
        assert one.claim("g")
        assert [other.renew("f"), one.renew("f"), one.renew("g")] == [True, True, True]
        assert one.age("f") in range(5)
        assert (other.get("f"), other.get("g"), other.names()) == (b"1", None, ["f", "g"])
        assert not other.claim("g")
        assert one.drop("f")
        assert not other.renew("f")
        assert other.names() == ["g"]

    def test_it_makes_dest_and_is_in_no_ones_way(self, rivals: Sequence[Remote]) -> None:
        first, second, third = rivals
        assert first.store.claim("lock")
        for remote, lineage in ((first, "one"), (second, "two")):
            assert list(remote.walk("")) == []
            remote.begin(Footing(lineage), "run")
            assert not remote.is_torn()
            assert list(remote.end()) == []
        assert first.store.put_new("state", b"1")
        assert third.store.names() == ["lock", "state"]
        assert third.store.get("state") == b"1"

    def test_a_store_alone_is_no_other_job(self, open_remote: OpenRemote, dest: Path) -> None:
        heard = Heard()
        remote = open_remote(dest, Options(), heard)
        assert remote.store.put_new("state", b"1")
        remote.begin(Footing("lineage"), "run")
        list(remote.end())
        remote.close()
        assert not [said for said in heard.said if "job" in said]


class LeaseConformance(StoreConformance):
    """The same with what is held there while something goes on, where that takes any time."""

    def test_a_lease_is_renewed_while_anything_goes_on(self, rivals: Sequence[Remote]) -> None:
        remote, other, _ = rivals
        assert other.store.claim("lock")
        lease = Watched("lock")
        remote.mind(lease)
        for told in (["lock"], ["lock", "lock-2"], None):
            if told is None:
                assert other.store.drop("lock")
            lease.due = True
            wait_for(lambda: bool(list(remote.look(["f"]))) and lease.told.is_set(), "its renewal")
            assert lease.names.pop() == told
            lease.told.clear()
            assert lease.names == []
            if told == ["lock"]:
                assert other.store.claim("lock-2")

    def test_who_has_lost_its_lease_asks_for_nothing_more(self, rivals: Sequence[Remote]) -> None:
        remote, other, _ = rivals
        assert remote.store.put_new("before", b"1")
        lease = Watched("before")
        remote.mind(lease)
        assert remote.store.get("before") == b"1"
        lease.over = True
        with pytest.raises(ConnectionLost, match="overdue"):
            remote.store.put_new("late", b"1")
        with pytest.raises(ConnectionLost):
            list(remote.look(["f"]))
        assert other.store.names() == ["before"]
