"""What every Remote must do. A module of tests derives from `Conformance` and says how to open one.

Each test performs actions as a plan would hold them, and sees what became of DEST through the remote,
or through another that it opens beside it. What a third hand does there is done by a helper of each kind
of remote: see `ThirdHand`. A remote that can do less says in ``lacks`` what it can't: what is demanded of
others only is left out, and said where the demand is (`needs`).
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable, Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import pytest
from msgspec.structs import replace

from reconcile.apply.adopt import read_digests
from reconcile.apply.levels import way_home
from reconcile.core.errors import Refused
from reconcile.core.job import OnDrift, Options, Perms, Stop
from reconcile.core.model import (
    OURS,
    UNKNOWN_MODE,
    Action,
    Brought,
    Entry,
    Footing,
    Kind,
    Op,
    Outcome,
    Plan,
    Problem,
    Publish,
    Reason,
    Seen,
    Stamp,
)
from reconcile.core.paths import parking_place
from reconcile.remotes import NOTHING, Forgetting, Remote
from reconcile.source.files import Source, SourceError, digest_of
from tests.support.trees import Dir, File, Link, Node, Tree, assert_alike, build_tree, read_tree

LINEAGE, RUN = "lineage", "run"
OLD = 1_000_000_000  # a time nothing gets by accident


class Heard:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bytes = 0

    def phase(self, name: str) -> None:
        pass

    def say(self, message: str) -> None:
        self.said.append(message)

    warn = say

    def asking(self) -> None:
        """Nothing is shown."""

    def refused(self, plan: object) -> None:
        """Nothing."""

    def planned(self, plan: object, tally: object, /) -> None:
        pass

    def sent(self, count: int, path: str, /) -> None:  # noqa: ARG002 - as it is told
        self.bytes += count

    def retrying(self, lost: str, attempt: int, most: int, _wait_s: float, /) -> None:
        self.said.append(f"{lost}: {attempt} of {most}")

    def outcome(self, outcome: Outcome) -> None:
        pass


OpenRemote = Callable[..., Remote]
KEPT = f"{OURS}trash/kept"  # in a run's folder, whatever is not purged with the rest


class ThirdHand(Protocol):
    """Somebody else who writes to DEST and knows nothing of us."""

    def build(self, tree: Tree) -> None:
        """Write all that is in the tree; what it does not name stays."""

    def remove(self, path: str) -> None:
        """Whatever it is, with all in it; DEST itself if the path is empty. Folders that are none there
        are gone with what was in them."""

    def rename(self, old: str, new: str) -> None:
        """To where nothing is."""


class AtFolder:
    """A third hand where DEST is a folder that we can get at."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def build(self, tree: Tree) -> None:
        build_tree(self.path, tree)

    def remove(self, path: str) -> None:
        there = self.path / path
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        else:
            there.unlink()

    def rename(self, old: str, new: str) -> None:
        (self.path / old).rename(self.path / new)


def read_back(remote: Remote, top: str = "") -> dict[str, Node]:
    """What DEST holds below ``top``, as the remote tells it; in the place of a file's content its digest."""
    seen = dict(remote.walk(top))
    files = [(path, shown.size) for path, shown in seen.items() if shown.kind is Kind.FILE]
    digests = dict(read_digests(remote, files))
    return {path.removeprefix(f"{top}/"): _as_node(shown, digests.get(path)) for path, shown in seen.items()}


def _as_node(shown: Seen, digest: bytes | None) -> Node:
    match shown.kind:
        case Kind.FILE:
            return Node("file", shown.mode, digest, shown.mtime)
        case Kind.SYMLINK:
            return Node("symlink", content=os.fsencode(shown.link or ""))
        case Kind.DIR:
            return Node("dir", shown.mode)
        case None:
            return Node("other", shown.mode)


def digested(tree: Mapping[str, Node]) -> dict[str, Node]:
    """The same of what was read otherwise."""
    return {
        path: Node("file", node.mode, digest_of(node.content or b""), node.mtime)
        if node.kind == "file"
        else node
        for path, node in tree.items()
    }


class Watched(Source):
    """Somebody is told of each file that was opened, before it is brought."""

    def __init__(self, top: Path, told: Callable[[str], None]) -> None:
        super().__init__(str(top))
        self._told = told

    def check(self, fd: int, path: str, stamp: Stamp) -> None:
        self._told(path)
        super().check(fd, path, stamp)


