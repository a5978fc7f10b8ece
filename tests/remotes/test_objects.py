"""A remote that can do little, through the whole run: what adding a kind of place takes, and promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.errors import ConnectionLost, Refused, UsageError
from reconcile.core.job import Job, Options, Reporter, Result, Stop
from reconcile.core.model import Action, Op, Outcome, Publish
from reconcile.core.paths import ancestors, parent
from reconcile.remotes import SCHEMES, Memory, Remote, Scheme, open_remote, parse_target
from reconcile.run import make_plan, run
from reconcile.source.files import Source
from tests.remotes.conformance import Bench, Conformance, Folder, Heard, OpenRemote
from tests.support import objects
from tests.support.trees import Dir, File, Link, Node, Tree, build_tree

SCHEME: Scheme = objects  # which the type checker looks at
NAME = "bucket"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One line, and the place is known."""
    monkeypatch.setitem(SCHEMES, "mem", "tests.support.objects")
    yield
    objects.BUCKETS.clear()
    objects.STORES.clear()


@dataclass(frozen=True)
class Push:
    """SRC and flags."""

    source: Path
    flags: Flags

    def __call__(self, tree: Tree | None = None, **flags: object) -> Result:
        """A run that ends well, after SRC was given what is in ``tree``."""
        build_tree(self.source, tree or {})
        result = run(self.job(**flags), Heard())
        assert not result.problems
        return result

    def job(self, **flags: object) -> Job:
        return make_job(replace(self.flags, **flags))

    def there(self) -> dict[str, bytes]:
        """What the store holds, our own left out."""
        held = objects.BUCKETS[NAME]
        return {key: data for key, data in held.items() if not key.startswith(objects.OURS)}

    def here(self) -> dict[str, bytes]:
        """The files of SRC."""
        files = (path for path in self.source.rglob("*") if path.is_file() and not path.is_symlink())
        return {str(path.relative_to(self.source)): path.read_bytes() for path in files}


@pytest.fixture
def push(tmp_path: Path) -> Push:
    source = tmp_path / "source"
    source.mkdir()
    return Push(source, Flags(str(source), f"mem://{NAME}", state=str(tmp_path / "state")))


TREE: Tree = {
    "f": "f",
    "x": File("x", mode=0o755),
    "d": {"e": {"g": "g"}, "h": "h"},
    "empty": Dir(),
    "l": Link("f"),
}


def test_a_folder_becomes_objects_and_stays_in_step(push: Push) -> None:
    first = push(TREE)
    assert first.connected
    assert push.there() == push.here() == {"f": b"f", "x": b"x", "d/e/g": b"g", "d/h": b"h"}
    assert not push().connected
    (push.source / "x").chmod(0o700)
    assert not push().connected, "modes are not kept there, and so no change"
    (push.source / "f").unlink()
    (push.source / "d").rename(push.source / "moved")
    (push.source / "empty").rmdir()
    last = push({"x": "other"}, mirror=True)
    assert {action.op for action in last.ended} == {Op.CREATE, Op.MODIFY, Op.DELETE}
    assert push.there() == push.here() == {"x": b"other", "moved/e/g": b"g", "moved/h": b"h"}
    assert not push(mirror=True).connected


def test_what_it_lacks_is_told_in_the_plan(push: Push) -> None:
    build_tree(push.source, TREE)
    plan = make_plan(push.job(), Heard())
    assert {action.op for action in plan.plan.actions} == {Op.CREATE}
    told = "\n".join(note.message for note in plan.notes)
    for lack in ("no permissions", "no times", "no links", "no directories"):
        assert f"DEST {'has' if lack == 'no directories' else 'keeps'} {lack}" in told
    (link,) = [note.message for note in push().notes if "symbolic" in note.message]
    assert "--links" not in link, "nobody gave that"
    (push.source / "d").rename(push.source / "moved")
    plan = make_plan(push.job(), Heard())
    assert any("renames nothing" in note.message for note in plan.notes)
    assert plan.plan.bytes_to_send == 2


