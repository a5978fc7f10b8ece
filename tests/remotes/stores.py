"""What every remote's store must do: see ``reconcile.remotes.Store``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconcile.core.job import Options
from reconcile.core.model import Footing
from reconcile.remotes import Remote, Store
from tests.remotes.conformance import Heard, OpenRemote

RIVALS = 3
HOUR = 3600  # seconds


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
