"""What became of runs, and how jobs stand, in lines for people and as documents for machines.

The time is given: ``now`` in seconds since the epoch. The zone is this machine's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from reconcile.core.units import show_bytes, show_duration
from reconcile.report.words import DEEDS, show_message, show_name
from reconcile.state.history import Deed, Run

_WIDE = 60  # characters of a result in a table
_DAY = 86_400.0  # seconds
_SIGNS = {"create": "+", "mkdir": "+", "modify": "~", "setmeta": "~", "move": "→", "delete": "-"}


class Standing(Struct, frozen=True):
    """How one job stands, as far as that is known here."""

    name: str  # "": it has none
    source: str
    target: str
    folder: str  # where its state is
    runs: Sequence[Run] = ()  # the last of them last
    size: int = 0  # bytes of what is in the folder
    due: float | None = None  # when it will run next; None: not known
    at_work: str | None = None  # who is at it just now; may be empty, where that is not known
    unfinished: bool = False  # a run broke off in the middle, and the next one goes on
    failing: Sequence[tuple[str, str, int]] = ()  # paths: since which day, for how many runs
    there: Sequence[str] = ()  # what a look at DEST has shown, in words

    @property
    def title(self) -> str:
        """What it is called where there are several."""
        return self.name or f"{show_name(self.source)} → {show_name(self.target)}"

    @property
    def last(self) -> Run | None:
        """The last run."""
        return self.runs[-1] if self.runs else None

    @property
    def success(self) -> Run | None:
        """The last one that went well."""
        return next((run for run in reversed(self.runs) if not run.exit_code), None)

    @property
    def failed(self) -> Sequence[Run]:
        """Those since then."""
        last = next((at for at, run in enumerate(reversed(self.runs)) if not run.exit_code), len(self.runs))
        return self.runs[len(self.runs) - last :]

    def age(self, now: float) -> float | None:
        """Seconds since a run went well; None: none ever did."""
        return None if self.success is None else max(now - self.success.began - self.success.seconds, 0.0)


def show_time(at: float, now: float) -> str:
    """``today 03:15``, ``tomorrow 03:15``, ``2026-11-24 03:15``."""
    day, clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(at)).split()
    near = {"yesterday": now - _DAY, "today": now, "tomorrow": now + _DAY}
    named = {time.strftime("%Y-%m-%d", time.localtime(when)): name for name, when in near.items()}
    return f"{named.get(day, day)} {clock}"


def show_age(seconds: float) -> str:
    """``3 min``, ``7 h``, ``2 days``: as people say it."""
    for size, one in ((_DAY, "day"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size or (size < _DAY and seconds >= size):
            count = int(seconds // size)
            return f"{count:,} {one}{'s' if one == 'day' else ''}"
    return f"{int(seconds)} s"


def sum_up_run(run: Run) -> str:
    """What it came to: ``12 created, 1 moved (61 entries), 48 MB sent``, or why it broke off."""
    parts = []
    for deed, ops in DEEDS.items():
        count = sum(run.counts.get(op.value, 0) for op in ops)
        held = sum((run.entries or run.counts).get(op.value, 0) for op in ops)
        if count:
            parts.append(f"{count:,} {deed}d" + (f" ({held:,} entries)" if held != count else ""))
    if run.sent:
        parts.append(f"{show_bytes(run.sent)} sent")
    if run.avoided and not run.message:
        parts.append(f"{show_bytes(run.avoided)} need not be sent")
    if run.problems:
        parts.append(f"{run.problems:,} problem{'s' if run.problems > 1 else ''}")
    done = ("undone: " if run.undid and parts else "") + ", ".join(parts)
    if run.message:
        why = show_message(run.message.partition("\n")[0])
        return f"{run.status}{' after ' + done if done else ''}: {why}"
    return done or "nothing to do"


def list_runs(runs: Sequence[Run], now: float) -> Iterator[str]:
    """A line each, the last one first."""
    rows = [
        (
            f"#{run.n}" if run.n else "-",
            show_time(run.began, now),
            show_duration(run.seconds),
            str(run.exit_code),
            f"{sum_up_run(run)}{_by(run)}",
        )
        for run in reversed(runs)
    ]
    yield from align([("RUN", "WHEN", "TOOK", "EXIT", "WHAT"), *rows], right=(0, 2, 3))


def _by(run: Run) -> str:
    """Where it was made, if that was not here."""
    return f" (by {show_name(run.by)[:_WIDE]})" if run.by else ""


def describe_run(run: Run, deeds: Sequence[Deed], more: int, now: float) -> Iterator[str]:
    """All that is known of one."""
    yield f"#{run.n}  {show_time(run.began, now)}, {show_duration(run.seconds)}, exit code {run.exit_code}"
    yield f"{show_name(run.source)} → {show_name(run.target)}"
    yield sum_up_run(run)
    for deed in deeds:
        slash = "/" if deed.is_dir else ""
        origin = f"{show_name(deed.origin)}{slash} → " if deed.origin else ""
        size = f"  {show_bytes(deed.size)}" if deed.size else ""
        held = f"  {deed.entries:,} entries" if deed.entries > 1 else ""
        yield f"  {_SIGNS[deed.op.value]} {origin}{show_name(deed.path)}{slash}{size}{held}"
    if more:
        yield f"  … and {more:,} more, which were not noted"
    for path, message in run.paths:
        yield f"problem: {show_name(path)}: {show_message(message)}"
    if run.problems > len(run.paths):
        yield f"… and {run.problems - len(run.paths):,} problems more"


def list_standings(standings: Sequence[Standing], now: float) -> Iterator[str]:
    """A line for each job."""
    rows = []
    for each in standings:
        last = each.last
        when = "never" if last is None else show_time(last.began, now)
        due = "-" if each.due is None else show_time(each.due, now)
        rows.append((each.title, when, _result(each, now), due))
    yield from align([("JOB", "LAST RUN", "RESULT", "NEXT"), *rows])


def _result(standing: Standing, now: float) -> str:
    last = standing.last
    if standing.at_work is not None:
        return f"at work{standing.at_work}"
    if last is None:
        return "-"
    if not last.exit_code:
        return f"ok, {sum_up_run(last)}"
    what = sum_up_run(last)
    return f"{what if len(what) <= _WIDE else what[: _WIDE - 1] + '…'}{_since(standing, now)}"


def _since(standing: Standing, now: float) -> str:
    failed = standing.failed
    if len(failed) < 2:
        return ""
    return f" ({len(failed)} runs, since {show_time(failed[0].began, now)})"


def describe_standing(standing: Standing, now: float) -> Iterator[str]:
    """All that is known of one job."""
    last, success, age = standing.last, standing.success, standing.age(now)
    named = f"{standing.name}   " if standing.name else ""
    yield f"{named}{show_name(standing.source)} → {show_name(standing.target)}"
    rows = []
    if standing.at_work is not None:
        rows.append(("at work", standing.at_work.removeprefix(": ") or "a run, now"))
    if last is None:
        rows.append(("last run", "never"))
    else:
        took = f"{show_time(last.began, now)}, {show_duration(last.seconds)}, exit code {last.exit_code}"
        number = f"#{last.n}, " if last.n else ""
        rows.append(("last run", f"{number}{took}: {sum_up_run(last)}{_by(last)}"))
    if last is not None and last.exit_code:
        failed = standing.failed
        what = "1 run" if len(failed) == 1 else f"{len(failed):,} runs"
        rows.append(("failing", f"since {show_time(failed[0].began, now)}, {what}"))
    rows += [
        ("", f"{show_name(path)}, since {day}, {runs:,} run{'s' if runs > 1 else ''}")
        for path, day, runs in standing.failing
    ]
    if success is None or age is None:
        rows.append(("went well", "never"))
    else:
        rows.append(("went well", f"{show_time(success.began, now)}, {show_age(age)} ago"))
    rows.append(("next", "not known" if standing.due is None else show_time(standing.due, now)))
    if last is not None:
        looked = next((run for run in reversed(standing.runs) if run.found), last)
        kept = f", {looked.kept:,} gone here and kept there" if looked.kept else ""
        rows.append(("entries", f"{looked.found:,}{kept}"))
    if standing.unfinished:
        rows.append(("unfinished", "a run broke off in the middle; the next one goes on from there"))
    rows += [
        ("there" if not number else "", show_message(what)) for number, what in enumerate(standing.there)
    ]
    rows.append(("state", f"{show_name(standing.folder)} ({show_bytes(standing.size)})"))
    yield from (f"  {line}" for line in align(rows))


def standing_document(standing: Standing, now: float, *, too_old: bool) -> Mapping[str, Any]:
    """What ``status --json`` has of one job. Times are seconds since the epoch."""
    last, success = standing.last, standing.success
    return {
        "job": standing.name or None,
        "source": standing.source,
        "target": standing.target,
        "state": standing.folder,
        "state_bytes": standing.size,
        "last": None if last is None else run_document(last),
        "success": None if success is None else run_document(success),
        "age_s": standing.age(now),
        "too_old": too_old,
        "failed_runs": len(standing.failed),
        "failing_since": standing.failed[0].began if standing.failed else None,
        "failing_paths": [{"path": path, "since": day, "runs": n} for path, day, n in standing.failing],
        "next": standing.due,
        "at_work": standing.at_work is not None,
        "holder": (standing.at_work or "").removeprefix(": ") or None,
        "unfinished": standing.unfinished,
        "there": [*standing.there],
    }


def run_document(run: Run, deeds: tuple[Sequence[Deed], int] | None = None) -> Mapping[str, Any]:
    """What ``--json`` has of one run; ``deeds``: with all it did, and how much more."""
    body: dict[str, Any] = {
        "run": run.n or None,
        "by": run.by or None,
        "began": run.began,
        "duration_s": run.seconds,
        "status": run.status,
        "exit_code": run.exit_code,
        "counts": dict(run.counts),
        "entries": dict(run.entries or run.counts),
        "bytes_sent": run.sent,
        "bytes_avoided": run.avoided,
        "found": run.found,
        "kept": run.kept,
        "undid": run.undid,
        "problems": run.problems,
        "first_problems": [{"path": path, "message": message} for path, message in run.paths],
        "message": run.message or None,
    }
    if deeds is not None:
        done, more = deeds
        body["actions"] = [
            {"op": deed.op.value, "path": deed.path, "from": deed.origin or None, "bytes": deed.size,
             "entries": deed.entries}
            for deed in done
        ]  # fmt: skip
        body["actions_not_noted"] = more
    return body


def align(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Columns, but the last one as long as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:>{width}}" if number in right else f"{cell:<{width}}"
            for number, (cell, width) in enumerate(zip(row[:-1], widths[:-1], strict=True))
        ]
        yield "  ".join((*cells, row[-1])).rstrip()
