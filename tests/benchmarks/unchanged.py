"""Works that find little or nothing to do, and what starting costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.copying import MIB, RSYNC
from tests.benchmarks.inputs import Tree, make_files
from tests.benchmarks.measure import (
    ROOT,
    Attempt,
    Contender,
    Failed,
    compete,
    peak_memory,
    time_command,
)
from tests.benchmarks.peers import OURS, RECONCILE, TOOLS, Copy, run_reconcile
from tests.benchmarks.results import Fact, Goal, Row
from tests.benchmarks.stage import Stage
from tests.benchmarks.verify import compare

FIND = "find -printf"
NOTHING = "python -c pass"
CHANGED = 100
FRESH = 5  # more runs are taken of what takes a tenth of a second


@dataclass(frozen=True)
class Synced:
    """A tree whose target is equal, and known to be: a run has nothing to do and trusts every stamp."""

    tree: Tree
    copy: Copy


def no_op(stage: Stage) -> Iterator[Row]:
    """Nothing to do in a large tree, and then a hundred changes in it; 100,000 files for the quick."""
    counts = ((200_000, 800), (1_000_000, 4_000)) if stage.full else ((100_000, 400),)
    for count, folders in counts:
        million = count == 1_000_000
        synced = _sync(stage, f"many-{count}", count, count // folders)
        quiet = _no_op(stage, synced, million=million)
        yield quiet
        yield _changed(stage, synced, quiet.timings[OURS].median, million=million)
        compare(synced.tree.path, synced.copy.target, modes=True)
        stage.forget(synced.tree)
        stage.forget(Tree(synced.copy.target, 0, 0))


def start_up(stage: Stage) -> Iterator[Row]:
    """What a user waits for when there is nothing to wait for."""
    synced = _sync(stage, "ten", 10, 10)
    nothing = Contender(NOTHING, lambda _: Attempt([sys.executable, "-c", "pass"]))
    for title, command, most in (
        ("reconcile --version", [*RECONCILE, "--version"], 0.12),
        ("no-op, 10 files", run_reconcile(synced.copy), 0.2),
    ):
        ours = Contender(OURS, partial(_once_more, command))
        timings = compete(stage, title, [ours, nothing], stage.runs * FRESH)
        more = timings[OURS].median - timings[NOTHING].median
        yield Row(title, timings, facts=[Fact(f"more than {NOTHING}", more, "s", most=most)])


def _once_more(command: list[str], _share: int) -> Attempt:
    return Attempt(command)


def _no_op(stage: Stage, synced: Synced, *, million: bool) -> Row:
    source = synced.tree.path
    listing = ["find", str(source), "-printf", "%s %T@ %C@ %i %p\\n"]
    contenders = [
        Contender(OURS, lambda _: Attempt(run_reconcile(synced.copy))),
        Contender(FIND, lambda _: Attempt(listing)),
        Contender(RSYNC, lambda _: Attempt(TOOLS[RSYNC].upload(synced.copy))),
    ]
    title = f"no-op, {synced.tree.files:,} files, 0 ms"
    if not TOOLS[RSYNC].installed:
        contenders.pop()
    timings = compete(stage, title, contenders, max(stage.runs, FRESH))
    _demand_nothing_to_do(stage, synced.copy)
    goals = [Goal(FIND, 0.9), Goal(RSYNC, 0.5)] if million else []
    facts = []
    held = peak_memory(run_reconcile(synced.copy), stage.environment)
    if held is not None:
        facts = [Fact("memory, all processes (PSS)", held / MIB, "MiB", most=350 if million else None)]
    return Row(title, timings, goals, facts)


def _changed(stage: Stage, synced: Synced, quiet: float, *, million: bool) -> Row:
    turn = 0

    def prepare(_: int) -> Attempt:
        nonlocal turn
        turn += 1
        _change(synced.tree.path, turn)
        return Attempt(run_reconcile(synced.copy))

    title = f"{CHANGED} changed among {synced.tree.files:,}, 0 ms"
    timings = compete(stage, title, [Contender(OURS, prepare)])
    more = timings[OURS].median - quiet
    return Row(title, timings, facts=[Fact("more than the no-op", more, "s", most=0.6 if million else None)])


def _change(source: Path, turn: int) -> None:
    """Other content, as large as before, in files of as many folders as there are."""
    folders = sorted(source.iterdir())
    for index in range(CHANGED):
        folder = folders[index * len(folders) // CHANGED]
        file = sorted(os.listdir(folder))[turn]
        (folder / file).write_bytes(b"%064d" % (turn * CHANGED + index))


def _sync(stage: Stage, name: str, count: int, per_folder: int) -> Synced:
    """Make a tree and its equal, and let reconcile find that they are."""
    tree = stage.tree(name, lambda path: make_files(path, count, 64, per_folder))
    scratch = stage.fresh_path()
    scratch.mkdir()
    copy = Copy(tree.path, stage.fresh_path(), stage.endpoint(0), scratch)
    time_command(["cp", "-a", str(tree.path), str(copy.target)], stage.environment)
    time_command(run_reconcile(copy, "--adopt-existing"), stage.environment)
    # Files younger than the grace time are read again next time: by now, none is.
    time_command(["sleep", "3"], stage.environment)
    time_command(run_reconcile(copy), stage.environment)
    _demand_nothing_to_do(stage, copy)
    return Synced(tree, copy)


def _demand_nothing_to_do(stage: Stage, copy: Copy) -> None:
    """The claim that is measured: nothing to do, and no connection for it."""
    done = subprocess.run(
        run_reconcile(copy, "--json"), env=stage.environment, cwd=ROOT, capture_output=True, check=True
    )
    said = json.loads(done.stdout)
    if said["connected"] or any(said["entries"].values()):
        raise Failed(f"a no-op that was none: {said}")