def test_files_and_folders_change_places(push: Push) -> None:
    push({"a": "file", "b": {"in": "folder"}})
    (push.source / "a").unlink()
    (push.source / "b/in").unlink()
    (push.source / "b").rmdir()
    push({"a": {"deep": {"in": "folder"}}, "b": "file"}, mirror=True)
    assert push.there() == push.here() == {"a/deep/in": b"folder", "b": b"file"}
    assert not push(mirror=True).connected


def test_nothing_is_deleted_without_mirror(push: Push) -> None:
    push({"a": "a", "d": {"b": "b"}})
    (push.source / "a").unlink()
    (push.source / "d/b").unlink()
    push({"c": "c"})
    assert push.there() == {"a": b"a", "d/b": b"b", "c": b"c"}
    push(mirror=True)
    assert push.there() == {"c": b"c"}


@pytest.mark.parametrize("on_drift", ["backup", "skip", "overwrite"])
def test_what_others_wrote_is_not_lost(push: Push, on_drift: str) -> None:
    push({"a": "ours", "b": "ours"})
    held = objects.BUCKETS[NAME]
    held["a"] = b"theirs"
    held["c"] = b"theirs"
    build_tree(push.source, {"a": "new", "c": "new"})
    result = run(push.job(on_drift=on_drift), Heard())
    if on_drift == "skip":
        assert sorted(problem.path for problem in result.problems) == ["a", "c"]
        assert (held["a"], held["c"]) == (b"theirs", b"theirs")
    else:
        assert (held["a"], held["c"]) == (b"new", b"new")
        kept = sorted(data for key, data in held.items() if key.startswith(f"{objects.OURS}kept/"))
        assert kept == ([b"theirs"] * 2 if on_drift == "backup" else [])


def test_what_is_there_is_adopted_by_content(push: Push) -> None:
    objects.BUCKETS[NAME].update({"a": b"same", "b": b"else", "d/c": b"same", "theirs": b"theirs"})
    build_tree(push.source, {"a": "same", "b": "mine", "d": {"c": "same"}})
    with pytest.raises(Refused, match="already holds something"):
        run(push.job(), Heard())
    result = push(adopt_existing=True)
    assert [action.path for action in result.ended] == ["b"]
    assert push.there() == {"a": b"same", "b": b"mine", "d/c": b"same", "theirs": b"theirs"}
    assert objects.BUCKETS[NAME][f"{objects.OURS}kept/b"] == b"else"
    assert not push().connected


def test_a_store_that_was_emptied_or_rolled_back_is_noticed(push: Push) -> None:
    push({"a": "a"})
    before = dict(objects.BUCKETS[NAME])
    push({"b": "b", "d": {"c": "c"}})
    objects.BUCKETS[NAME].clear()
    objects.BUCKETS[NAME].update(before)
    push({"e": "e"})
    assert push.there() == push.here()
    objects.BUCKETS[NAME].clear()
    build_tree(push.source, {"f": "f"})
    with pytest.raises(Refused, match="mark is missing"):
        run(push.job(), Heard())
    push(start_over=True)
    assert push.there() == push.here()


def test_a_refresh_brings_back_what_is_gone(push: Push) -> None:
    push(TREE)
    del objects.BUCKETS[NAME]["d/e/g"]
    objects.BUCKETS[NAME]["f"] = b"theirs"
    push(refresh=True)
    assert push.there() == push.here()
    assert not make_plan(push.job(refresh=True), Heard()).plan.levels


