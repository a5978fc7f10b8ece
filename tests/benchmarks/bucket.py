"""Works that go to S3, beside who else brings a folder there: to one server, which keeps objects as files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.copying import MIB
from tests.benchmarks.inputs import Tree, copy_source_tree, make_files, make_large
from tests.benchmarks.measure import Attempt, Contender, compete, time_command
from tests.benchmarks.peers import OURS, RECONCILE, find
from tests.benchmarks.results import Goal, Row
from tests.benchmarks.stage import Stage, discard
from tests.benchmarks.verify import compare
from tests.support.processes import descendants
from tests.support.s3 import S3, start_s3

RCLONE, RCLONE_32, S5CMD = "rclone", "rclone, 32", "s5cmd"
BEST = f"{RCLONE}/{RCLONE_32}/{S5CMD}"
AT_MOST = [Goal(BEST, 1.0)]


@dataclass(frozen=True)
class Bucket:
    """The server, and the folder in which it keeps the bucket's objects."""

    server: S3
    folder: Path


@dataclass(frozen=True)
class Copy:
    """What a command is to do. ``scratch`` is an empty folder for state."""

    source: Path
    prefix: str
    server: S3
    scratch: Path


def _reconcile(copy: Copy) -> list[str]:
    where = [copy.server.url(copy.prefix), *copy.server.flags, "--state", str(copy.scratch / "state")]
    return [*RECONCILE, "run", str(copy.source), *where, "--mirror", "--allow-mass-delete"]


def _rclone(*flags: str) -> Callable[[Copy], list[str]]:
    def make(copy: Copy) -> list[str]:
        server = copy.server
        at = ["--s3-provider", "Other", "--s3-endpoint", server.endpoint, "--s3-no-check-bucket"]
        keys = ["--s3-access-key-id", server.key, "--s3-secret-access-key", server.secret]
        what = ["sync", str(copy.source), f":s3:{server.bucket}/{copy.prefix}", "--config", ""]
        return [find("rclone") or "rclone", *what, *at, *keys, *flags]

    return make


def _s5cmd(copy: Copy) -> list[str]:
    what = ["sync", "--delete", f"{copy.source}/", f"{copy.server.url(copy.prefix)}/"]
    return [find("s5cmd") or "s5cmd", "--endpoint-url", copy.server.endpoint, *what]


# What helps where there is much of something: more at a time, one listing for all, renames by hash.
_MANY = ("--transfers", "32", "--checkers", "32", "--fast-list", "--s3-upload-concurrency", "8")
TOOLS: dict[str, Callable[[Copy], list[str]]] = {
    OURS: _reconcile,
    RCLONE: _rclone(),
    RCLONE_32: _rclone(*_MANY, "--track-renames"),
    S5CMD: _s5cmd,
}
NEEDS = {RCLONE: "rclone", RCLONE_32: "rclone", S5CMD: "s5cmd"}


def bucket(stage: Stage) -> Iterator[Row]:
    """To S3: small files, a source tree, bulk, nothing to do, deletes and a folder renamed."""
    place = _open(stage)
    count = 5_000 if stage.full else 1_000
    small = stage.tree(f"bucket-{count}", lambda path: make_files(path, count, 4096, per_folder=100))
    yield _cold(stage, place, f"S3, {count:,} x 4 KiB", small, AT_MOST)
    yield _again(stage, place, f"S3, no-op, {count:,} files", small, _nothing)
    yield _again(stage, place, f"S3, {count:,} files deleted", small, _empty)
    yield _again(stage, place, f"S3, a folder of {count:,} renamed", small, _rename)
    stage.forget(small)
    tree = stage.tree("source-tree", copy_source_tree)
    yield _cold(stage, place, f"S3, source tree, {tree.files:,} files", tree, AT_MOST)
    size = 1024 if stage.full else 64
    large = stage.tree("bucket-large", lambda path: make_large(path, 1, size * MIB))
    yield _cold(stage, place, f"S3, 1 x {size} MiB", large, AT_MOST)
    stage.forget(large)


def _open(stage: Stage) -> Bucket:
    folder, before = stage.fresh_path(), set(descendants(os.getpid()))
    folder.mkdir()
    server = stage.stack.enter_context(start_s3("rclone", folder))
    stage.proxies |= set(descendants(os.getpid())) - before  # no session of sshd's
    stage.environment.update(server.environment)
    return Bucket(server, folder / "data" / server.bucket)


def _present() -> Sequence[str]:
    return [name for name in TOOLS if name not in NEEDS or find(NEEDS[name])]


def _cold(stage: Stage, place: Bucket, title: str, tree: Tree, goals: Sequence[Goal]) -> Row:
    """To a prefix in which nothing is."""

    def prepare(name: str, _share: int) -> Attempt:
        copy = _copy(stage, place, tree.path)
        return Attempt(
            TOOLS[name](copy),
            check=lambda: _compare(tree.path, place.folder / copy.prefix),
            clean=lambda: _discard(place.folder / copy.prefix, copy.scratch),
        )

    return Row(title, compete(stage, title, [Contender(n, partial(prepare, n)) for n in _present()]), goals)


def _again(stage: Stage, place: Bucket, title: str, tree: Tree, edit: Callable[[Path], None]) -> Row:
    """Brought by the same tool before, and edited since. What is timed is the second run."""

    def prepare(name: str, _share: int) -> Attempt:
        source = stage.fresh_path()
        copy = _copy(stage, place, source)
        source.mkdir()
        (source / "kept").write_text("an emptied source would be refused, and rightly so")
        time_command(["cp", "-a", str(tree.path), str(source / "all")], stage.environment)
        time_command(["sleep", "3"], stage.environment)  # so that every stamp is trusted
        time_command(TOOLS[name](copy), stage.environment)
        edit(source)
        return Attempt(
            TOOLS[name](copy),
            check=lambda: _compare(source, place.folder / copy.prefix),
            clean=lambda: _discard(source, place.folder / copy.prefix, copy.scratch),
        )

    return Row(title, compete(stage, title, [Contender(n, partial(prepare, n)) for n in _present()]), AT_MOST)


def _compare(source: Path, there: Path) -> None:
    """A folder with nothing in it the server may keep, where two deletes at a time found it not empty."""
    for folder, _, _ in os.walk(there, topdown=False):
        if not os.listdir(folder):
            os.rmdir(folder)
    compare(source, there, modes=False, times=False)


def _nothing(source: Path) -> None:
    """As it is."""


def _empty(source: Path) -> None:
    discard(source / "all")


def _rename(source: Path) -> None:
    (source / "all").rename(source / "moved")


def _copy(stage: Stage, place: Bucket, source: Path) -> Copy:
    scratch = stage.fresh_path()
    scratch.mkdir()
    return Copy(source, scratch.name, place.server, scratch)


def _discard(*paths: Path) -> None:
    for path in paths:
        discard(path)
