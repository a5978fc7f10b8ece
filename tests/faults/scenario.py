"""One folder, edited in every way we know, on its way to a real server that may go wrong.

``Scenario.prepare`` brings the first tree to the server, with some of it retained,
and then edits it. From there each test goes on from the same state: the remote and
the snapshot are put back by copying, the source is left as it is, so that its
inodes and times stay what the snapshot knows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from reconcile.core.marks import is_mark
from tests.faults.runner import Runner
from tests.support.command import Ran
from tests.support.sshd import Sshd
from tests.support.trees import File, Link, Node, Tree, assert_same_tree, build_tree, read_tree

OLD = 1_600_000_000  # an mtime that no clock takes for now
MIRROR = ("--mirror", "--allow-mass-delete")


def first_tree() -> Tree:
    """What is on both sides before the edits."""

    def files(name: str, count: int) -> dict[str, object]:
        return {f"{name}{n}": File(f"{name} {n}\n" * (n + 1), mtime=OLD + n) for n in range(count)}

    return {
        "modify": files("m", 36) | {"same": File("stays", mtime=OLD)},
        "move": files("v", 18),
        "folders": {
            f"d{n}": {"inner": files(f"i{n}", 2), "outer": File(f"outer {n}", mtime=OLD)} for n in range(7)
        },
        "logs": {"log": File("log 0", mtime=OLD)}
        | {f"log.{n}": File(f"log {n}", mtime=OLD) for n in range(1, 6)},
        "swap": files("s", 10) | {f"D{n}": {"in": File(f"D{n}", mtime=OLD)} for n in range(4)},
        "type": {
            "file-dir": File("a file", mtime=OLD),
            "file-link": File("another", mtime=OLD),
            "dir-file": {"deep": {"er": File("dug", mtime=OLD)}, "x": File("x", mtime=OLD)},
            "dir-link": {"y": File("y", mtime=OLD)},
            "link-file": Link("nowhere"),
            "link-dir": Link("../modify"),
            "empty-file": {},
        },
        "delete": files("x", 12)
        | {f"tree{n}": files(f"t{n}", 2) | {"sub": {"leaf": f"leaf {n}"}} for n in range(4)},
        "over": files("o", 8),
        "keep": files("k", 6) | {"folder": files("kf", 2)},
        "meta": files("a", 8) | {"dir": {}},
        "links": {f"l{n}": Link(f"target {n}") for n in range(5)},
        "empty": {f"e{n}": {} for n in range(3)},
        "Case": File("of the name", mtime=OLD),
        "odd": {b"\xff\n": File("bytes", mtime=OLD), b"-rf [x] ": File("markup", mtime=OLD)},
    }


def edit(root: Path) -> None:
    """From the first tree to the second: more than 150 actions, with ``--mirror``."""
    for n in range(36):
        build_tree(root / "modify", {f"m{n}": File(f"changed {n} " * (n + 2), mtime=OLD + 100 + n)})
    (root / "moved/deep").mkdir(parents=True)
    for n in range(18):
        (root / f"move/v{n}").rename(root / ("moved" if n % 2 else "moved/deep") / f"w{n}")
    for n in range(7):
        (root / f"folders/d{n}").rename(root / (f"folders/r{n}" if n % 2 else f"moved/r{n}"))
    build_tree(root / "folders/r1", {"outer": File("changed on the way", mtime=OLD), "more": "more"})
    (root / "folders/r3/inner/i30").unlink()
    for n in range(5, 0, -1):
        (root / f"logs/log.{n - 1}" if n > 1 else root / "logs/log").replace(root / f"logs/log.{n}")
    build_tree(root / "logs", {"log": File("a new day", mtime=OLD)})
    for one, two in [("s0", "s1"), ("s2", "s3"), ("s4", "s5"), ("D0", "D1"), ("D2", "D3")]:
        _swap(root / "swap" / one, root / "swap" / two)
    _retype(root / "type")
    for n in range(12):
        (root / f"delete/x{n}").unlink()
    for n in range(4):
        shutil.rmtree(root / f"delete/tree{n}")
    for n in range(0, 8, 2):
        (root / f"over/o{n}").replace(root / f"over/o{n + 1}")
    for n in range(4):
        (root / f"meta/a{n}").chmod(0o755 if n % 2 else 0o600)
        os.utime(root / f"meta/a{n + 4}", (OLD + 50, OLD + 50))
    (root / "meta/dir").chmod(0o700)
    for n in range(3):
        (root / f"links/l{n}").unlink()
    build_tree(root / "links", {"l0": Link("elsewhere"), **{f"fresh{n}": Link(f"../{n}") for n in range(3)}})
    (root / "empty/e0").rmdir()
    (root / "empty/e1").rename(root / "empty/renamed")
    (root / "Case").rename(root / "case")
    os.rename(os.fsencode(root) + b"/odd/\xff\n", os.fsencode(root) + b"/odd/\xfe\x1b[31m")
    build_tree(root, _created())


def _created() -> Tree:
    files = {f"n{n}": File(f"new {n}\n" * 20 * n, mtime=OLD + n) for n in range(20)}
    return {
        "new": files | {"a": {"b": {"c": File("deep", mtime=OLD), "none": {}}}},
        "large": File(bytes(range(256)) * 3000, mtime=OLD),
        "odd": {b"d\xc3\xa4r": {b"\x80": File("7", mtime=OLD)}, b"back\\slash": "8", b" spaced ": "9"},
    }


def _swap(one: Path, two: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def _retype(root: Path) -> None:
    for name in ("dir-file", "dir-link", "empty-file"):
        shutil.rmtree(root / name)
    for name in ("file-dir", "file-link", "link-file", "link-dir"):
        (root / name).unlink()
    build_tree(
        root,
        {
            "file-dir": {"inside": File("was a file", mtime=OLD)},
            "file-link": Link("dir-file"),
            "dir-file": File("was a directory", mtime=OLD),
            "dir-link": Link("file-dir"),
            "link-file": File("was a link", mtime=OLD),
            "link-dir": {"inside": File("was a link to a directory", mtime=OLD)},
            "empty-file": File("was empty", mtime=OLD),
        },
    )


def write_as_third_hand(dest: Path) -> frozenset[bytes]:
    """Somebody else writes to the server: new files, and over ours in every state of the plan."""
    places = [
        *("foreign", "modify/foreign", "modify/m3", "modify/m30", "modify/same", "delete/x5", "keep/k2"),
        *("delete/tree1/foreign", "delete/tree2/t21", "folders/d2/outer", "folders/r3/outer", "move/v7"),
        *("moved/r4/inner/foreign", "moved/w9", "over/o3", "logs/log.2", "swap/s1", "new/n5"),
        *("type/file-dir", "type/dir-file/foreign"),
    ]
    written = set()
    for number, place in enumerate(places):
        path = dest / place
        if not path.parent.is_dir() or path.is_dir() or path.is_symlink():
            continue
        content = f"a third hand wrote this, number {number}".encode()
        path.write_bytes(content)
        os.utime(path, (OLD + 7000 + number, OLD + 7000 + number))
        written.add(content)
    return frozenset(written)


class Scenario:
    """The folder, the server's folder, the state, and how to run between them."""

    def __init__(self, folder: Path, sshd: Sshd, runner: Runner) -> None:
        self.folder = folder
        self.sshd = sshd
        self.runner = runner
        self.source, self.dest, self.state = (folder / name for name in ("source", "dest", "state"))
        self.saved = folder / "saved"
        self.outside = folder / "outside"  # beside DEST: nothing of ours may ever come here
        self.prepared = False

    def build(self) -> None:
        """The first tree, and nothing on the server."""
        self.prepared = False
        for path in (self.source, self.dest, self.state, self.saved, self.outside):
            shutil.rmtree(path, ignore_errors=True)
        self.sshd.arm()
        self.outside.mkdir()
        self.saved.mkdir()
        build_tree(self.source, first_tree())

    def prepare(self) -> None:
        """Bring the first tree over, let some of it be retained, and edit it."""
        self.build()
        self.run_well()
        shutil.rmtree(self.source / "keep/folder")
        for n in range(5):
            (self.source / f"keep/k{n}").unlink()
        self.run_well()
        for path in (self.dest, self.state):
            copy(path, self.saved / path.name)
        edit(self.source)
        self.prepared = True

    def restore(self) -> None:
        """Put server and state back to what ``prepare`` left. The source stays as it is."""
        for path in (self.dest, self.state):
            shutil.rmtree(path, ignore_errors=True)
            if (self.saved / path.name).exists():
                copy(self.saved / path.name, path)
        self.sshd.arm()

    def run(self, *flags: str) -> Ran:
        """``reconcile run`` with these flags."""
        return self.runner.run(*self.arguments("run", *flags))

    def arguments(self, command: str, *flags: str) -> list[str]:
        """The command line, without the program."""
        job = [str(self.source), self.sshd.url(self.dest), "--state", str(self.state)]
        return [command, *job, *self.sshd.endpoint.flags(), "--json", *flags]

    def run_well(self, *flags: str) -> Ran:
        """A run that must end with 0."""
        ran = self.run(*flags)
        assert ran.code == 0, describe(ran)
        return ran

    def count_requests(self, *flags: str) -> int:
        """How many requests the run takes that goes well."""
        self.sshd.requests()
        self.run_well(*flags)
        return self.sshd.requests().total

    def settle(
        self, *flags: str, foreign: frozenset[bytes] = frozenset(), retained: bool | None = None
    ) -> None:
        """Run, and demand what must then hold; run again, and demand that nothing is to be done.

        What only the remote holds may stay if ``retained``; without flags it may.
        """
        retained = not flags if retained is None else retained
        ran = self.run_well(*flags)
        assert "--refresh" in flags or not noticed(ran), f"taken for a stale state: {describe(ran)}"
        self.check(foreign, retained=retained)
        again = self.run_well(*flags)
        assert again.counts == {}, f"a further run has something to do: {describe(again)}"
        self.check(foreign, retained=retained)

    def check(self, foreign: frozenset[bytes] = frozenset(), *, retained: bool = False) -> None:
        """Demand that both trees are equal but for ``foreign`` content, and that nothing of ours is left.

        Content of a third hand must be in place or in the trash. With ``retained``
        what only the remote holds may stay.
        """
        there = read_tree(self.dest)
        lost = foreign - {node.content for node in there.values()}
        assert not lost, f"LOST of a third hand: {sorted(lost)}"
        here = read_tree(self.source)
        mine = {path: node for path, node in there.items() if node.content not in foreign}
        ignore = there.keys() - mine.keys()  # drifted away, and nobody has looked since
        for path in sorted(there.keys() - here.keys() - {".reconcile"}):
            if any(other.startswith(f"{path}/") for other in ignore):
                ignore |= {path} if there[path].kind == "dir" and not _holds(mine, path) else set()
        if retained:
            ignore |= there.keys() - here.keys()
        assert_same_tree(self.source, self.dest, ignore=_tops(ignore))
        left = list(self.leftovers())
        if foreign:  # what was parked, and found a third hand's files at both its places, is kept
            left = [path for path in left if not _is_parked(path.split("/"))]
        assert not left, f"left on the server: {left[:10]}"
        names = {path.name for path in self.state.glob("*/*")}
        unfinished = {name for name in names if name.startswith((".", "journal")) or name.endswith(".new")}
        assert not unfinished, f"left in the state folder: {unfinished}"
        assert not list(self.outside.iterdir()), "WRITTEN outside"

    def leftovers(self) -> Iterator[str]:
        """What is in our folder on the server, but for the mark and what is kept on purpose."""
        for path in self.dest.rglob("*"):
            parts = path.relative_to(self.dest).parts
            if any(part.startswith(".reconcile-") for part in parts):
                yield "/".join(parts)
            if parts[0] != ".reconcile" or len(parts) < 3 or ".kept-" in parts[2]:
                continue
            if is_mark(parts[2]):
                continue
            if (
                path.is_dir()
                and (parts[3:] in ((), ("trash",)))
                and (path / "kept").exists() | any(path.glob("trash/kept"))
            ):
                continue
            if parts[3:5] != ("trash", "kept"):
                yield "/".join(parts)


def noticed(ran: Ran) -> bool:
    """Whether a run has said that its state and the server are not of one age."""
    return any("DEST is listed" in note["message"] for note in ran.document["notes"])


def _is_parked(parts: list[str]) -> bool:
    """Whether it is, or holds, what a dead run had parked."""
    return len(parts) > 2 and parts[3:4] in ([], ["left"])


def describe(ran: Ran) -> str:
    """How a run ended, for a failing test."""
    if not ran.out:
        return f"exit code {ran.code}; {ran.err}"
    document = ran.document
    told = {name: document.get(name) for name in ("status", "message", "counts", "problems", "notes")}
    return f"exit code {ran.code}; {told}; actions {document['actions'][:5]}; {ran.err}"


def _holds(mine: dict[str, Node], folder: str) -> bool:
    """Whether something of ours is in a folder, other than folders."""
    return any(path.startswith(f"{folder}/") and node.kind != "dir" for path, node in mine.items())


def _tops(paths: set[str]) -> set[str]:
    return {path for path in paths if not any(path.startswith(f"{top}/") for top in paths)}


def copy(here: Path, there: Path) -> None:
    """All of a folder with its times and modes."""
    subprocess.run(["cp", "-a", str(here), str(there)], check=True)
