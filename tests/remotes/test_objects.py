"""A remote that can do little, through the whole run: what adding a kind of place takes, and promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from msgspec.structs import replace

from reconcile.config import Flags, make_job
from reconcile.core.errors import ConnectionLost, Refused, UsageError
from reconcile.core.job import Job, Options, Reporter, Result, Reviewed, Stop
from reconcile.core.model import OURS, Action, Op, Outcome
from reconcile.core.paths import ancestors
from reconcile.pipeline import make_plan, run
from reconcile.remotes import SCHEMES, Memory, Remote, Scheme, open_remote, parse_target
from reconcile.source.files import Source
from tests.remotes.conformance import Conformance, Heard, OpenRemote, ThirdHand
from tests.remotes.stores import StoreConformance
from tests.support import objects
from tests.support.trees import Dir, File, Link, Tree, build_tree, read_tree

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
        return {key: data for key, data in held.items() if not key.startswith(OURS)}

    def here(self) -> dict[str, bytes]:
        """The files of SRC."""
        files = (path for path in self.source.rglob("*") if path.is_file() and not path.is_symlink())
        return {str(path.relative_to(self.source)): path.read_bytes() for path in files}


@pytest.fixture
def push(tmp_path: Path) -> Push:
    source = tmp_path / "source"
    source.mkdir()
    return Push(source, Flags(str(source), f"mem://{NAME}", state=str(tmp_path / "state")))


def test_a_plan_that_was_looked_at_is_carried_out_or_refused(push: Push) -> None:
    """Where there are no directories, and no renames: what moves is sent, or copied there."""
    push({"a": {"x": "x", "y": "y" * 9}, "b": "b", "c": {"z": "z"}})
    (push.source / "a").rename(push.source / "moved")
    (push.source / "b").write_text("changed")
    (push.source / "c/z").unlink()
    job = push.job(mirror=True)
    planned = make_plan(replace(job, exact=True), Heard())
    job = replace(job, reviewed=Reviewed(*planned.footing, list(planned.plan.actions)), exact=True)
    objects.BUCKETS[NAME]["a/x"] = b"theirs"
    with pytest.raises(Refused, match="'a/x' is not as it was left there"):
        run(job, Heard())
    objects.BUCKETS[NAME]["a/x"] = b"x"
    result = run(job, Heard())
    assert not result.problems
    assert [(a.op, a.path) for a in result.done] == [(a.op, a.path) for a in planned.done]
    assert push.there() == push.here()


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
        kept = sorted(data for key, data in held.items() if "/trash/kept/" in key)
        assert kept == ([b"theirs"] * 2 if on_drift == "backup" else [])


def test_what_is_there_is_adopted_by_content(push: Push) -> None:
    objects.BUCKETS[NAME].update({"a": b"same", "b": b"else", "d/c": b"same", "theirs": b"theirs"})
    build_tree(push.source, {"a": "same", "b": "mine", "d": {"c": "same"}})
    with pytest.raises(Refused, match="already holds something"):
        run(push.job(), Heard())
    result = push(adopt_existing=True)
    assert [action.path for action in result.ended] == ["b"]
    assert push.there() == {"a": b"same", "b": b"mine", "d/c": b"same", "theirs": b"theirs"}
    assert [data for key, data in objects.BUCKETS[NAME].items() if key.endswith("/trash/kept/b")] == [b"else"]
    assert not push().connected


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a later run"])
def test_what_only_it_holds_is_deleted_where_that_is_asked_for(push: Push, later: bool) -> None:
    theirs = ("old/deep/x", "old/y", "d/gone", "gone", "d/x.log", "logs/y.log")
    objects.BUCKETS[NAME].update(dict.fromkeys(theirs, b"theirs") | {"a": b"same", "d/c": b"same"})
    flags: dict[str, Any] = {"adopt_existing": True, "mirror": True, "exclude": ("*.log",)}
    if later:
        assert not push({"a": "same", "d": {"c": "same"}}, **flags).ended
    push({"a": "same", "d": {"c": "same"}}, **flags, adopt_orphans=True)
    assert set(push.there()) == {"a", "d/c", "d/x.log", "logs/y.log"}
    assert not push(**flags).connected


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
    ) -> Iterator[Outcome]:
        for outcome in self._remote.perform(actions, source, stop):
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


def test_a_trash_is_not_promised_where_none_can_be_had(push: Push) -> None:
    with pytest.raises(UsageError, match="--trash can't be had at a DEST of this kind"):
        push(trash="30d")


def test_unknown_until_it_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(parse_target("mem://x")) == "mem://x"
    monkeypatch.delitem(SCHEMES, "mem")
    with pytest.raises(UsageError, match="mem:// is not supported"):
        parse_target("mem://x")


def test_it_is_short() -> None:
    lines = [line for line in Path(objects.__file__).read_text().splitlines() if line.strip()]
    imports = next(number for number, line in enumerate(lines) if line.startswith("FORMS"))
    assert len(lines) - imports < 150


class AtBucket:
    """Somebody else who puts objects there."""

    held = property(lambda _: objects.BUCKETS[NAME])

    def build(self, tree: Tree) -> None:
        with TemporaryDirectory() as folder:
            build_tree(folder, tree)
            found = read_tree(folder).items()
            self.held.update((path, node.content or b"") for path, node in found if node.kind == "file")

    def remove(self, path: str) -> None:
        for key in [key for key in self.held if not path or path in ancestors(key)]:
            del self.held[key]

    def rename(self, old: str, new: str) -> None:
        self.held[new] = self.held.pop(old)


class TestConformance(Conformance, StoreConformance):
    """Of the suite what its caps promise."""

    lacks = frozenset({"dirs", "links", "modes", "times", "rename", "shadows", "stats"})

    @pytest.fixture
    def open_remote(self, dest: Path) -> OpenRemote:
        def open_remote(place: Path, options: Options, heard: Heard) -> Remote:
            held = objects.BUCKETS[NAME]
            if place != dest:  # our folder there, as others see it
                ours = (key for key in held if key.startswith(OURS))
                held = {key.removeprefix(OURS): held[key] for key in ours}
            return objects.Objects(held, objects.STORES[NAME], options.on_drift, heard)

        return open_remote

    @pytest.fixture
    def there(self) -> ThirdHand:
        return AtBucket()
