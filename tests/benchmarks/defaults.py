"""What a default costs that may be switched off: the same work with and without."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.benchmarks.copying import MIB, RSYNC, upload
from tests.benchmarks.inputs import Tree, make_files, make_large
from tests.benchmarks.measure import ROOT, Attempt, Contender, compete
from tests.benchmarks.peers import OURS, TOOLS, Copy, Tool, run_reconcile
from tests.benchmarks.results import Row
from tests.benchmarks.stage import Stage


def defaults(stage: Stage) -> Iterator[Row]:
    """What it costs that files are brought to the server's disk: with, and without."""
    (ROOT / "build").mkdir(exist_ok=True)
    disk = Path(stage.stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "build")))
    few = stage.tree("few", lambda path: make_files(path, 100, 65_536, per_folder=10))
    yield _price(stage, "100 x 64 KiB to a disk, 0 ms", few, disk, "--fsync never")
    size = 256 if stage.full else 64
    large = stage.tree("large", lambda path: make_large(path, 1, size * MIB))
    yield _price(stage, f"1 x {size} MiB to a disk, 0 ms", large, disk, "--fsync never")
    stage.forget(large)


def _price(stage: Stage, title: str, tree: Tree, disk: Path, without: str) -> Row:
    """Rsync is beside, which switches nothing off but never did it."""

    def flagged(copy: Copy) -> list[str]:
        return run_reconcile(copy, *shlex.split(without))

    tools = [TOOLS[OURS], Tool(f"{OURS} {without}", flagged, flagged), TOOLS[RSYNC]]
    contenders = [
        Contender(tool.name, partial(_to_disk, stage, tool, tree, disk)) for tool in tools if tool.installed
    ]
    return Row(title, compete(stage, title, contenders))


def _to_disk(stage: Stage, tool: Tool, tree: Tree, disk: Path, share: int) -> Attempt:
    os.sync()  # nobody pays for what the one before left to be written
    return upload(stage, tool, tree, stage.endpoint(0), share, disk / "target")
