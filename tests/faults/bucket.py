"""One folder on its way to a bucket behind a proxy that may go wrong: as ``scenario`` has it with sshd."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconcile.core.marks import is_mark
from tests.faults.runner import TO_S3, Runner
from tests.faults.scenario import MIRROR, OLD, copy, describe
from tests.support.command import Ran
from tests.support.http_faults import Faulty, start_faulty
from tests.support.s3 import S3, AtPrefix, start_s3
from tests.support.trees import File, Tree, build_tree, read_tree

LARGE = 17 << 20  # bytes that go in parts
THEIRS = b"a third hand's"


def first_tree() -> Tree:
    """What is on both sides before the edits."""
    return {
        "modify": {f"m{n}": File(f"m {n}\n" * (n + 1), mtime=OLD + n) for n in range(8)},
        "move": {f"v{n}": File(f"v {n}", mtime=OLD + n) for n in range(5)},
        "folder": {"inner": {f"i{n}": File(f"i {n}", mtime=OLD) for n in range(4)}, "outer": "outer"},
        "swap": {"a": File("was a", mtime=OLD), "b": File("was b", mtime=OLD)},
        "logs": {"log": "0", "log.1": "1", "log.2": "2"},
        "delete": {f"x{n}": File(f"x {n}", mtime=OLD) for n in range(6)},
        "gone": {"deep": {f"g{n}": f"g {n}" for n in range(4)}},
        "type": {"file-dir": "a file", "dir-file": {"in": "in"}},
        "empty": {},
        "ünï +%": "odd",
    }


def edit(root: Path) -> None:
    """From the first tree to the second, with ``--mirror``."""
    for n in range(6):
        build_tree(root / "modify", {f"m{n}": File(f"changed {n} " * (n + 2), mtime=OLD + 100 + n)})
    for n in range(5):
        (root / f"move/v{n}").rename(root / f"w{n}")
    (root / "folder").rename(root / "renamed")
    for old, new in (("a", "aside"), ("b", "a"), ("aside", "b")):
        (root / "swap" / old).rename(root / "swap" / new)
    for old, new in (("log.1", "log.2"), ("log", "log.1")):
        (root / "logs" / old).replace(root / "logs" / new)
    build_tree(root / "logs", {"log": "a new day"})
    for n in range(4):
        (root / f"delete/x{n}").unlink()
    shutil.rmtree(root / "gone")
    (root / "type/file-dir").unlink()
    shutil.rmtree(root / "type/dir-file")
    build_tree(root / "type", {"file-dir": {"in": "was a file"}, "dir-file": "was a folder"})
    (root / "empty").rmdir()
    build_tree(
        root, {"new": {f"n{n}": f"new {n}" for n in range(8)}, "large": bytes(range(256)) * (LARGE >> 8)}
    )
    build_tree(root, {"still empty": {}})


def write_as_third_hand(hand: AtPrefix) -> set[bytes]:
    """Somebody else writes: over what changes, moves, goes and stays, and to where something is to come."""
    places = ("modify/m1", "modify/m7", "delete/x2", "w1", "gone/deep/g2", "new/n3", "swap/b", "foreign")
    for number, place in enumerate(places):
        hand.put(place, THEIRS + b" %d" % number)
    return {THEIRS + b" %d" % number for number in range(len(places))}


@dataclass(frozen=True)
class _Object:
    content: bytes
    etag: str
    about: dict[str, object]


class BucketScenario:
    """The folder, the bucket, the state, and how to run between them. ``hand`` goes by no proxy."""

    def __init__(self, folder: Path, server: S3, proxy: Faulty, runner: Runner) -> None:
        self.source, self.state, self.saved_state = (folder / name for name in ("source", "state", "saved"))
        self.proxy, self.runner = proxy, runner
        self.hand = AtPrefix(server, "dest")
        self.saved: dict[str, _Object] = {}

    def begin_anew(self) -> None:
        """Nothing on either side."""
        self.proxy.arm()
        for path in (self.source, self.state, self.saved_state):
            shutil.rmtree(path, ignore_errors=True)
        self.hand.remove("")
        self.source.mkdir()

    def prepare(self) -> None:
        """Bring the first tree, and edit it."""
        self.begin_anew()
        build_tree(self.source, first_tree())
        self.run_well(*MIRROR)
        copy(self.state, self.saved_state)
        self.saved = {key: self._read(key) for key in self.hand.names()}
        edit(self.source)

    def keep(self) -> tuple[dict[str, _Object], Path]:
        """What ``restore`` may put bucket and state back to, as they are now."""
        state = self.saved_state.with_name("kept")
        shutil.rmtree(state, ignore_errors=True)
        copy(self.state, state)
        return {key: self._read(key) for key in self.hand.names()}, state

    def restore(self, saved: dict[str, _Object] | None = None, state: Path | None = None) -> None:
        """Put bucket and state back to what ``prepare`` left, or to that."""
        saved = self.saved if saved is None else saved
        self.proxy.arm()
        shutil.rmtree(self.state, ignore_errors=True)
        copy(state or self.saved_state, self.state)
        there = self.hand.etags()
        for key in there.keys() - saved.keys():
            self.hand.client.delete_object(Bucket=self.hand.bucket, Key=f"{self.hand.prefix}/{key}")
        for key, was in saved.items():
            if there.get(key) != was.etag:
                self.hand.put(key, was.content, **was.about)
        for upload in self.hand.uploads():
            self.hand.client.abort_multipart_upload(Bucket=self.hand.bucket, **upload)

    def shown(self) -> dict[str, bytes]:
        """What is in the bucket beside our folder."""
        return {key: self.hand.get(key) for key in self.hand.names() if not _is_ours(key)}

    def run(self, *flags: str, command: str = "run") -> Ran:
        """``reconcile run``, through the proxy."""
        server = self.proxy.server
        where = [str(self.source), server.url(self.hand.prefix), *server.flags, "--state", str(self.state)]
        return self.runner.run(command, *where, "--json", "--channels", "4", *flags)

    def run_well(self, *flags: str) -> Ran:
        """A run that must end with 0."""
        ran = self.run(*flags)
        assert ran.code == 0, describe(ran)
        return ran

    def settle(self, *flags: str, theirs: AbstractSet[bytes] = frozenset()) -> None:
        """One run puts all right; a further one has nothing to do, and asks nobody."""
        self.proxy.arm()
        self.run_well(*flags)
        self.check(theirs)
        self.proxy.arm()
        again = self.run_well(*flags)
        assert again.counts == {}, f"a further run has something to do: {describe(again)}"
        assert self.proxy.kinds() == []

    def check(self, theirs: AbstractSet[bytes]) -> None:
        """Both sides are equal, but where a third hand wrote and nobody looked since; it has lost nothing."""
        all_there = {key: self.hand.get(key) for key in self.hand.names()}
        lost = theirs - set(all_there.values())
        assert not lost, f"LOST of a third hand: {sorted(lost)}"
        here = {p: n.content for p, n in read_tree(self.source).items() if n.kind == "file"}
        there = {key: content for key, content in all_there.items() if not _is_ours(key)}
        for key in here.keys() | there.keys():
            if there.get(key) not in theirs:
                assert there.get(key) == here.get(key), (
                    f"{key}: here {here.get(key)!r}, there {there.get(key)!r}"
                )
        left = list(self.leftovers(all_there))
        if theirs:  # what was parked, and found a third hand's files at both its places, is kept
            left = [key for key in left if "/left/" not in key]
        assert not left, f"left in the bucket: {left}"
        assert self.hand.uploads() == [], "uploads that nobody ends"

    def leftovers(self, keys: Iterable[str]) -> Iterator[str]:
        """What is in our folder but for the mark, and what is kept on purpose."""
        for key in keys:
            parts = key.split("/")
            if parts[0] != ".reconcile" or "/trash/kept/" in key or ".kept-" in parts[-1]:
                continue
            if not (len(parts) == 3 and is_mark(parts[2])):
                yield key

    def is_whole(self, theirs: AbstractSet[bytes]) -> None:
        """Whatever broke off: nobody sees half a file, and a third hand has lost nothing."""
        contents = {node.content for node in read_tree(self.source).values() if node.kind == "file"}
        known = contents | theirs | {was.content for was in self.saved.values()}
        there = {key: self.hand.get(key) for key in self.hand.names()}
        for key, content in there.items():
            assert _is_ours(key) or content in known, f"{key} holds what nobody wrote: {content[:50]!r}"
        lost = theirs - set(there.values())
        assert not lost, f"LOST of a third hand: {sorted(lost)}"

    def _read(self, key: str) -> _Object:
        found = self.hand.client.get_object(Bucket=self.hand.bucket, Key=f"{self.hand.prefix}/{key}")
        about = {name: found[name] for name in ("Metadata", "ContentType", "CacheControl") if name in found}
        return _Object(found["Body"].read(), found["ETag"], about)


def _is_ours(key: str) -> bool:
    return key.startswith(".reconcile/") or key.endswith("/")


@contextmanager
def open_scenario(name: str, folder: Path) -> Iterator[BucketScenario]:
    """With a server of that name, see ``tests.support.s3``."""
    for inner in ("server", "runner"):
        (folder / inner).mkdir()
    with start_s3(name, folder / "server") as server, start_faulty(server) as proxy:
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in server.environment.items():
                patch.setenv(variable, value)
            runner = Runner(folder / "runner", TO_S3)
        with runner:
            yield BucketScenario(folder, server, proxy, runner)