class Bench:
    """SRC, DEST and a prepared remote, and short words for what tests do with them.

    What has become of DEST is read back through the remote. ``there``: who else is at it.
    ``lacks``: see `Conformance`.
    """

    def __init__(
        self,
        open_remote: OpenRemote,
        src: Path,
        dest: Path,
        options: Options,
        run: str = RUN,
        plan: Plan = NOTHING,
        there: ThirdHand | None = None,
        lacks: Container[str] = (),
    ) -> None:
        self.src, self.dest, self.there = src, dest, there or AtFolder(dest)
        self.open_remote, self.lacks = open_remote, lacks
        self.heard = Heard()
        self.remote = open_remote(dest, options, self.heard)
        self.source = Source(str(src))
        self.held: dict[str, Entry] = {}
        self.remote.begin(Footing(LINEAGE), run, plan)

    def wish(self, path: str) -> Entry:
        """What a scan would say of a path in SRC."""
        info = os.lstat(self.src / path)
        mode = stat.S_IMODE(info.st_mode) & 0o777
        stamp = Stamp(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_mode)
        if stat.S_ISDIR(info.st_mode):
            return Entry(Kind.DIR, mode)
        if stat.S_ISLNK(info.st_mode):
            return Entry(Kind.SYMLINK, mode, stamp=stamp)
        return Entry(Kind.FILE, mode, info.st_size, info.st_mtime_ns, stamp=stamp)

    def stage(self, *actions: Action, stop: Stop | None = None) -> list[Brought | Outcome]:
        """Bring what uploads of one level bring."""
        uploads = [a for a in actions if a.op in (Op.CREATE, Op.MODIFY) and a.kind is Kind.FILE]
        return list(self.remote.stage(uploads, self.source, stop))

    def perform(self, *actions: Action, publish: Publish = Publish.EACH) -> list[Outcome]:
        """Carry out one level; what is true then is remembered."""
        staged = self.stage(*actions) if publish is Publish.END else []
        outcomes = {id(each.action): each for each in staged if isinstance(each, Outcome)}
        left = [action for action in actions if id(action) not in outcomes]
        outcomes.update({id(outcome.action): outcome for outcome in self.remote.perform(left, self.source)})
        assert len(outcomes) == len(actions)
        for outcome in outcomes.values():
            for path, entry in outcome.effects.items():
                self.held.pop(path, None)
                if entry is not None:
                    self.held[path] = entry
                else:  # with all below it
                    self.held = {p: e for p, e in self.held.items() if not p.startswith(f"{path}/")}
        return [outcomes[id(action)] for action in actions]

    def watch(self, told: Callable[[str], None]) -> None:
        """From now on."""
        self.source.close()
        self.source = Watched(self.src, told)

    def do(self, *actions: Action) -> None:
        """The same where all must go well."""
        for outcome in self.perform(*actions):
            assert outcome.done, outcome.problem

    def problem(self, action: Action) -> Problem:
        """The problem that one action must have."""
        (outcome,) = self.perform(action)
        assert outcome.problem is not None
        assert outcome.problem.path == action.subject
        assert outcome.problem.message
        return outcome.problem

    def create(self, path: str) -> Action:
        return Action(Op.CREATE, path, self.wish(path))

    def modify(self, path: str) -> Action:
        return Action(Op.MODIFY, path, self.wish(path), self.held[path])

    def mkdir(self, path: str) -> Action:
        return Action(Op.MKDIR, path, self.wish(path))

    def delete(self, path: str, *, keep: bool = False) -> Action:
        prefix = f"{path}/"
        members = tuple((p[len(prefix) :], e) for p, e in self.held.items() if p.startswith(prefix))
        return Action(Op.DELETE, path, None, self.held[path], members=members, keep=keep)

    def move(self, source: str, path: str, **more: object) -> Action:
        moved = self.held[source]
        return Action(Op.MOVE, path, moved, self.held.get(path), source, moved, **more)  # type: ignore[arg-type]

    def again(self, source: str, path: str) -> Action:
        """A new file whose content is on the remote already."""
        return Action(Op.CREATE, path, self.wish(path), source=source, moved=self.held[source])

    def has(self, what: str) -> bool:
        """Whether the remote does not lack it."""
        return what not in self.lacks

    def upload(self, tree: Tree) -> None:
        """Bring a whole tree, as far as DEST can hold it."""
        self.build(tree)
        paths = sorted(read_tree(self.src))
        folders = [path for path in paths if self.wish(path).kind is Kind.DIR]
        if self.remote.caps.dirs:
            self.do(*map(self.mkdir, folders))
        else:
            self.held.update((path, self.wish(path)) for path in folders)
        self.do(*(self.create(path) for path in paths if self.wish(path).kind is not Kind.DIR))

    def build(self, tree: Tree) -> None:
        """Write it to SRC; no links where DEST has none."""
        build_tree(self.src, tree)
        if not self.has("links"):
            for path, node in read_tree(self.src).items():
                if node.kind == "symlink":
                    (self.src / path).unlink()

    def knows(self, path: str, size: int, mtime: int) -> None:
        """What is remembered of a file is what the remote shows: this size and time."""
        [(_, seen)] = self.remote.look([path])
        assert seen is not None
        assert (seen.size, seen.mtime) == (size, mtime if self.remote.caps.times else None)
        assert self.remote.is_left(seen.tag, self.held[path])
        assert self.remote.noted(seen.tag, self.held[path]) == self.held[path].tag

    def same(self) -> None:
        """SRC and DEST hold the same, as far as DEST can."""
        caps, here = self.remote.caps, digested(read_tree(self.src))
        kept = {
            path: Node(
                node.kind,
                node.mode if caps.modes else None,
                node.content,
                node.mtime if caps.times else None,
            )
            for path, node in here.items()
            if (node.kind != "dir" or caps.dirs) and (node.kind != "symlink" or caps.links)
        }
        assert_alike(kept, self.read_back())

    def read_back(self) -> dict[str, Node]:
        """What DEST holds, our own folder left out."""
        return self._without_folders(read_back(self.remote))

    def shows(self, seen: Seen) -> bool:
        """Whether it is more than what a name implies."""
        return self.has("dirs") or seen.kind is not Kind.DIR

    def _without_folders(self, nodes: dict[str, Node]) -> dict[str, Node]:
        """As it is, where DEST has folders; elsewhere they are what the names of files imply."""
        return {path: n for path, n in nodes.items() if self.has("dirs") or n.kind != "dir"}

    def holds(self, path: str, content: str) -> bool:
        """Whether DEST has a file with it."""
        node = self.read_back()[path]
        return (node.kind, node.content) == ("file", digest_of(content.encode()))

    def kept(self) -> dict[str, Node]:
        """What this run did not purge, by the paths it had."""
        return self._without_folders(read_back(self.remote, KEPT))

    def ours(self) -> dict[str, Node]:
        """All in our folder, which is read as if it were somebody's DEST."""
        remote = self.open_remote(self.dest / ".reconcile", Options(), Heard())
        try:
            return self._without_folders(read_back(remote))
        finally:
            remote.close()

    def end(self) -> None:
        """Nothing of ours may be left but the mark."""
        assert list(self.remote.end()) == []
        marks = {f"{LINEAGE}/{mark}" for mark in self.remote.marks}
        assert len(marks) == 1
        assert self.ours().keys() - {LINEAGE} == marks


Test = TypeVar("Test", bound=Callable[..., None])
_NEEDS: dict[str, frozenset[str]] = {}  # by the name of a test


def needs(*what: str) -> Callable[[Test], Test]:
    """Demanded of those only that lack nothing of this."""

    def note(test: Test) -> Test:
        _NEEDS[test.__name__] = frozenset(what)
        return test

    return note