class Breaks:
    """Its connection breaks once so much is done; what is asked for then is done, and nobody hears of it."""

    def __init__(self, remote: Remote, after: int) -> None:
        self._remote, self._after = remote, after

    def perform(
        self,
        actions: Sequence[Action],
        source: Source,
        stop: Stop | None = None,
        publish: Publish = Publish.NOW,
    ) -> Iterator[Outcome]:
        for outcome in self._remote.perform(actions, source, stop, publish):
            if not self._after:
                raise ConnectionLost("it broke")
            self._after -= 1
            yield outcome

    def __getattr__(self, name: str) -> object:
        return getattr(self._remote, name)


def breaking(after: int, times: int = 1) -> Callable[[Job, Reporter, Memory], Remote]:
    """The first connections break."""
    left = iter(range(times))

    def connect(job: Job, reporter: Reporter, memory: Memory) -> Remote:
        remote = open_remote(job, reporter, memory)
        return remote if next(left, None) is None else Breaks(remote, after)  # type: ignore[return-value]

    return connect


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("retries", [0, 3])
def test_a_broken_connection_costs_nothing(push: Push, after: int, retries: int) -> None:
    push({"gone": "gone", "d": {"gone": "gone", "changed": "before"}})
    (push.source / "gone").unlink()
    (push.source / "d/gone").unlink()
    build_tree(push.source, {"new": "new", "e": {"new": "new"}, "d": {"changed": "after"}})
    job = push.job(mirror=True, retries=retries, retry_max_wait=0.0)
    try:
        run(job, Heard(), breaking(after))
        assert retries
    except ConnectionLost:
        assert not retries
    push(mirror=True)
    assert push.there() == push.here()
    assert not push(mirror=True).connected


def test_a_flag_that_means_nothing_there_is_wrong_usage(push: Push) -> None:
    with pytest.raises(UsageError, match="--port means nothing where DEST is mem://"):
        push.job(reaching={"port": 22})


def test_unknown_until_it_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(parse_target("mem://x")) == "mem://x"
    monkeypatch.delitem(SCHEMES, "mem")
    with pytest.raises(UsageError, match="mem:// is not supported"):
        parse_target("mem://x")


def test_it_is_short() -> None:
    lines = [line for line in Path(objects.__file__).read_text().splitlines() if line.strip()]
    imports = next(number for number, line in enumerate(lines) if line.startswith("FORMS"))
    assert len(lines) - imports < 150


class InBucket(Folder):
    """DEST as others have it, where it is no folder."""

    held = property(lambda _: objects.BUCKETS[NAME])

    def read(self, top: str = "") -> dict[str, Node]:
        start = f"{top}/" if top else ""
        found = {key.removeprefix(start): data for key, data in self.held.items() if key.startswith(start)}
        folders = {above: Node("dir") for key in found for above in ancestors(parent(key))}
        return folders | {key: Node("file", content=data) for key, data in found.items()}

    def remove(self, path: str) -> None:
        for key in [key for key in self.held if path in ancestors(key)]:
            del self.held[key]


class TestWhatEveryRemotePromises:
    """Of the suite what needs no more than its caps."""

    make = Conformance.make

    @pytest.fixture
    def open_remote(self) -> OpenRemote:
        def open_remote(_dest: Path, options: Options, heard: Heard) -> Remote:
            return objects.Objects(objects.BUCKETS[NAME], objects.STORES[NAME], options.on_drift, heard)

        return open_remote

    @pytest.fixture
    def bench(self, make: Callable[..., Bench], dest: Path) -> Bench:
        bench = make()
        bench.there = InBucket(dest)
        return bench

    test_big_files = Conformance.test_a_big_file_arrives_whole
    test_ranges = Conformance.test_ranges_are_read_in_order
    test_many_files = Conformance.test_many_files_arrive
    test_what_is_gone = Conformance.test_a_delete_of_what_is_gone_is_done
    test_a_restless_source = Conformance.test_a_source_that_changes_while_it_is_read_is_not_published
    test_staged = Conformance.test_nothing_is_seen_before_all_is_staged
    test_not_staged = Conformance.test_what_can_not_be_staged_holds_up_nothing
    _level = Conformance._level
