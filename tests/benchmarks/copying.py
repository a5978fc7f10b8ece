"""Works that send: cold uploads of every shape, deletes, folders, and how they grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.benchmarks.inputs import Tree, copy_source_tree, make_files, make_folders, make_large
from tests.benchmarks.measure import Attempt, Contender, Timing, compete, time_command
from tests.benchmarks.peers import BY_SSH, OURS, TOOLS, Copy, Tool
from tests.benchmarks.results import Fact, Goal, Point, Row
from tests.benchmarks.stage import Stage, discard
from tests.benchmarks.verify import compare
from tests.support.sshd import Endpoint

MIB = 1024 * 1024
RSYNC, TAR, LFTP, SFTP = "rsync", "tar | ssh tar", "lftp", "sftp -b"
RCLONE, RCLONE_32, RCLONE_MD5 = "rclone", "rclone, 32", "rclone, md5sum"
QUICK = {OURS, BY_SSH, RSYNC, TAR}  # who never wait for a round trip per file
EVERYBODY = [BY_SSH, RSYNC, TAR, RCLONE, LFTP, RCLONE_32, RCLONE_MD5, SFTP]
BEST_RCLONE = f"{RCLONE}/{RCLONE_32}"


def small(stage: Stage) -> Iterator[Row]:
    """10,000 files of 4 KiB to an empty target."""
    tree = stage.tree("small", lambda path: make_files(path, 10_000, 4096, per_folder=100))
    near = [Goal(RSYNC, 1.7), Goal(RSYNC, 1.0), Goal(RCLONE, 1 / 4), Goal(RCLONE, 1 / 7), Goal(TAR, 1.2)]
    peers = EVERYBODY if stage.full else [BY_SSH, RSYNC, TAR, RCLONE]
    yield cold(stage, "10,000 x 4 KiB, 0 ms", tree, 0, peers, near)
    far = [Goal(RSYNC, 1.8), Goal(RSYNC, 1.0), Goal(RCLONE, 1 / 100), Goal(RCLONE, 1 / 250), Goal(TAR, 1.2)]
    yield cold(stage, "10,000 x 4 KiB, 20 ms", tree, 20, peers, far)


def source_tree(stage: Stage) -> Iterator[Row]:
    """A real source tree, nested, files of every size."""
    tree = stage.tree("source-tree", copy_source_tree)
    for line in (0, 20):
        title = f"source tree, {tree.files:,} files, {tree.bytes // MIB} MiB, {line} ms"
        peers = [RSYNC, TAR, RCLONE] if stage.full else [RSYNC, TAR]
        yield cold(stage, title, tree, line, peers, [Goal(RSYNC, 1.0)])


def photos(stage: Stage) -> Iterator[Row]:
    """60 files of 5 MiB in three folders: an afternoon with a camera."""
    tree = stage.tree("photos", lambda path: make_large(path, 60, 5 * MIB, per_folder=20))
    for line in (0, 20):
        yield cold(stage, f"60 x 5 MiB, {line} ms", tree, line, [RSYNC, RCLONE, RCLONE_32, TAR])
    stage.forget(tree)


def bulk(stage: Stage) -> Iterator[Row]:
    """Few large files. The quick ones are a sixteenth of the size, and bound to nothing."""
    size = 256 if stage.full else 16
    peers = [BY_SSH, RSYNC, RCLONE, *([RCLONE_32, TAR] if stage.full else [])]
    tree = stage.tree("bulk", lambda path: make_large(path, 4, size * MIB))
    near, far = [Goal(BEST_RCLONE, 1.1)], [Goal(BEST_RCLONE, 0.9), Goal(RSYNC, 0.5)]
    for line, goals in ((0, near), (20, far)):
        yield cold(stage, f"4 x {size} MiB, {line} ms", tree, line, peers, goals if stage.full else [])
    stage.forget(tree)
    if stage.full:
        tree = stage.tree("single", lambda path: make_large(path, 1, 1024 * MIB))
        yield cold(stage, "1 x 1 GiB, 20 ms", tree, 20, peers, far)
        stage.forget(tree)


def latency(stage: Stage) -> Iterator[Row]:
    """One large file over longer and longer lines: MB/s."""
    size = 256 if stage.full else 64
    tree = stage.tree("latency", lambda path: make_large(path, 1, size * MIB))
    for line in (0, 5, 20, 100):
        row = cold(stage, f"1 x {size} MiB, {line} ms", tree, line, [RSYNC, RCLONE])
        yield _with_points(row, "MB/s over round-trip time (ms)", line, tree.bytes / 1e6)
    stage.forget(tree)


def first_run(stage: Stage) -> Iterator[Row]:
    """Ever more files of 64 bytes: files per second."""
    counts = (1_000, 10_000, 100_000, 1_000_000) if stage.full else (1_000, 10_000)
    rates: dict[int, float] = {}
    for count in counts:
        make = partial(make_files, count=count, size=64, per_folder=250)
        tree = stage.tree(f"first-run-{count}", make)
        huge = count > 100_000
        row = cold(
            stage,
            f"first run, {count:,} x 64 bytes, 0 ms",
            tree,
            0,
            [RSYNC] if huge or (count > 1_000 and not stage.full) else [RSYNC, RCLONE],
            runs=1 if count > 10_000 else 0,
        )
        ours = row.timings[OURS]
        rates[count] = count / ours.median
        facts = [Fact("files per second", rates[count], "/s", least=rates.get(10_000) if huge else None)]
        facts.append(Fact("its largest process", ours.largest / MIB, "MiB", most=1024 if huge else None))
        row = Row(row.work, row.timings, facts=facts)
        yield _with_points(row, "files/s over count of files", count, count)
        stage.forget(tree)


def directories(stage: Stage) -> Iterator[Row]:
    """2,000 folders, nothing in them; an eighth of that for the quick."""
    count = 2_000 if stage.full else 250
    tree = stage.tree("directories", lambda path: make_folders(path, count, per_folder=50))
    goals = [Goal(RCLONE, 1 / 50)] if stage.full else []
    # Of a share rclone makes fewer at once: nothing could be told from it.
    title = f"{count:,} directories, 20 ms"
    yield cold(stage, title, tree, 20, [RSYNC, RCLONE], goals, whole=True)


def deletes(stage: Stage) -> Iterator[Row]:
    """5,000 files deleted that the target holds; a fifth of that for the quick, and bound to nothing."""
    count = 5_000 if stage.full else 1_000
    full = stage.tree("deletes", lambda path: make_files(path, count, 256, per_folder=100))
    contenders = [
        Contender(
            name,
            partial(_delete, stage, TOOLS[name], full, 20),
            slow=name == RCLONE,
            once=name == RCLONE and not stage.full,
        )
        for name in _present([OURS, RSYNC, RCLONE])
    ]
    title = f"{count:,} files deleted, 20 ms"
    yield Row(title, compete(stage, title, contenders), [Goal(RCLONE, 1 / 50)] if stage.full else [])


def cold(
    stage: Stage,
    title: str,
    tree: Tree,
    line: int,
    peers: Sequence[str],
    goals: Sequence[Goal] = (),
    *,
    runs: int = 0,
    whole: bool = False,
) -> Row:
    """Upload a tree to a target that is not there. Who waits for a round trip per file may be slow.

    ``whole``: everybody does all of it, however long that takes.
    """
    contenders = [
        Contender(
            name,
            partial(upload, stage, TOOLS[name], tree, stage.endpoint(line)),
            slow=name not in QUICK and tree.files >= 1000 and not whole,
            once=name not in QUICK and tree.files > 100 and not stage.full,
        )
        for name in _present([OURS, *peers])
    ]
    return Row(title, compete(stage, title, contenders, runs), goals)


def upload(
    stage: Stage, tool: Tool, whole: Tree, endpoint: Endpoint, share: int, target: Path | None = None
) -> Attempt:
    """Bring a share of a tree to ``target``, by default one in the place where all is."""
    tree = stage.share(whole, share) if whole.files >= share else whole
    copy = _copy(stage, tree.path, endpoint, target)
    return Attempt(
        tool.upload(copy),
        check=lambda: compare(tree.path, copy.target, modes=tool.modes),
        clean=lambda: _discard(copy.target, copy.scratch),
        scale=whole.files / tree.files if tree is not whole else 1.0,
    )


def _delete(stage: Stage, tool: Tool, whole: Tree, line: int, share: int) -> Attempt:
    """Bring the files over, then delete them here. What is timed is the second run."""
    tree = stage.share(whole, share)
    source = stage.fresh_path()
    copy = _copy(stage, source, stage.endpoint(line))
    kept = source / "kept"
    time_command(["cp", "-a", str(tree.path), str(source)], stage.environment)
    kept.write_text("an emptied source would be refused, and rightly so")
    how = tool if tool.name == OURS else TOOLS[RSYNC] if TOOLS[RSYNC].installed else tool
    time_command(how.upload(copy), stage.environment)
    for folder in source.iterdir():
        if folder.is_dir():
            discard(folder)
    return Attempt(
        tool.mirror(copy),
        check=lambda: compare(source, copy.target, modes=tool.modes),
        clean=lambda: _discard(source, copy.target, copy.scratch),
        scale=whole.files / tree.files,
    )


def _copy(stage: Stage, source: Path, endpoint: Endpoint, target: Path | None = None) -> Copy:
    scratch = stage.fresh_path()
    scratch.mkdir()
    return Copy(source, target or stage.fresh_path(), endpoint, scratch)


def _discard(*paths: Path) -> None:
    for path in paths:
        discard(path)


def _present(names: Sequence[str]) -> list[str]:
    return [name for name in names if TOOLS[name].installed]


def _with_points(row: Row, plot: str, x: float, amount: float) -> Row:
    """``amount`` per second of each, as points of a curve."""

    def rate(timing: Timing) -> float:
        return amount / timing.median

    points = [Point(plot, name, x, rate(timing)) for name, timing in row.timings.items()]
    return Row(row.work, row.timings, row.goals, row.facts, points)
