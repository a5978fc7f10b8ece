"""The table for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.measure import Timing
from tests.benchmarks.peers import OURS, versions
from tests.benchmarks.results import Fact, Row
from tests.benchmarks.stage import Stage

HEAD = ("work", "who", "median", "ours to it", "reach", "", "CPU", "sshd's CPU")
RIGHT = {2, 3, 4, 6, 7}  # columns of numbers


def machine_facts(stage: Stage) -> dict[str, str]:
    """What the numbers depend on."""
    load = f"{os.getloadavg()[0]:.2f}"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "processor": _processor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "load before": load,
        "files on": "tmpfs" if stage.in_memory else "disk (no tmpfs with room was found)",
        "runs": str(stage.runs),
        **versions(),
    }


def show_facts(facts: dict[str, str]) -> str:
    """A few lines."""
    return " · ".join(f"{name}: {value}" for name, value in facts.items())


def show_table(rows: Sequence[Row]) -> str:
    """One plain table. A star marks what did a share of the work, scaled up."""
    lines = [HEAD, *(line for row in rows for line in _lines(row))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    ruled = [_pad(HEAD, widths), "  ".join("-" * width for width in widths)]
    shown = "\n".join([*ruled, *(_pad(line, widths) for line in lines[1:])])
    starred = any(timing.scaled for row in rows for timing in row.timings.values())
    return (
        f"{shown}\n\n* slow: measured once on two small shares of the work, and scaled up from these"
        if starred
        else shown
    )


def seconds(value: float) -> str:
    """Three digits that matter."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def ratio(value: float) -> str:
    """``1.25``; far below one as a fraction, ``1/40``."""
    if value >= 0.5:
        return f"{value:.2f}"
    return f"1/{1 / value:.1f}" if value > 0.05 else f"1/{1 / value:.0f}"


def _lines(row: Row) -> Iterator[tuple[str, ...]]:
    title = row.work
    for name, timing in row.timings.items():
        goals = [(goal, reached) for goal, _, reached in row.verdicts() if goal.peer == name]
        of = row.ratio(name) if name != OURS else None
        reach = ", ".join(f"≤ {ratio(goal.ratio)}" for goal, _ in goals)
        verdict = ", ".join("ok" if reached else "not reached" for _, reached in goals)
        yield (title, name, _took(timing), ratio(of) if of else "", reach, verdict, *_cpu(timing))
        title = ""
    for goal, of, reached in row.verdicts():
        if "/" in goal.peer:
            best = f"best of {goal.peer.replace('/', ' and ')}"
            verdict = "ok" if reached else "not reached"
            yield (title, best, "", ratio(of), f"≤ {ratio(goal.ratio)}", verdict, "", "")
    for fact in row.facts:
        yield (title, *_fact(fact))
        title = ""


def _took(timing: Timing) -> str:
    return seconds(timing.median) + ("*" if timing.scaled else "")


def _cpu(timing: Timing) -> tuple[str, str]:
    server = timing.server_cpu
    return seconds(timing.cpu), seconds(server) if server else ""


def _fact(fact: Fact) -> tuple[str, ...]:
    reach = ""
    if fact.most is not None:
        reach = f"≤ {_quantity(fact.most, fact.unit)}"
    elif fact.least is not None:
        reach = f"≥ {_quantity(fact.least, fact.unit)}"
    verdict = {None: "", True: "ok", False: "not reached"}[fact.reached]
    return (fact.label, _quantity(fact.value, fact.unit), "", reach, verdict, "", "")


def _quantity(value: float, unit: str) -> str:
    if unit == "s":
        return seconds(value)
    return f"{value:,.0f} {unit}" if unit else f"{value:.2f}"


def _pad(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(width) if column in RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no Linux
    return platform.processor() or platform.machine()