class Conformance:
    """The suite. ``open_remote(dest, options, reporter)`` comes as a fixture.

    ``lacks``: fields of `Caps` that are not set; ``shadows``: nothing shadows another, as a file and a
    folder may have one name; ``bytes``: names are text; ``controls``: and have no newline; ``stats``: nothing
    is counted. ``rename``: files are not moved; ``dirs``: nor are folders.
    """

    lacks: ClassVar[frozenset[str]] = frozenset()
    many: ClassVar[int] = 60  # files in each of ten folders
    bench_type: ClassVar[type[Bench]] = Bench

    def __init_subclass__(cls) -> None:
        for name, needed in _NEEDS.items():
            if needed & cls.lacks:
                setattr(cls, name, None)  # which is no test

    @pytest.fixture
    def there(self, dest: Path) -> ThirdHand:
        return AtFolder(dest)

    @pytest.fixture
    def make(
        self, open_remote: OpenRemote, source: Path, dest: Path, there: ThirdHand
    ) -> Iterator[Callable[..., Bench]]:
        benches: list[Bench] = []

        def make(run: str = RUN, **options: object) -> Bench:
            told = replace(Options(), **options)
            bench = self.bench_type(open_remote, source, dest, told, run, there=there, lacks=self.lacks)
            benches.append(bench)
            return benches[-1]

        yield make
        for bench in benches:
            bench.remote.close()
            bench.source.close()

    @pytest.fixture
    def bench(self, make: Callable[..., Bench]) -> Bench:
        return make()

    def test_a_tree_arrives(self, bench: Bench) -> None:
        names: dict[str | bytes, object] = {"n" * 255: "3", "ünï": "4", "[red]x": "5"}
        names |= {" ": "6", "a+b %2f%": "7", "?#&;=": "8", "..a": "9", "~": "10"}
        if bench.has("controls"):
            names["new\nline"] = "1"
        if bench.has("bytes"):
            names[b"\xff\xfe"] = "2"
        bench.upload(
            {
                "empty": File(b"", mtime=OLD),
                "x": File("#!", mode=0o751, mtime=OLD + 0.5),
                "deep": {"er": {"still": Dir({"f": File("f" * 5000)}, mode=0o700)}},
                "nothing": {},
                "link": Link("deep/er"),
                "nowhere": Link(b"\xff/gone" if bench.has("bytes") else "gone"),
                "names": names,
            }
        )
        bench.same()
        bench.knows("x", 2, OLD)
        assert bench.held["x"].digest == digest_of(b"#!")
        assert bench.held["x"].stamp == bench.wish("x").stamp
        if bench.has("links"):
            assert bench.held["link"].link == "deep/er"
        assert bench.heard.bytes == sum(
            (n.content is not None and len(n.content)) or 0
            for n in read_tree(bench.src).values()
            if n.kind == "file"
        )
        bench.end()

    def test_all_of_a_job_goes_but_its_files_and_what_was_moved_aside(self, bench: Bench) -> None:
        remote = bench.remote
        if not isinstance(remote, Forgetting):
            pytest.skip("what it has of a job is nothing that lasts")
        bench.upload({"a": "ours", "d": {"b": "b"}})
        bench.there.build({"a": "theirs"})
        bench.build({"a": "ours again"})
        bench.do(bench.modify("a"))
        list(remote.end())
        assert [(left.kept, left.old, left.parked) for left in remote.find_remains(LINEAGE)] == [(1, 0, 0)]
        before = bench.ours()
        assert remote.forget(LINEAGE) != []
        assert [path for path in bench.ours() if path in before] == [*bench.ours()]
        assert remote.marks[0] in "\n".join(bench.ours())
        bench.there.remove(f".reconcile/{LINEAGE}/{RUN}")
        assert remote.find_remains(LINEAGE) == []
        assert remote.forget("another") == []
        assert remote.forget(LINEAGE) == []
        remote.vacate()
        assert bench.ours() == {}
        bench.same()

    def test_a_big_file_arrives_whole(self, bench: Bench) -> None:
        content = os.urandom(8 << 20) + b"end"
        bench.upload({"big": content, "also": content[:100_000]})
        bench.same()
        assert bench.held["big"].digest == digest_of(content)

    def test_ranges_are_read_in_order(self, bench: Bench) -> None:
        content = os.urandom(700_000)
        bench.upload({"big": content, "small": "small", "empty": ""})
        wanted = [
            ("big", 0, len(content)),
            ("small", 1, 3),
            ("gone", 0, 9),
            ("empty", 0, 0),
            ("big", 300_000, 300_000),
            ("small", 0, 99),
            ("big", 7, 1),
        ]
        pieces = bench.remote.read(wanted)
        for path, start, length in wanted:
            found: list[bytes | None] = []
            while sum(len(piece or b"") for piece in found) < length or not found:
                at, piece = next(pieces)
                assert at == path
                found.append(piece)
                if piece is None:
                    break
            if path == "gone" or length == 99:
                assert found[-1] is None
            else:
                held = content if path == "big" else b"small" if path == "small" else b""
                assert b"".join(piece for piece in found if piece is not None) == held[start : start + length]
        assert next(pieces, None) is None

    def test_many_files_arrive(self, bench: Bench) -> None:
        bench.upload({f"d{n}": {f"f{m}": f"{n} {m}" for m in range(self.many)} for n in range(10)})
        bench.same()
        bench.end()

    def test_a_modified_file_is_replaced_in_one_step(
        self, bench: Bench, open_remote: OpenRemote, dest: Path
    ) -> None:
        names = [f"f{n}" for n in range(20)]
        bench.upload(dict.fromkeys(names, "old"))
        sizes = {name: {3, 11 if n % 2 else 500_000} for n, name in enumerate(names)}
        build_tree(bench.src, {name: "x" * max(sizes[name]) for name in names})
        (bench.src / "f1").chmod(0o600)
        other, shown, done = open_remote(dest, Options(), Heard()), list[Seen | None](), threading.Event()

        def look() -> bool:
            """What others see meanwhile is the old or the new, and whole."""
            while True:
                last = done.is_set()
                for path, seen in other.look(names):
                    shown.append(seen)
                    if seen is None or seen.size not in sizes[path]:
                        return False
                if last:
                    return True

        with ThreadPoolExecutor(1) as pool:
            whole = pool.submit(look)
            bench.do(*map(bench.modify, names))
            done.set()
            assert whole.result() or not bench.remote.caps.replace, shown[-1]
        other.close()
        bench.same()
        bench.end()

    @needs("links")
    def test_files_and_links_take_each_others_place(self, bench: Bench) -> None:
        bench.upload({"f": "file", "l": Link("a"), "m": Link("a")})
        for name in ("f", "l", "m"):
            (bench.src / name).unlink()
        build_tree(bench.src, {"f": Link("target"), "l": "now a file", "m": Link("b")})
        bench.do(*(bench.modify(name) for name in ("f", "l", "m")))
        bench.same()

    @needs("modes", "times")
    def test_metadata_alone(self, bench: Bench) -> None:
        bench.upload({"f": File("f", mode=0o644, mtime=OLD), "d": {}, "t": File("t", mtime=OLD)})
        (bench.src / "f").chmod(0o640)
        (bench.src / "d").chmod(0o500)
        os.utime(bench.src / "t", (OLD + 5, OLD + 5))
        bench.do(*(Action(Op.SETMETA, p, bench.wish(p), bench.held[p]) for p in ("f", "d", "t")))
        bench.same()
        bench.knows("t", 1, OLD + 5)
        assert bench.held["t"].digest == digest_of(b"t")
        bench.there.build({"f": "not ours"})
        assert bench.problem(Action(Op.SETMETA, "f", bench.wish("f"), bench.held["f"])).reason is Reason.DRIFT

    @needs("modes", "times")
    def test_options_leave_times_and_modes_alone(self, make: Callable[..., Bench]) -> None:
        bench = make(keep_times=False, file_perms=Perms.IGNORE, dir_perms=Perms.IGNORE)
        bench.upload({"f": File("x", mode=0o751, mtime=OLD), "d": Dir(mode=0o700)})
        mtime = bench.read_back()["f"].mtime
        assert mtime is not None
        assert mtime > OLD + 1
        bench.knows("f", 1, mtime)
        assert bench.held["f"].mtime == mtime
        assert bench.held["f"].mode == bench.held["d"].mode == UNKNOWN_MODE
        bench.do(bench.modify("f"))

    @needs("rename")
    def test_moves(self, bench: Bench) -> None:
        bench.upload({"f": "f", "l": Link("x"), "d": {"in": {"f": "deep"}}, "over": "replaced"})
        moves = {"f": "over"} | ({"l": "l2"} if bench.has("links") else {})
        if bench.has("dirs"):
            moves["d"] = "e"
        for old, new in moves.items():
            bench.do(bench.move(old, new))
            (bench.src / old).rename(bench.src / new)
        bench.same()
        top = "e" if bench.has("dirs") else "d"
        build_tree(bench.src, {top: {"in": {"g": "into the moved"}}})
        bench.do(bench.create(f"{top}/in/g"))
        bench.same()
        bench.end()

    @needs("rename", "modes", "times")
    def test_a_move_can_bring_new_metadata(self, bench: Bench) -> None:
        bench.upload({"f": File("f", mode=0o644, mtime=OLD)})
        (bench.src / "f").rename(bench.src / "g")
        (bench.src / "g").chmod(0o600)
        os.utime(bench.src / "g", (OLD + 9, OLD + 9))
        bench.do(replace(bench.move("f", "g"), new=bench.wish("g")))
        bench.same()
        assert set(bench.held) == {"g"}
        bench.knows("g", 1, OLD + 9)

    @needs("rename")
    def test_parking_swaps_names(self, bench: Bench) -> None:
        bench.upload({"a": "was a", "b": "was b"})
        a, b = bench.held["a"], bench.held["b"]
        bench.do(parks("a", a))
        bench.do(Action(Op.MOVE, "a", b, None, "b", b))
        bench.do(goes_on("a", a, "b"))
        assert bench.holds("a", "was b")
        assert bench.holds("b", "was a")
        bench.end()

    @needs("rename")
    def test_what_was_parked_can_go_home_if_its_new_place_is_taken(self, make: Callable[..., Bench]) -> None:
        bench = make(on_drift=OnDrift.SKIP)
        bench.upload({"a": "a"})
        a = bench.held["a"]
        bench.do(parks("a", a))
        bench.there.build({"b": "somebody else's"})
        on = goes_on("a", a, "b")
        assert bench.problem(on).reason is Reason.DRIFT
        assert "a" not in bench.read_back()  # something else may be on its way to there
        bench.do(way_home(on))
        assert bench.holds("a", "a")
        assert bench.holds("b", "somebody else's")

    @needs("rename", "dirs")
    def test_what_was_parked_drives_nothing_out_on_its_way_home(self, bench: Bench) -> None:
        bench.upload({"a": {"in": "a"}, "b": {"in": "b"}})
        a, b = bench.held["a"], bench.held["b"]
        bench.do(parks("a", a))
        bench.do(Action(Op.MOVE, "a", b, None, "b", b))
        home = goes_on("a", a, "a")
        assert bench.problem(home).reason is Reason.DRIFT
        assert bench.holds("a/in", "b")
        bench.do(replace(home, path="b"))
        assert bench.holds("b/in", "a")
        bench.end()

    @needs("rename")
    def test_a_move_done_before_is_done_and_one_without_source_is_missing(self, bench: Bench) -> None:
        bench.upload({"f": "f", "g": "g"})
        bench.there.rename("f", "f2")
        bench.do(bench.move("f", "f2"))
        bench.there.remove("g")
        assert bench.problem(bench.move("g", "g2")).reason is Reason.MISSING
        assert set(bench.held) == {"f2"}

    @needs("rename", "links", "shadows")
    @pytest.mark.parametrize("target", ["file", "dir", "dangling"])
    def test_a_move_destroys_nothing(self, make: Callable[..., Bench], target: str) -> None:
        bench = make(on_drift=OnDrift.SKIP)
        bench.upload({"f": "f", "d": {"x": "x"}, "l": Link("l")})
        bench.there.build({"t": {"file": "theirs", "dir": {"a": "a"}, "dangling": Link("gone")}[target]})
        before = bench.read_back()
        for name in ("f", "d", "l"):
            assert bench.problem(bench.move(name, "t")).reason is Reason.DRIFT
        assert _unlike(before, bench.read_back()) == set()

    def test_deletes(self, bench: Bench) -> None:
        bench.upload(
            {"f": "f", "l": Link("f"), "d": {"e": {"f": "f", "l": Link("x")}, "g": "g"}, "empty": {}}
        )
        bench.do(*(bench.delete(name) for name in ("f", "l", "d", "empty") if name in bench.held))
        assert bench.held == {}
        assert set(bench.read_back()) == set()
        bench.end()

    def test_a_delete_of_what_is_gone_is_done(self, bench: Bench) -> None:
        bench.upload({"f": "f", "d": {"g": "g"}})
        bench.there.remove("f")
        bench.there.remove("d/g")
        bench.do(bench.delete("f"), bench.delete("d"))
        assert bench.held == {}

    def test_a_directory_with_foreign_content_stays_around_it(self, bench: Bench) -> None:
        bench.upload(
            {"d": {"ours": "1", "changed": "2", "kept": "3", "e": {"f": "4"}, "g": {"h": {"i": "5"}}}}
        )
        bench.there.build({"d": {"g": {"theirs": "x"}, "changed": "by somebody"}})
        action = bench.delete("d")
        members = tuple((p, replace(e, excluded=p == "kept")) for p, e in action.members)
        (outcome,) = bench.perform(replace(action, members=members))
        assert outcome.done
        assert outcome.note is not None
        assert outcome.note.reason is Reason.DRIFT
        assert outcome.entries == 5  # ours, e, e/f, g/h, g/h/i
        left = {"d/changed", "d/kept", "d/g/theirs"}
        assert set(bench.read_back()) == left | ({"d", "d/g"} if bench.has("dirs") else set())
        assert bench.held == {}
        bench.end()

    @needs("links")
    def test_a_link_in_the_place_of_a_directory_leads_no_delete_elsewhere(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        bench.upload({"d": {"e": {"f": File("f", mtime=OLD)}, "g": "g"}})
        build_tree(tmp_path / "outside", {"f": File("f", mtime=OLD)})
        bench.there.remove("d/e")
        bench.there.build({"d/e": Link(str(tmp_path / "outside"))})
        (outcome,) = bench.perform(bench.delete("d"))
        assert outcome.note is not None
        assert os.listdir(tmp_path / "outside") == ["f"]
        assert set(bench.read_back()) == {"d", "d/e"}

    def test_a_directory_that_must_make_room_goes_whole(self, bench: Bench) -> None:
        bench.upload({"d": {"ours": "1"}, "e": {"ours": "1"}})
        bench.there.build({"d": {"theirs": "x"}})
        bench.do(*(replace(bench.delete(name), whole=True) for name in ("d", "e")))
        assert set(bench.read_back()) == set()
        assert list(bench.remote.end()) == []
        assert bench.kept().keys() - {"d"} == {"d/ours", "d/theirs"}

    @needs("rename", "dirs")
    def test_directories_that_swap_names_are_looked_at_again(self, bench: Bench) -> None:
        bench.upload({"a": {"x": {"f": "in a"}}, "b": {"y": {"f": "in b"}}})
        a, b = bench.held["a"], bench.held["b"]
        bench.do(parks("a", a))
        bench.do(Action(Op.MOVE, "a", b, None, "b", b))
        bench.do(goes_on("a", a, "b"))
        build_tree(bench.src, {"a": {"y": {"g": "g"}}, "b": {"x": {"g": "g"}}})
        bench.do(bench.create("a/y/g"), bench.create("b/x/g"))
        assert bench.problem(bench.create("a/x/f")).reason is Reason.MISSING

    def test_what_is_kept_stays_in_the_trash(self, bench: Bench) -> None:
        bench.upload({"f": "was f", "d": {"e": "e"}, "sub": {"g": "was g"}})
        build_tree(bench.src, {"f": "is f", "sub": {"g": "is g"}})
        bench.there.build({"d": {"theirs": "x"}})
        changes = [replace(bench.modify(path), keep=True) for path in ("f", "sub/g")]
        bench.do(*changes, bench.delete("d", keep=True))
        assert bench.holds("f", "is f")
        assert list(bench.remote.end()) == []
        kept = bench.kept()
        assert (kept["f"].content, kept["sub/g"].content) == (digest_of(b"was f"), digest_of(b"was g"))
        assert {"d/e", "d/theirs"} < kept.keys()
        assert sum("trash/kept" in said for said in bench.heard.said) == 1

    def test_an_unexpected_target_is_left_alone(self, make: Callable[..., Bench]) -> None:
        bench = make(on_drift=OnDrift.SKIP)
        build_tree(bench.src, {"f": "ours", "big": "x" * 50_000})
        bench.there.build({"f": "theirs", "big": "theirs"})
        actions = [bench.create("f"), bench.create("big")]
        if bench.has("links"):
            build_tree(bench.src, {"l": Link("ours")})
            bench.there.build({"l": Link("theirs")})
            actions.append(bench.create("l"))
        if bench.has("shadows"):
            build_tree(bench.src, {"d": {}})
            bench.there.build({"d": "a file"})
            actions.append(bench.mkdir("d"))
        before = bench.read_back()
        for action in actions:
            assert bench.problem(action).reason is Reason.DRIFT
        assert _unlike(before, bench.read_back()) == set()
        bench.end()

    @needs("times")
    def test_an_unexpected_target_that_is_as_intended_is_done(self, bench: Bench) -> None:
        tree = {
            "f": File("same", mtime=OLD),
            "d": {},
            "big": File("x" * 50_000, mtime=OLD),
        }
        if bench.has("links"):
            tree["l"] = Link("same")
        build_tree(bench.src, tree)
        bench.there.build(tree)
        bench.do(*map(bench.create, tree.keys() - {"d"}), bench.mkdir("d"))
        bench.knows("f", 4, OLD)
        bench.same()
        bench.end()

    def test_drift_is_left_alone(self, make: Callable[..., Bench]) -> None:
        bench = make(on_drift=OnDrift.SKIP)
        bench.upload({"f": "f", "l": Link("l"), "gone": "gone", "k": "kind"})
        bench.there.build({"f": "edited"})
        drifted = ["f"]
        if bench.has("links"):
            bench.there.remove("l")
            bench.there.build({"l": Link("elsewhere")})
            (bench.src / "l").unlink()
            (bench.src / "l").symlink_to("new")
            drifted.append("l")
        if bench.has("shadows"):
            bench.there.remove("k")
            bench.there.build({"k": {}})
            drifted.append("k")
        for name in ("f", "k"):
            (bench.src / name).write_text("new")
        before = bench.read_back()
        for name in drifted:
            assert bench.problem(bench.modify(name)).reason is Reason.DRIFT
            assert bench.problem(bench.delete(name)).reason is Reason.DRIFT
        if bench.has("rename"):
            assert bench.problem(bench.move("f", "g")).reason is Reason.DRIFT
        assert bench.holds("f", "edited")
        assert bench.read_back() == before
        bench.there.remove("gone")
        bench.do(bench.modify("gone"))
        bench.end()

    def _drifted(self, bench: Bench) -> list[Action]:
        """Every way in which a third hand can be where we want to write, and what we want there."""
        bench.upload({name: name for name in "mxkstg"} | {"l": Link("l"), "e": {"in": "in"}})
        build_tree(bench.src, {"m": "ours", "c": "ours"})
        (bench.src / "x").unlink()
        bench.there.build({"m": "theirs", "x": "theirs", "c": "theirs"})
        actions = [bench.modify("m"), bench.create("c"), bench.delete("x")]
        if bench.has("rename"):
            (bench.src / "s").rename(bench.src / "s2")
            bench.there.build({"s2": "theirs"})
            actions.append(bench.move("s", "s2"))
        if bench.has("links"):
            (bench.src / "l").unlink()
            build_tree(bench.src, {"cl": Link("ours"), "l": Link("ours")})
            bench.there.remove("l")
            bench.there.build({"l": Link("theirs"), "cl": Link("theirs")})
            actions += bench.modify("l"), bench.create("cl")
        if bench.has("shadows"):
            (bench.src / "g").unlink()
            build_tree(bench.src, {"cd": "o" * 50_000, "k": "ours", "d": {}})
            for name in "kg":
                bench.there.remove(name)
            bench.there.build({"k": {"in": "theirs"}, "cd": {"in": "theirs"}, "d": "theirs", "g": {}})
            actions += bench.modify("k"), bench.create("cd"), bench.delete("g"), bench.mkdir("d")
        if bench.has("shadows") and bench.has("rename"):
            (bench.src / "t").rename(bench.src / "t2")
            (bench.src / "e").rename(bench.src / "e2")
            bench.there.build({"t2": {"in": "theirs"}, "e2": "theirs"})
            actions += bench.move("t", "t2"), bench.move("e", "e2")
        return actions

    def test_drift_is_kept_aside(self, bench: Bench) -> None:
        bench.do(*self._drifted(bench))
        bench.same()
        assert list(bench.remote.end()) == []
        kept = bench.kept()
        files = {"m", "x", "c"} | ({"s2"} if bench.has("rename") else set())
        if bench.has("shadows"):
            files |= {"d", "k/in", "cd/in"} | ({"e2", "t2/in"} if bench.has("rename") else set())
        assert {path: node.content for path, node in kept.items() if node.kind == "file"} == dict.fromkeys(
            files, digest_of(b"theirs")
        )
        links = {path: node.content for path, node in kept.items() if node.kind == "symlink"}
        assert links == (dict.fromkeys(("l", "cl"), b"theirs") if bench.has("links") else {})
        if bench.has("shadows") and bench.has("dirs") and bench.has("rename"):
            assert {path for path, node in kept.items() if node.kind == "dir"} == {"k", "cd", "t2", "g"}
        assert sum("trash/kept" in said for said in bench.heard.said) == 1

    def test_drift_is_overwritten_but_no_directory_with_something_in_it(
        self, make: Callable[..., Bench]
    ) -> None:
        bench = make(on_drift=OnDrift.OVERWRITE)
        bench.do(*self._drifted(bench))
        bench.same()
        assert list(bench.remote.end()) == []
        folders = {"k", "cd"} | ({"t2"} if bench.has("rename") else set())
        kept = {path for top in folders for path in (top, f"{top}/in")} if bench.has("shadows") else set()
        assert set(bench.kept()) == kept

    def test_drift_is_skipped(self, make: Callable[..., Bench]) -> None:
        bench = make(on_drift=OnDrift.SKIP)
        actions = self._drifted(bench)
        before = bench.read_back()
        for outcome in bench.perform(*actions):
            assert outcome.problem is not None
            assert outcome.problem.reason is Reason.DRIFT
            assert None not in outcome.effects.values()
        assert _unlike(before, bench.read_back()) == set()
        bench.end()

    def test_the_same_path_is_kept_as_often_as_it_drifts(self, bench: Bench) -> None:
        bench.upload({"d": {"f": "f"}})
        for number in range(3):
            bench.there.build({"d": {"f": f"theirs {number}"}})
            build_tree(bench.src, {"d": {"f": f"ours, the {number}"}})
            bench.do(bench.modify("d/f"))
        bench.same()
        contents = {node.content for node in bench.kept().values() if node.content is not None}
        assert contents == {digest_of(f"theirs {number}".encode()) for number in range(3)}

    @needs("times")
    def test_drift_under_new_metadata_is_dropped_so_that_it_is_brought_anew(self, bench: Bench) -> None:
        bench.upload({"f": File("f", mtime=OLD), "done": File("d", mtime=OLD)})
        actions = []
        for name in ("f", "done"):
            os.utime(bench.src / name, (OLD + 9, OLD + 9))
            actions.append(Action(Op.SETMETA, name, bench.wish(name), bench.held[name]))
        bench.there.build({"done": File("d", mtime=OLD + 9)})  # by us, before a connection was lost
        bench.there.build({"f": "theirs"})
        drifted, done = bench.perform(*actions)
        assert drifted.problem is not None
        assert drifted.problem.reason is Reason.DRIFT
        assert drifted.effects == {"f": None}
        assert done.done
        bench.do(bench.create("f"))
        bench.same()

    @needs("dirs", "rename", "shadows")
    def test_a_vanished_directory_is_dropped_so_that_it_is_made_again(
        self, bench: Bench, make: Callable[..., Bench]
    ) -> None:
        bench.upload({"a": {"b": {"c": {"f": "f"}}, "g": "g"}, "h": {"i": "i"}, "j": {"k": "k"}})
        bench.there.remove("a/b")
        bench.there.remove("h")
        bench.there.remove("j")
        bench.there.build({"j": "theirs"})
        again = make("second")
        again.held = bench.held
        build_tree(again.src, {"a": {"b": {"c": {"f": "new"}}}, "h": {"i": "new"}, "j": {"k": "new"}})
        actions = again.modify("a/b/c/f"), again.modify("h/i"), again.modify("j/k"), again.move("h/i", "a/i")
        for outcome, lost in zip(again.perform(*actions), ("a/b", "h", "j", "h"), strict=True):
            assert outcome.problem is not None
            assert outcome.problem.reason is Reason.MISSING
            assert outcome.effects == {lost: None}
        again.do(*(again.mkdir(path) for path in ("a/b", "h", "j")))
        again.do(again.mkdir("a/b/c"))
        again.do(*(again.create(path) for path in ("a/b/c/f", "h/i", "j/k")))
        again.same()
        assert again.kept()["j"].content == digest_of(b"theirs")

    @needs("dirs", "rename", "modes")
    def test_what_vanished_while_it_was_worked_on_is_dropped(self, bench: Bench) -> None:
        bench.upload({"a": {"f": "f", "g": "g"}, "b": "b"})
        bench.do(Action(Op.SETMETA, "a/f", bench.held["a/f"], bench.held["a/f"]))  # "a" was looked at
        bench.there.remove("a")
        bench.there.remove("b")
        build_tree(bench.src, {"a": {"f": "new", "n": "n"}})
        modify, create, move, meta = bench.perform(
            bench.modify("a/f"),
            bench.create("a/n"),
            bench.move("b", "c"),
            Action(Op.SETMETA, "a/g", bench.held["a/g"], bench.held["a/g"]),
        )
        assert not any(outcome.done for outcome in (modify, create, move, meta))
        dropped = {**modify.effects, **create.effects, **meta.effects}
        assert "a" in dropped
        assert dropped.items() <= dict.fromkeys(("a", "a/f", "a/g")).items()
        assert move.effects == {"b": None}
        assert bench.held == {}

    @needs("links")
    def test_nothing_is_written_through_a_planted_link(
        self, bench: Bench, make: Callable[..., Bench], tmp_path: Path
    ) -> None:
        bench.upload({"d": {"e": {"f": "f"}, "g": "g"}})
        outside = tmp_path / "outside"
        build_tree(outside, {"e": {"f": "untouched"}, "g": "untouched"})
        bench.there.rename("d", "moved")
        bench.there.build({"d": Link(str(outside))})
        before = read_tree(outside)
        again = make("second")  # directories are looked at once per run
        again.held = bench.held
        build_tree(bench.src, {"d": {"e": {"f": "new", "n": "n"}, "l": Link("l"), "m": {}}})
        f = again.held["d/e/f"]
        for action in (
            again.modify("d/e/f"),
            again.create("d/e/n"),
            again.create("d/l"),
            again.mkdir("d/m"),
            again.delete("d/g"),
            again.delete("d/e"),
            again.move("d/g", "elsewhere"),
            again.move("d/e", "elsewhere"),
            Action(Op.SETMETA, "d/e/f", replace(f, mode=0o600), f),
            parks("d/g", again.held["d/g"]),
        ):
            problem = again.problem(action)
            assert problem.reason is Reason.DRIFT, action
            assert "nothing is written through it" in problem.message
        again.do(again.delete("d"))  # the link goes, and is kept
        assert again.kept()["d"].content == os.fsencode(outside)
        assert read_tree(outside) == before

    @needs("dirs", "modes", "shadows")
    def test_directories_in_directories_of_the_same_level(self, make: Callable[..., Bench]) -> None:
        bench = make(on_drift=OnDrift.SKIP)
        tree = {name: {"b": Dir({"c": {"d": {}}, "e": {}}, mode=0o700)} for name in ("new", "there", "used")}
        build_tree(bench.src, tree)
        bench.there.build({"there": {"b": {}}, "used": "theirs"})
        *_, first, second, third, fourth, fifth = outcomes = bench.perform(
            *(bench.mkdir(path) for path in sorted(read_tree(bench.src)))
        )
        assert all(outcome.done for outcome in outcomes[:10])
        assert first.problem is not None
        assert first.problem.reason is Reason.DRIFT
        for outcome in (second, third, fourth, fifth):
            assert outcome.problem is not None
            assert outcome.problem.reason is Reason.PREREQUISITE
            assert outcome.problem.message == "not tried, because 'used' failed"
        bench.there.remove("used")
        bench.do(*(outcome.action for outcome in (first, second, third, fourth, fifth)))
        bench.same()
        bench.end()

    @needs("links")
    def test_no_directory_is_made_behind_a_planted_link(
        self, make: Callable[..., Bench], tmp_path: Path
    ) -> None:
        bench = make(on_drift=OnDrift.SKIP)
        build_tree(bench.src, {"a": {"b": {"c": {}}}})
        (tmp_path / "outside").mkdir()
        bench.there.build({"a": Link(str(tmp_path / "outside"))})
        assert not any(o.done for o in bench.perform(*map(bench.mkdir, ("a", "a/b", "a/b/c"))))
        assert os.listdir(tmp_path / "outside") == []

    @needs("dirs", "shadows")
    def test_a_missing_parent_is_told(self, bench: Bench) -> None:
        build_tree(bench.src, {"d": {"f": "f"}})
        assert bench.problem(bench.create("d/f")).reason is Reason.MISSING
        bench.do(bench.mkdir("d"))
        bench.do(bench.create("d/f"))

    def test_a_source_that_changed_is_tried_once_more(self, bench: Bench) -> None:
        build_tree(bench.src, {"f": "as scanned", "gone": "x", "fifo": "x", "link": "x"})
        actions = {name: bench.create(name) for name in ("f", "gone", "fifo", "link")}
        build_tree(bench.src, {"f": File("changed since", mtime=OLD)})
        for name in ("gone", "fifo", "link"):
            (bench.src / name).unlink()
        os.mkfifo(bench.src / "fifo")
        (bench.src / "link").symlink_to("/etc/passwd")
        bench.do(actions["f"])
        assert bench.holds("f", "changed since")
        bench.knows("f", 13, OLD)
        assert bench.held["f"].stamp is None
        assert bench.problem(actions["gone"]).reason is Reason.VANISHED
        assert bench.problem(actions["fifo"]).reason is Reason.SPECIAL
        assert bench.problem(actions["link"]).reason is Reason.CHANGED
        assert set(bench.read_back()) == {"f"}
        bench.end()

    def test_a_source_that_changes_while_it_is_read_is_not_published(self, bench: Bench) -> None:
        build_tree(bench.src, {"f": "x" * 100_000, "g": "steady"})

        class Restless(Source):
            def check(self, fd: int, path: str, stamp: Stamp) -> None:
                if path == "f" and os.lseek(fd, 0, os.SEEK_CUR):
                    raise SourceError(Reason.CHANGED, "changed")
                super().check(fd, path, stamp)

        bench.source.close()
        bench.source = Restless(str(bench.src))
        changed, steady = bench.perform(bench.create("f"), bench.create("g"))
        assert changed.problem is not None
        assert changed.problem.reason is Reason.CHANGED
        assert steady.done
        assert "f" not in bench.read_back()
        bench.end()

    def _level(self, bench: Bench) -> list[Action]:
        """New and changed files, small and large, in a new directory too, and what else there is."""
        bench.upload({"old": File("old", mtime=OLD), "large": File("l", mtime=OLD), "gone": "gone", "d": {}})
        new = {f"f{n}": f"f {n}" for n in range(8)}
        build_tree(bench.src, new)
        build_tree(bench.src, {"big": os.urandom(700_000), "d": dict(new), "old": "new, now"})
        build_tree(bench.src, {"large": os.urandom(600_000)})
        (bench.src / "gone").unlink()
        paths = (*new, "big", *(f"d/{name}" for name in new))
        level = [*map(bench.create, paths), *map(bench.modify, ("old", "large")), bench.delete("gone")]
        if bench.remote.caps.links:
            build_tree(bench.src, {"link": Link("old")})
            level.append(bench.create("link"))
        if bench.remote.caps.dirs:
            build_tree(bench.src, {"e": {"e": {}}})
            level += map(bench.mkdir, ("e", "e/e"))
        return level

    def test_what_is_there_already_is_there_twice(self, bench: Bench) -> None:
        size = 300_000  # bytes: more than one request takes
        bench.upload({"a": File("small", mtime=OLD), "big": File(b"b" * size, mtime=OLD), "d": {}})
        (bench.src / "a").rename(bench.src / "d/a")
        (bench.src / "big").rename(bench.src / "d/big")
        bench.do(bench.again("a", "d/a"), bench.again("big", "d/big"))
        assert bench.holds("a", "small")
        assert bench.holds("d/a", "small")
        bench.do(bench.delete("a"), bench.delete("big"))
        bench.same()
        bench.end()

    @pytest.mark.parametrize("why", ["other content", "gone", "another mode", "another time", "taken"])
    def test_what_is_not_there_as_it_should_be_is_sent(self, bench: Bench, why: str) -> None:
        bench.upload({"a": File("ours", mtime=OLD), "d": {}})
        (bench.src / "a").rename(bench.src / "d/a")
        match why:
            case "other content":
                bench.there.build({"a": File("theirs, which is longer", mtime=OLD + 5)})
            case "gone":
                bench.there.remove("a")
            case "another mode":
                (bench.src / "d/a").chmod(0o600)
            case "another time":
                os.utime(bench.src / "d/a", (OLD + 9, OLD + 9))
            case _:
                bench.there.build({"d": {"a": File("theirs, in the way", mtime=OLD + 5)}})
        bench.do(bench.again("a", "d/a"))
        assert bench.holds("d/a", "ours")
        left = bench.read_back()
        if why in ("another mode", "another time"):
            assert bench.holds("a", "ours")
            (outcome,) = bench.perform(bench.delete("a"))  # it is as we left it: nothing of it was changed
            assert outcome.done
            assert not bench.kept()
            bench.same()
        elif why == "other content":
            assert left["a"].content == digest_of(b"theirs, which is longer")

    def test_nothing_is_seen_before_all_is_staged(
        self, bench: Bench, open_remote: OpenRemote, dest: Path
    ) -> None:
        level = self._level(bench)
        other = open_remote(dest, Options(), Heard())
        before, read, seen = read_back(other), set[str](), list[dict[str, Node]]()

        def look(path: str) -> None:
            read.add(path)
            seen.append(read_back(other))

        bench.watch(look)
        outcomes = bench.perform(*level, publish=Publish.END)
        other.close()
        assert [outcome.problem for outcome in outcomes] == [None] * len(level)
        files = {action.path for action in level if action.new and action.new.kind is Kind.FILE}
        assert read == files
        assert all(each == before for each in seen)
        bench.same()
        bench.end()

    @pytest.mark.parametrize("on_drift", OnDrift)
    def test_what_comes_while_others_are_staged_is_drift(
        self, make: Callable[..., Bench], on_drift: OnDrift
    ) -> None:
        bench = make(on_drift=on_drift)
        level = self._level(bench)
        came = {path: f"theirs, to {path}".encode() for path in ("f3", "old", "big", "d/f1")}
        digests = {path: digest_of(content) for path, content in came.items()}
        left = {action.path for action in level if action.new and action.new.kind is Kind.FILE}

        def come(path: str) -> None:
            if path in left and not left - {path}:  # once: some read what they have staged a second time
                in_d: Tree = {"f1": came["d/f1"]}
                bench.there.build({"f3": came["f3"], "old": came["old"], "big": came["big"], "d": in_d})
            left.discard(path)

        bench.watch(come)
        outcomes = bench.perform(*level, publish=Publish.END)
        problems = {o.action.path: o.problem.reason for o in outcomes if o.problem is not None}
        if on_drift is OnDrift.SKIP:
            assert problems == dict.fromkeys(came, Reason.DRIFT)
            held = bench.read_back()
            assert {path: held[path].content for path in came} == digests
            bench.end()
            return
        assert problems == {}, [o.problem for o in outcomes if o.problem]
        bench.same()
        kept = {path: node.content for path, node in bench.kept().items() if node.kind == "file"}
        assert kept == (digests if on_drift is OnDrift.BACKUP else {})

    def test_what_can_not_be_staged_holds_up_nothing(self, bench: Bench) -> None:
        level = self._level(bench)
        bad = {"f2": Reason.DENIED, "big": Reason.VANISHED, "old": Reason.FAILED}

        def fail(path: str) -> None:
            if path in bad:
                raise SourceError(bad[path], "bad")

        bench.watch(fail)
        outcomes = bench.perform(*level, publish=Publish.END)
        problems = {o.action.path: o.problem.reason for o in outcomes if o.problem is not None}
        assert problems == bad
        there = bench.read_back()
        assert not there.keys() & {"f2", "big"}
        assert there["old"].content == digest_of(b"old")
        bench.watch(lambda _: None)
        bench.perform(*(outcome.action for outcome in outcomes if outcome.problem is not None))
        bench.same()
        bench.end()

    def test_a_source_that_changed_is_staged_as_it_is_then(self, bench: Bench) -> None:
        level = self._level(bench)
        build_tree(
            bench.src, {"f1": File("changed since", mtime=OLD), "old": File("also changed", mtime=OLD)}
        )
        outcomes = bench.perform(*level, publish=Publish.END)
        assert all(outcome.done for outcome in outcomes)
        assert bench.held["f1"].stamp is bench.held["old"].stamp is None
        assert bench.holds("f1", "changed since")
        assert bench.holds("old", "also changed")
        bench.end()

    @pytest.mark.parametrize("when", ["first", "last"])
    def test_a_stop_before_all_is_staged_changes_nothing(
        self, bench: Bench, make: Callable[..., Bench], when: str
    ) -> None:
        level = self._level(bench)
        before, stop = bench.read_back(), Stop(graceful=True)
        left = {action.path for action in level if action.new and action.new.kind is Kind.FILE}

        def end(path: str) -> None:
            left.discard(path)
            if when == "first" or not left:
                stop.requested = 15

        bench.watch(end)
        bench.stage(*level, stop=stop)
        assert bench.read_back() == before
        second = make("second")  # the first one does not come to its end
        second.held = bench.held
        assert second.read_back() == before
        done = list(second.remote.rescue(level))
        rescued = {outcome.action.path for outcome in done}
        second.do(*(action for action in level if action.path not in rescued))
        second.same()
        second.end()

    def test_observe(self, bench: Bench) -> None:
        bench.upload({"f": File("abc", mode=0o640, mtime=OLD), "l": Link("f"), "d": {"x": "x"}})
        seen, caps = (
            dict(bench.remote.look(["f", "l", "d", "d/x", "none", "none/x", "f/x"])),
            bench.remote.caps,
        )
        f, d = seen["f"], seen["d"]
        assert f is not None
        assert d is not None
        shown = (f.kind, f.mode if caps.modes else 0o640, f.size, f.mtime if caps.times else OLD)
        assert shown == (Kind.FILE, 0o640, 3, OLD)
        assert d.kind is Kind.DIR
        assert seen["none"] is seen["none/x"] is seen["f/x"] is None
        if bench.has("links"):
            link = seen["l"]
            assert link is not None
            assert (link.kind, link.link) == (Kind.SYMLINK, "f")

    def test_walk(self, bench: Bench) -> None:
        odd = "\udcff" if bench.has("bytes") else "ü"
        bench.upload({"a": {"b": {os.fsencode(odd): "x", "l": Link("t")}}, "f": "f", "a.b": {}})
        bench.there.build({".reconcile-x": ""})
        found = [(path, seen) for path, seen in bench.remote.walk("") if bench.shows(seen)]
        paths = [path for path, _ in found]
        in_b = {f"a/b/{odd}"} | ({"a/b/l"} if bench.has("links") else set())
        folders = {"a", "a/b", "a.b"} if bench.has("dirs") else set()
        assert sorted(paths) == sorted({"f"} | in_b | folders)
        if bench.has("dirs"):
            assert all(os.path.dirname(p) in ("", *paths[: paths.index(p)]) for p in paths)
        if bench.has("links"):
            assert dict(found)["a/b/l"].link == "t"
        assert {path for path, seen in bench.remote.walk("a") if bench.shows(seen)} == in_b | folders & {
            "a/b"
        }
        assert list(bench.remote.walk("absent")) == []

    def test_where_we_are_known_our_mark_must_be(
        self, bench: Bench, open_remote: OpenRemote, dest: Path
    ) -> None:
        remote = open_remote(dest, Options(), Heard())
        remote.begin(Footing(LINEAGE, known=True), "second")
        list(remote.end())  # what is tried along with other questions has been answered by then
        for wipe in (f".reconcile/{LINEAGE}/id", f".reconcile/{LINEAGE}", ".reconcile", ""):
            bench.there.remove(wipe)
            with pytest.raises(Refused, match="mark is missing"):
                remote.begin(Footing(LINEAGE, known=True), "third")
        assert bench.ours() == {}
        remote.close()

    @needs("stats")
    def test_traffic_is_counted(self, bench: Bench) -> None:
        before = bench.remote.stats
        bench.upload({"f": "x" * 10_000})
        after = bench.remote.stats
        assert after.requests > before.requests
        assert after.bytes_sent >= before.bytes_sent + 10_000
        assert after.bytes_received >= before.bytes_received


def parks(path: str, entry: Entry, number: int = 1) -> Action:
    """Makes way for others."""
    return Action(Op.MOVE, parking_place(number), entry, None, path, entry)


def goes_on(home: str, entry: Entry, path: str, number: int = 1) -> Action:
    """From its parking place to where it was to go from ``home``, or back there."""
    return Action(Op.MOVE, path, entry, None, parking_place(number), entry, home)


def _unlike(before: Mapping[str, object], after: Mapping[str, object]) -> set[str]:
    """What differs, our own folder left out."""
    paths = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return {path for path in paths if path.split("/")[0] != ".reconcile"}
