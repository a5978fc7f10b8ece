"""A line of JSON for each thing that happens, as it happens: for whoever shows or keeps that elsewhere.

A line is whole or missing, and none of it ever fails: once nobody takes them, no more are written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from reconcile.core.job import Ending, Result
from reconcile.core.model import Outcome, Plan, Problem, Tally
from reconcile.report.document import document
from reconcile.report.meter import Meter

VERSION = 1
PROGRESS_S = 1.0  # seconds between two lines of progress
_HOLD_S = 0.2  # seconds for which lines may wait to go out together
_MANY = 500  # lines that do


class Events:
    """Writes them. Each has ``event``, ``time`` in seconds since the epoch, and ``job`` if it has a name."""

    def __init__(self, fd: int, job: str = "") -> None:
        """``fd`` stays open, and is the caller's."""
        self._fd = fd
        self._always: Mapping[str, str] = {"job": job} if job else {}
        self._waiting: list[bytes] = []
        self._gone_out = time.monotonic()
        self._told = 0.0  # when progress was told last
        self._meter = Meter(Plan(), (), 0.0)
        self.lost = ""  # why lines were lost

    def started(self, command: str, source: str, target: str) -> None:
        """It is known which job this is."""
        self._put("started", version=VERSION, command=command, source=source, target=target)

    def phase(self, name: str) -> None:
        """A part of the run begins."""
        self._put("phase", name=name)

    def planned(self, plan: Plan, tally: Tally) -> None:
        """All that is going to be done."""
        self._meter = Meter(plan, tally.done, time.monotonic())
        actions = sum(1 for action in plan.actions if not action.parks)
        self._put(
            "planned", actions=actions, bytes_to_send=plan.bytes_to_send, bytes_avoided=plan.bytes_avoided
        )

    def sent(self, count: int, path: str) -> None:
        """Content went out."""
        self._meter.sent(count, path)
        self._tell_progress()

    def rewind(self) -> None:
        """The connection broke: what was under way goes once more."""
        self._meter.rewind(time.monotonic())

    def outcome(self, outcome: Outcome) -> None:
        """An action ended, well or not."""
        achieved = outcome.achieved
        if achieved is not None and not achieved.parks:
            self._put(
                "done",
                op=achieved.op.value,
                path=achieved.path,
                **{"from": achieved.origin},
                kind=achieved.kind.value,
                bytes=achieved.bytes,
            )
        if outcome.problem is not None:
            self.problem(outcome.problem)
        self._tell_progress()

    def problem(self, problem: Problem) -> None:
        """Something could not be done."""
        self._put(
            "problem",
            path=problem.path,
            stage=problem.stage.value,
            reason=problem.reason.value,
            message=problem.message,
        )

    def said(self, message: str) -> None:
        """A note."""
        self._put("note", message=message)

    def finished(self, ending: Ending) -> None:
        """It ended, however: what ``--json`` has, without the lists."""
        self._put("finished", **_without_lists(ending))
        self._flush()

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._told < PROGRESS_S:
            return
        self._told = now
        self._meter.count()
        meter = self._meter
        self._put(
            "progress",
            bytes=min(meter.size_done, meter.size),
            bytes_to_send=meter.size,
            done=meter.things_done,
            to_do=meter.things,
            path=meter.at_work or None,
        )

    def _put(self, event: str, **facts: Any) -> None:
        if self.lost:
            return
        body = {"event": event, "time": round(time.time(), 3), **self._always, **facts}
        self._waiting.append(json.dumps(body, separators=(",", ":")).encode() + b"\n")
        waited = time.monotonic() - self._gone_out
        if event != "done" or waited >= _HOLD_S or len(self._waiting) >= _MANY:
            self._flush()

    def _flush(self) -> None:
        """Past every buffer: a signal's handler may have come in the middle of another line."""
        lines, self._waiting = self._waiting, []
        left = memoryview(b"".join(lines))
        self._gone_out = time.monotonic()
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self.lost = error.strerror or str(error)


def _without_lists(ending: Ending) -> dict[str, Any]:
    result: Result = ending.result
    body = document(result, status=ending.status, exit_code=ending.exit_code)
    told = {
        key: value for key, value in body.items() if key not in ("version", "actions", "problems", "notes")
    }
    return {**told, "problems": len(result.problems), "message": ending.message or None}
