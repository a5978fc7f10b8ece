"""What came out: rows of timings beside what was to be reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.measure import Sample, Timing
from tests.benchmarks.peers import OURS


@dataclass(frozen=True)
class Goal:
    """At most ``ratio`` times what ``peer`` takes; of several peers joined by "/", the best."""

    peer: str
    ratio: float


@dataclass(frozen=True)
class Fact:
    """Some other number, and the bound it should keep to."""

    label: str
    value: float
    unit: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def reached(self) -> bool | None:
        """None: there was nothing to reach."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least


@dataclass(frozen=True)
class Point:
    """A point of a curve: who, at which x, which y."""

    plot: str
    tool: str
    x: float
    y: float


@dataclass(frozen=True)
class Row:
    """One work."""

    work: str
    timings: dict[str, Timing]
    goals: Sequence[Goal] = ()
    facts: Sequence[Fact] = ()
    points: Sequence[Point] = field(default=())

    def ratio(self, peer: str) -> float | None:
        """Ours to theirs, medians. None if either did not run."""
        theirs = [self.timings[name].median for name in peer.split("/") if name in self.timings]
        if OURS not in self.timings or not theirs:
            return None
        return self.timings[OURS].median / min(theirs)

    def verdicts(self) -> Iterator[tuple[Goal, float, bool]]:
        """Each goal that could be looked at, the ratio, and whether it is reached."""
        for goal in self.goals:
            if (ratio := self.ratio(goal.peer)) is not None:
                yield goal, ratio, ratio <= goal.ratio


def as_json(rows: Sequence[Row], facts: dict[str, str]) -> dict[str, object]:
    """Everything, for machines. Seconds; bytes; ratios are ours to theirs."""
    return {"version": 1, "machine": facts, "works": [_row(row) for row in rows]}


def read_rows(document: dict[str, Any]) -> list[Row]:
    """What ``as_json`` wrote; of CPU and memory only the medians."""
    return [
        Row(
            work["work"],
            {name: _read_timing(timing) for name, timing in work["timings"].items()},
            [Goal(goal["peer"], goal["at_most"]) for goal in work["goals"]],
            [Fact(f["label"], f["value"], f["unit"], f["at_most"], f["at_least"]) for f in work["facts"]],
            [Point(point["plot"], point["tool"], point["x"], point["y"]) for point in work["points"]],
        )
        for work in document["works"]
    ]


def _read_timing(timing: dict[str, Any]) -> Timing:
    rest = timing["cpu_s"], timing["server_cpu_s"], timing["largest_process_bytes"]
    return Timing(tuple(Sample(seconds, *rest) for seconds in timing["runs_s"]), timing["scaled"])


def _row(row: Row) -> dict[str, object]:
    return {
        "work": row.work,
        "timings": {name: _timing(timing) for name, timing in row.timings.items()},
        "ratios": {name: row.ratio(name) for name in row.timings if name != OURS},
        "goals": [
            {"peer": goal.peer, "at_most": goal.ratio, "ratio": ratio, "reached": reached}
            for goal, ratio, reached in row.verdicts()
        ],
        "facts": [
            {
                "label": fact.label,
                "value": fact.value,
                "unit": fact.unit,
                "at_most": fact.most,
                "at_least": fact.least,
                "reached": fact.reached,
            }
            for fact in row.facts
        ],
        "points": [{"plot": p.plot, "tool": p.tool, "x": p.x, "y": p.y} for p in row.points],
    }


def _timing(timing: Timing) -> dict[str, object]:
    return {
        "median_s": timing.median,
        "runs_s": [sample.seconds for sample in timing.samples],
        "scaled": timing.scaled,
        "cpu_s": timing.cpu,
        "server_cpu_s": timing.server_cpu,
        "largest_process_bytes": timing.largest,
    }
