"""What every Remote must do that is a tree of files, beside what all must: how our folder looks there."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from reconcile.core.job import Options, Perms
from reconcile.core.model import Action, Footing, Op, Publish
from reconcile.core.paths import parking_place
from reconcile.remotes import Remote, Store
from tests.remotes.conformance import LINEAGE, OLD, RUN, Bench, Conformance, Heard, OpenRemote, goes_on, parks
from tests.remotes.stores import HOUR, LeaseConformance
from tests.support.trees import Dir, Fifo, File, build_tree, read_tree


class TreeConformance(Conformance, LeaseConformance):
    """The whole suite for DEST as a folder, which the tests can get at: some of it is about what no remote
    shows, as modes beyond 0777, and what those run into that have died.
    """

    def test_what_runs_share_is_for_nobody_else_to_read(self, store: Store, dest: Path) -> None:
        assert store.put_new("state", b"value")
        assert store.claim("lock")
        ours = dest / ".reconcile"
        assert "Require all denied" in (ours / ".htaccess").read_text()
        for path in (ours, *ours.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path

    def test_a_put_that_was_cut_is_gone_with_its_name(self, store: Store, dest: Path) -> None:
        assert store.claim("state")
        (dest / ".reconcile/store/state/fresh0a").write_text("half")
        assert store.get("state") is None
        assert store.drop("state")
        assert os.listdir(dest / ".reconcile/store") == []
        build_tree(dest / ".reconcile/store", {".gone-0a": {"value": "of one who died while it was dropped"}})
        store.drop_all(["state"])
        assert os.listdir(dest / ".reconcile/store") == []

    def test_special_bits_of_directories_stay(self, bench: Bench) -> None:
        bench.upload({"d": {}})
        bench.there.build({"d": Dir(mode=0o2755)})
        (bench.src / "d").chmod(0o750)
        bench.do(Action(Op.SETMETA, "d", bench.wish("d"), bench.held["d"]))
        assert stat.S_IMODE((bench.dest / "d").stat().st_mode) == 0o2750

    @pytest.mark.parametrize("publish", Publish)
    def test_a_file_may_keep_the_mode_it_has_there(
        self, make: Callable[..., Bench], dest: Path, publish: Publish
    ) -> None:
        bench = make(file_perms=Perms.REMOTE, dir_perms=Perms.REMOTE)
        bench.upload({"d": Dir({"f": File("f", mode=0o640), "g": "g"}, mode=0o750)})
        (dest / "d/f").chmod(0o604)
        (dest / "d").chmod(0o705)
        build_tree(bench.src, {"d": Dir({"f": File("changed", mode=0o600), "new": File("n", mode=0o644)})})
        outcomes = bench.perform(bench.modify("d/f"), bench.create("d/new"), publish=publish)
        assert [outcome.problem for outcome in outcomes] == [None, None]
        modes = {path: node.mode for path, node in bench.read_back().items()}
        assert modes == {"d": 0o705, "d/f": 0o604, "d/g": 0o644, "d/new": 0o644}

    def test_what_is_neither_file_nor_folder_is_seen(self, bench: Bench) -> None:
        bench.there.build({"fifo": Fifo()})
        assert [(path, seen.kind) for path, seen in bench.remote.walk("")] == [("fifo", None)]

    def test_leftovers_of_an_earlier_run_are_cleared_but_not_what_may_be_the_only_copy(
        self, bench: Bench, make: Callable[..., Bench]
    ) -> None:
        ours = bench.dest / ".reconcile" / LINEAGE
        build_tree(
            ours / RUN,
            {
                "staging": {"1": "x"},
                "trash": {"2": Dir({"deep": "x"}, mode=0o555)},
                "parked": {"3": "only copy"},
            },
        )
        build_tree(ours / "done", {"trash": {"kept": {"f": "kept"}}})
        build_tree(ours / "only-deleted", {"trash": {"1": "nobody knows whose"}})
        build_tree(ours / "about-to-keep", {"trash": {"kept": {}}})
        second = make("second")
        assert list(second.remote.end()) == []
        fenced = f"{RUN}.dead"
        marks = {"done.kept-1", "second.kept-2", f"{fenced}.kept-0"}
        assert set(os.listdir(ours)) == {"id", "done", "second", fenced, *marks}
        assert set(read_tree(ours / fenced)) == {"left", "left/3"}
        kept = read_tree(ours / "second/trash/kept")
        assert {node.content for node in kept.values()} == {b"nobody knows whose", b"x", None}
        make("third")
        assert set(read_tree(ours / fenced)) == {"left", "left/3"}
        assert (ours / "done/trash/kept/f").read_text() == "kept"

    def test_what_a_dead_run_had_parked_is_taken_over(
        self, bench: Bench, open_remote: OpenRemote, dest: Path
    ) -> None:
        bench.upload({"a": "was a", "d": {"x": "x"}})
        for number, name in enumerate(("a", "d")):
            bench.do(parks(name, bench.held[name], number))
        ours = bench.dest / ".reconcile" / LINEAGE
        build_tree(ours / RUN, {"staging": {"1": "x"}, "trash": {"kept": {"f": "theirs"}}})
        build_tree(ours / "older.dead", {"parked": {"0": "another's"}})
        os.utime(ours / "older.dead", (OLD, OLD))
        for run in ("second", "third"):  # the second comes to nothing else
            remote = open_remote(dest, Options(), Heard())
            remote.begin(Footing(LINEAGE, known=True), run, resume=True)
            with pytest.raises(FileNotFoundError):
                os.stat(ours / RUN)
            assert {path.name for path in (ours / run / "parked").iterdir()} == {"0", "1"}
            places = map(parking_place, range(3))
            assert [bool(there) for _, there in sorted(remote.look(places))] == [True, True, False]
            if run == "second":
                remote.close()
        a, d = bench.held["a"], bench.held["d"]
        back = [goes_on(path, e, path, n) for n, (path, e) in enumerate((("a", a), ("d", d)))]
        assert all(outcome.done for outcome in remote.perform(back, bench.source))
        bench.same()
        assert list(remote.end()) == []
        assert set(read_tree(ours)) == {
            "id",
            f"{RUN}.dead",
            f"{RUN}.dead/trash",
            f"{RUN}.dead/trash/kept",
            f"{RUN}.dead/trash/kept/f",
            f"{RUN}.dead.kept-1",
            "older.dead",
            "older.dead.kept-0",
            "older.dead/left",
            "older.dead/left/0",
        }
        remote.close()

    def test_preparing_makes_what_is_ours_for_us_alone(self, make: Callable[..., Bench], dest: Path) -> None:
        make()
        there = read_tree(dest)
        assert there[f".reconcile/{LINEAGE}/id"].content == f"{LINEAGE}\n".encode()
        assert there[".reconcile"].mode == 0o700

    def test_an_hour_is_one_by_the_clock_over_there(self, store: Store, dest: Path) -> None:
        assert store.claim("lock")
        long_ago = time.time() - HOUR
        os.utime(dest / ".reconcile/store/lock", (long_ago, long_ago))
        assert store.age("lock") in range(HOUR, HOUR + 60)
        assert store.names() == ["lock"]

    def test_what_is_renewed_is_young_by_the_clock_over_there(self, store: Store, dest: Path) -> None:
        assert store.put_new("lock", b"1")
        long_ago = time.time() - HOUR
        os.utime(dest / ".reconcile/store/lock", (long_ago, long_ago))
        assert store.age("lock") in range(HOUR, HOUR + 60)
        assert store.renew("lock")
        assert store.age("lock") in range(5)
        assert read_tree(dest / ".reconcile/store").keys() == {"lock", "lock/value"}

    def test_what_runs_of_another_job_ask_for_late_comes_to_nothing(
        self, bench: Bench, open_remote: OpenRemote
    ) -> None:
        bench.upload({"old": "1", "gone": "2", "first": ""})
        bench.do(bench.delete("first"))
        build_tree(bench.src, {"new": "3", "old": "4"})
        other = open_remote(bench.dest, Options(), Heard())
        for name in ("none", "../x", ".", "store", "a/b", ""):
            other.fence(name)
        before = bench.read_back()
        other.fence(LINEAGE)
        late = bench.perform(
            bench.create("new"),
            bench.modify("old"),
            bench.delete("gone"),
        )
        assert [outcome.done for outcome in late] == [False, False, False]
        assert bench.read_back() == before
        assert [*(bench.dest / ".reconcile" / LINEAGE).glob("*.dead")]
        other.close()

    def test_a_put_that_broke_off_holds_the_name_and_no_value(self, store: Store, dest: Path) -> None:
        build_tree(dest / ".reconcile/store", {"state": {"fresh": "half of"}})
        assert store.get("state") is None
        assert store.names() == ["state"]
        assert not store.put_new("state", b"whole")
        assert store.drop("state")
        assert store.put_new("state", b"whole")
        assert store.get("state") == b"whole"

    def test_what_is_stored_is_for_us_alone(self, rivals: Sequence[Remote], dest: Path) -> None:
        assert rivals[0].store.claim("lock")
        assert rivals[1].store.put_new("state", b"1")
        there = read_tree(dest / ".reconcile/store")
        assert there.keys() == {"lock", "state", "state/value"}
        assert {
            dest.joinpath(".reconcile", path).stat().st_mode & 0o777 for path in ("store", "store/lock")
        } == {0o700}
