"""Works whose DEST is a folder of this machine, no server and no line: beside ``rsync -a``, ``cp -a``, and a
loop in Python that does what none can do without (``bare``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.benchmarks import bare
from tests.benchmarks.copying import MIB, RSYNC, upload
from tests.benchmarks.inputs import Tree, copy_source_tree, make_files, make_large
from tests.benchmarks.measure import Attempt, Contender, Timing, compete, time_command
from tests.benchmarks.peers import OURS, RECONCILE, Copy, Tool
from tests.benchmarks.results import Goal, Row
from tests.benchmarks.stage import Stage, discard
from tests.benchmarks.verify import compare

CP, BARE = "cp -a", "bare loop"
GOALS = [Goal(RSYNC, 1.0)]
GRACE = 3  # seconds after which a stamp is trusted


def _reconcile(copy: Copy) -> list[str]:
    return [*RECONCILE, "run", str(copy.source), str(copy.target), "--state", str(copy.scratch / "state")]


def _rsync(copy: Copy) -> list[str]:
    return ["rsync", "-a", f"{copy.source}/", f"{copy.target}/"]


def _cp(copy: Copy) -> list[str]:
    return ["cp", "-a", "-T", str(copy.source), str(copy.target)]


def _bare(copy: Copy) -> list[str]:
    return [sys.executable, bare.__file__, str(copy.source), str(copy.target), str(copy.scratch / "state")]


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(OURS, _reconcile, _reconcile),
        Tool(RSYNC, _rsync, _rsync, ["rsync"]),
        Tool(CP, _cp, _cp, ["cp"]),  # checks nothing, remembers nothing: the limit
        Tool(BARE, _bare, _bare),  # of first runs
    )
}


def folder(stage: Stage) -> Iterator[Row]:
    """To a folder here: small files, a source tree, 1 GiB (64 MiB for the quick), and nothing to do."""
    small = stage.tree("small", lambda path: make_files(path, 10_000, 4096, per_folder=100))
    yield _cold(stage, "10,000 x 4 KiB", small)
    source = stage.tree("source-tree", copy_source_tree)
    yield _cold(stage, f"source tree, {source.files:,} files, {source.bytes // MIB} MiB", source)
    size = 1024 if stage.full else 64
    large = stage.tree("large-here", lambda path: make_large(path, 1, size * MIB))
    yield _cold(stage, "1 x 1 GiB" if stage.full else f"1 x {size} MiB", large)
    stage.forget(large)
    yield _no_op(stage, small)
    many = stage.tree("many-here", lambda path: make_files(path, 200_000, 64, per_folder=250))
    yield _no_op(stage, many)
    stage.forget(many)


def _title(work: str) -> str:
    return f"{work}, a folder here"


def _present() -> list[Tool]:
    return [tool for tool in TOOLS.values() if tool.installed]


def _cold(stage: Stage, work: str, tree: Tree) -> Row:
    title, nobody = _title(work), stage.endpoint(0)
    contenders = [Contender(tool.name, partial(upload, stage, tool, tree, nobody)) for tool in _present()]
    return Row(title, compete(stage, title, contenders), GOALS)


def _no_op(stage: Stage, tree: Tree) -> Row:
    """Each has brought all, and been once more since it is old enough. The others would copy again."""
    tools = [tool for tool in _present() if tool.name not in (CP, BARE)]
    copies = {tool.name: _copy(stage, tree.path) for tool in tools}
    for pause in (0, GRACE):
        time_command(["sleep", str(pause)], stage.environment)
        for tool in tools:
            time_command(tool.upload(copies[tool.name]), stage.environment)

    def again(tool: Tool, _share: int) -> Attempt:
        return Attempt(tool.upload(copies[tool.name]))

    title = _title(f"no-op, {tree.files:,} files")
    contenders = [Contender(tool.name, partial(again, tool)) for tool in tools]
    timings: dict[str, Timing] = compete(stage, title, contenders)
    for tool in tools:
        target = copies[tool.name].target
        compare(tree.path, target, modes=True)
        discard(target)
    return Row(title, timings, GOALS)


def _copy(stage: Stage, source: Path) -> Copy:
    scratch = stage.fresh_path()
    scratch.mkdir()
    return Copy(source, stage.fresh_path(), stage.endpoint(0), scratch)
