"""The program: ``python -m tests.benchmarks``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from tests.benchmarks import bucket, copying, defaults, here, unchanged
from tests.benchmarks.measure import ROOT, Failed, Report, time_command
from tests.benchmarks.peers import TOOLS, Copy
from tests.benchmarks.plot import draw
from tests.benchmarks.results import Row, as_json, read_rows
from tests.benchmarks.stage import Stage, set_stage
from tests.benchmarks.table import machine_facts, show_facts, show_table
from tests.benchmarks.verify import WrongCopy

Work = Callable[[Stage], Iterator[Row]]
WORKS: dict[str, Work] = {
    "small": copying.small,
    "source-tree": copying.source_tree,
    "photos": copying.photos,
    "bulk": copying.bulk,
    "folder": here.folder,
    "no-op": unchanged.no_op,
    "deletes": copying.deletes,
    "directories": copying.directories,
    "first-run": copying.first_run,
    "latency": copying.latency,
    "bucket": bucket.bucket,
    "start-up": unchanged.start_up,
    "defaults": defaults.defaults,
}
ONLY_FULL = {"photos", "latency", "defaults"}
RESULTS = ROOT / "build" / "bench"


def main() -> int:
    """Run the works that were asked for. 1: a copy was wrong, or a command failed. 130: interrupted."""
    options = _options()
    if options.list:
        for name, work in WORKS.items():
            print(f"{name:12} {work.__doc__}")
        return 0
    if options.merge:
        _merge(options)
        return 0
    names = options.only or [name for name in WORKS if options.full or name not in ONLY_FULL]
    signal.signal(signal.SIGTERM, _stop)
    rows: list[Row] = []
    code = 0
    with set_stage(full=options.full, runs=options.runs or (5 if options.full else 3)) as stage:
        facts = machine_facts(stage)
        try:
            _warm_up(stage)
            for name in names:
                rows.extend(WORKS[name](stage))
        except (Failed, WrongCopy) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            code = 130
        finally:
            Report().clear()
    _show(rows, facts, options)
    return code


def _show(rows: Sequence[Row], facts: dict[str, str], options: argparse.Namespace) -> None:
    print(show_facts(facts), end="\n\n")
    if rows:
        print(show_table(rows))
        caption = f"{facts['cores']} cores, {facts['kernel']}, Python {facts['Python']}, {facts['date']}"
        _write(options.json, json.dumps(as_json(rows, facts), indent=1) + "\n")
        _write(options.plot, draw(rows, caption))
        print(f"\nwritten: {options.json}, {options.plot}")


def _merge(options: argparse.Namespace) -> None:
    """Put together what was measured in parts; of a work that is in several, the first."""
    parts = [json.loads(path.read_text()) for path in options.merge]
    facts = dict(parts[0]["machine"])
    facts["runs"] = " or ".join(sorted({n for part in parts for n in part["machine"]["runs"].split(" or ")}))
    days = {date[:10] for part in parts for date in part["machine"]["date"].split(" and ")}
    facts["date"] = " and ".join(sorted(days))
    rows: dict[str, Row] = {}
    for part in parts:
        for row in read_rows(part):
            rows.setdefault(row.work, row)
    _show(list(rows.values()), facts, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all works at full size; takes an hour or so")
    parser.add_argument("--only", type=_names, metavar="NAME[,NAME]", help="these works")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each; 3, with --full 5")
    parser.add_argument("--json", type=Path, default=RESULTS / "results.json", metavar="FILE", help="results")
    parser.add_argument("--plot", type=Path, default=RESULTS / "plot.svg", metavar="FILE", help="the plot")
    parser.add_argument(
        "--merge", type=Path, nargs="+", metavar="FILE", help="measure nothing; join such results"
    )
    parser.add_argument("--list", action="store_true", help="name the works and end")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - WORKS.keys():
        raise argparse.ArgumentTypeError(f"no work is called {', '.join(sorted(unknown))}; see --list")
    return names


def _warm_up(stage: Stage) -> None:
    """Let everybody start once: programs come from a cold disk, and Python compiles what it imports."""
    source, scratch = stage.fresh_path(), stage.fresh_path()
    source.mkdir()
    scratch.mkdir()
    (source / "file").write_text("content")
    for tool in TOOLS.values():
        if tool.installed:
            time_command(
                tool.upload(Copy(source, stage.fresh_path(), stage.endpoint(0), scratch)), stage.environment
            )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
